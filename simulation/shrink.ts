/** Makes a failing run small: leaves out faults and requests as long as it fails in the same way. */
import { runSeed, type RunOptions, type RunResult } from "./run.ts";

export interface Shrunk {
  /** What is left of the plan, by id. */
  readonly only: readonly string[];
  readonly runs: number;
  readonly result: RunResult;
}

const RUNS_LIMIT = 250;

/** @param failed a run with a violation */
export async function shrink(failed: RunResult, options: Pick<RunOptions, "plant"> = {}): Promise<Shrunk> {
  const wanted = failed.violation?.invariant;
  const endMs = failed.violation?.atMs ?? Infinity;
  const planned = [...failed.plan.actions, ...failed.plan.faults];
  let only = planned.map(({ id }) => id);
  let result = failed;
  let runs = 0;

  async function stillFails(candidate: readonly string[]): Promise<boolean> {
    runs += 1;
    const tried = await runSeed({ ...options, seed: failed.seed, only: candidate });
    if (tried.violation?.invariant !== wanted) return false;
    result = tried;
    return true;
  }

  // What came after the violation has nothing to do with it, as a rule.
  const before = planned.filter(({ atMs }) => atMs <= endMs).map(({ id }) => id);
  if (await stillFails(before)) only = before;
  // Large parts first; then smaller ones, until no single one can be left out.
  for (let size = Math.ceil(only.length / 2); size >= 1 && runs < RUNS_LIMIT;) {
    let hasShrunk = false;
    for (let start = 0; start < only.length && runs < RUNS_LIMIT;) {
      const candidate = [...only.slice(0, start), ...only.slice(start + size)];
      if (candidate.length > 0 && (await stillFails(candidate))) {
        only = candidate;
        hasShrunk = true;
      } else start += size;
    }
    if (size === 1 && !hasShrunk) break;
    size = size === 1 ? 1 : Math.ceil(size / 2);
  }
  return { only, runs, result };
}
