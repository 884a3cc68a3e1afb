/** Prints the table provider × behaviour of the conformance tests that ran, and the reasons of gaps and failures. */
import type { Reporter, TestModule } from "vitest/node";
import { HOW_TO_INSTALL, missingEngines } from "../packages/landlord/test/support/engines/availability.ts";
import { conformanceTable, type ConformanceResult } from "../packages/landlord/src/testing/behaviour.ts";

export default class ConformanceReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const results = modules.flatMap(resultsOf);
    const kits = [...new Set(results.map(({ provider }) => provider.split("/")[0] ?? ""))].sort();
    for (const kit of kits) {
      const own = results
        .filter(({ provider }) => provider.startsWith(`${kit}/`))
        .map((result) => ({ ...result, provider: result.provider.slice(kit.length + 1) }));
      process.stdout.write(`\nConformance of ${kit}\n\n${conformanceTable(own)}\n`);
    }
    for (const [folder, why] of missingEngines()) {
      process.stdout.write(`\nnot tested here: test/engines/${folder}: ${why}; ${HOW_TO_INSTALL}\n`);
    }
    process.stdout.write("\n");
  }
}

function resultsOf(module: TestModule): ConformanceResult[] {
  const results: ConformanceResult[] = [];
  for (const test of module.children.allTests()) {
    const { conformance } = test.meta();
    if (conformance === undefined) continue;
    const { state, errors } = test.result();
    const { provider, behaviour, gap } = conformance;
    const failed = state !== "passed";
    results.push({
      provider,
      behaviour,
      verdict: failed ? "FAIL" : gap === null ? "pass" : "gap",
      reason: failed ? ((errors?.[0]?.message ?? state).split("\n")[0] ?? state) : gap,
      durationMs: test.diagnostic()?.duration ?? 0,
    });
  }
  return results;
}
