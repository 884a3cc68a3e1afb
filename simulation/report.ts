/** The last lines of a run of many seeds. */
import { median, type BatchResult } from "./batch.ts";
import { INVARIANTS } from "./invariants.ts";

/** A tame simulation proves nothing: fewer interleavings or tenants than these are a fault of the simulation. */
export const LEAST_INTERLEAVINGS = 200;
export const LEAST_TENANTS = 5;

export function summaryOf(result: BatchResult, start: number, durationMs: number): readonly string[] {
  const { seeds, failures, counts, branches, interleavings } = result;
  const untaken = branches.filter(({ isTaken }) => !isTaken);
  const seconds = durationMs / 1_000;
  return [
    ...failures.map(
      ({ seed, violation }) =>
        `seed ${seed} violates "${INVARIANTS[violation.invariant]}": ${violation.message}`,
    ),
    `faults that met something: ${Object.entries(counts)
      .map(([kind, count]) => `${kind} ${count}`)
      .join(", ")}`,
    ...untaken.map(({ file, text }) => `branch not taken, ${file}: ${text}`),
    `branches of decide(): ${branches.length - untaken.length} of ${branches.length} taken`,
    `interleavings in a run: ${median(interleavings)} (median), with at least ${result.fewestTenants} tenants`,
    `${seeds} seeds from ${start} on in ${seconds.toFixed(1)} s: ${(seeds / seconds).toFixed(1)} seeds/s, ${result.steps} steps, ${failures.length} violations`,
  ];
}
