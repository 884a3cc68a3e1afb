/** The compute kit is worth something only if it fails what is broken. */
import { describe, expect, test } from "vitest";
import {
  computeBehaviours,
  conformanceCases,
  conformanceTable,
  runConformance,
  type ConformanceResult,
} from "../../src/plugin/testing.ts";
import { openListHarness, type Flaw } from "./list-backend.ts";

const GAPS = { "restarts-what-ended": "a list never ends" };

async function failuresOf(flaw: Flaw | null): Promise<readonly ConformanceResult[]> {
  const subject = { name: flaw ?? "sound", gaps: GAPS, open: () => Promise.resolve(openListHarness(flaw)) };
  const results = await runConformance(conformanceCases(computeBehaviours, subject));
  return results.filter(({ verdict }) => verdict === "FAIL");
}

/** The behaviours that must not survive the flaw; others may fail as well. */
const CAUGHT_BY: readonly (readonly [Flaw, readonly string[]])[] = [
  ["forgets on restart", ["take-over", "proof-of-absence"]],
  ["reports success when unreachable", ["unreachable-is-unknown", "lost-answer-in-destroy"]],
  ["takes unreachable for absent", ["unreachable-is-unknown"]],
  ["ignores the fence", ["stale-generation", "no-resurrection", "crash-in-destroy"]],
  ["forgets deletions", ["no-resurrection"]],
  ["is not idempotent", ["idempotent-apply", "crash-in-create", "duplicate-in-create"]],
  ["leaks on failed start", ["no-leak-on-failure"]],
  ["leaves the old one", ["update", "crash-in-update"]],
  ["calls failures final", ["error-classification"]],
  ["lists too much", ["orphan-listing"]],
  ["deletes the neighbour", ["tenants-apart"]],
];

describe("the compute kit", () => {
  test("passes the same provider without a flaw", async () => {
    expect(await failuresOf(null)).toEqual([]);
  });

  test.each(CAUGHT_BY)("fails a provider that %s", async (flaw, behaviours) => {
    const failures = await failuresOf(flaw);
    expect(failures.map(({ behaviour }) => behaviour)).toEqual(expect.arrayContaining([...behaviours]));
    for (const { reason } of failures) expect(reason).not.toBe("");
  });

  test("prints a table with a line for each gap and failure", () => {
    const result = { provider: "list", durationMs: 1 };
    expect(
      conformanceTable([
        { ...result, behaviour: "update", verdict: "pass", reason: null },
        { ...result, behaviour: "logs", verdict: "gap", reason: "none are kept" },
        { ...result, behaviour: "plan", verdict: "FAIL", reason: "nothing was planned" },
        { ...result, provider: "other", behaviour: "plan", verdict: "pass", reason: null },
      ]).split("\n"),
    ).toEqual([
      "behaviour  list  other",
      "update     pass",
      "logs       gap",
      "plan       FAIL  pass",
      "",
      "gap: list, logs: none are kept",
      "FAIL: list, plan: nothing was planned",
    ]);
  });

  test("refuses a gap of a behaviour that does not exist", () => {
    const subject = {
      name: "typo",
      gaps: { "orphan-listings": "x" },
      open: () => Promise.reject(new Error()),
    };
    expect(() => conformanceCases(computeBehaviours, subject)).toThrow(/orphan-listings.*Known are/s);
  });
});
