/** Turns conformance cases into tests, and tells the reporter which cell of the table each one is. */
import { describe, expect, test } from "vitest";
import type { ConformanceCase, ConformanceResult } from "../../src/plugin/testing.ts";

declare module "vitest" {
  interface TaskMeta {
    /** Set by conformance tests; the verdict of a case that was run is the test's own. */
    conformance?: Pick<ConformanceResult, "provider" | "behaviour"> & { readonly gap: string | null };
  }
}

/** A case's own waits end it with their reasons long before this. */
const CASE_TIMEOUT_MS = 300_000;

export function conformanceTests(kit: string, cases: readonly ConformanceCase[]): void {
  describe(`${kit} ${cases[0]?.provider ?? ""}`, () => {
    for (const each of cases) {
      const { provider, behaviour, gap } = each;
      test(
        `${behaviour}: ${gap === null ? each.title : `declared gap, ${gap}`}`,
        { timeout: CASE_TIMEOUT_MS },
        async ({ task }) => {
          task.meta.conformance = { provider: `${kit}/${provider}`, behaviour, gap };
          // What a tenant's safety hangs on, no provider of ours may leave out.
          expect(each.essential && gap !== null).toBe(false);
          await each.run();
        },
      );
    }
  });
}
