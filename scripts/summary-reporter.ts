/** Ends a run with one line of numbers, and makes a run fail that left tests out. */
import type { Reporter, SerializedError, TestModule, TestSuite, Vitest } from "vitest/node";

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

export default class SummaryReporter implements Reporter {
  private counts: Counts = { passed: 0, failed: 0, skipped: 0 };
  /** Somebody asked for a part of the tests by name: the others are left out on purpose. */
  private isFiltered = false;

  onInit(vitest: Vitest): void {
    this.isFiltered = vitest.config.testNamePattern !== undefined;
    // At the exit, because others print while they close.
    process.on("exit", () => process.stdout.write(`${lineOf(this.counts)}\n`));
  }

  onTestRunEnd(modules: readonly TestModule[], errors: readonly SerializedError[]): void {
    this.counts = countOf(modules, errors.length);
    if (this.isFiltered) this.counts.skipped = 0;
    const { passed, failed, skipped } = this.counts;
    if (failed > 0 || skipped > 0 || passed === 0) process.exitCode = 1;
    if (skipped > 0) process.stderr.write(`error: ${skipped} tests were skipped; every test has to run\n`);
    if (passed + failed + skipped === 0) process.stderr.write("error: no test ran\n");
  }
}

function countOf(modules: readonly TestModule[], unhandled: number): Counts {
  const counts: Counts = { passed: 0, failed: unhandled, skipped: 0 };
  for (const module of modules) {
    for (const test of module.children.allTests()) {
      const { state } = test.result();
      if (state === "passed") counts.passed += 1;
      else if (state === "failed") counts.failed += 1;
      else counts.skipped += 1;
    }
    // A file that does not load, or a hook that fails, has no failed test to show for it.
    for (const suite of [module, ...module.children.allSuites()]) counts.failed += ownErrors(suite);
  }
  return counts;
}

function ownErrors(suite: TestModule | TestSuite): number {
  return suite.errors().length > 0 ? 1 : 0;
}

function lineOf({ passed, failed, skipped }: Counts): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
}
