/** A simulation that cannot fail proves nothing: every planted bug is found, and nothing else is. */
import { describe, expect, it } from "vitest";
import { INVARIANTS } from "../invariants.ts";
import { runSeed } from "../run.ts";
import { PLANTS } from "./plants.ts";

const SEEDS_LIMIT = 2_000;
const TIMEOUT_MS = 300_000;

describe("planted bugs", () => {
  it("are at least as many as were asked for", () => {
    expect(PLANTS.length).toBeGreaterThanOrEqual(15);
    expect(new Set(PLANTS.map(({ name }) => name)).size).toBe(PLANTS.length);
  });

  it.each(PLANTS)("$name: $title", { timeout: TIMEOUT_MS }, async (plant) => {
    for (let seed = 1; seed <= SEEDS_LIMIT; seed++) {
      const { violation } = await runSeed({ seed, plant });
      if (violation === null) continue;
      process.stdout.write(
        `${plant.name}: found by seed ${seed}, ${INVARIANTS[violation.invariant]}: ${violation.message}\n`,
      );
      expect((await runSeed({ seed })).violation, "without it, the seed is clean").toBeNull();
      return;
    }
    expect.fail(`not found by ${SEEDS_LIMIT} seeds`);
  });
});
