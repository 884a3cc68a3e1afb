/** Runs many seeds in this process and adds up what they say. */
import type { Branch } from "./coverage.ts";
import { startCoverage } from "./coverage.ts";
import type { Violation } from "./invariants.ts";
import { COUNTED_KINDS, type CountedKind } from "./plan.ts";

export interface BatchParams {
  readonly start: number;
  /** From one seed to the next: the number of processes. */
  readonly step: number;
  readonly seeds: number;
  /** Ends the batch early; null for not. */
  readonly minutes: number | null;
}

export interface Failure {
  readonly seed: number;
  readonly violation: Violation;
}

export interface BatchResult {
  readonly seeds: number;
  readonly failures: readonly Failure[];
  readonly counts: Readonly<Record<CountedKind, number>>;
  readonly interleavings: readonly number[];
  readonly fewestTenants: number;
  readonly steps: number;
  readonly branches: readonly Branch[];
}

const FAILURES_LIMIT = 20;
/** The decisions: their branches are counted. */
const DECISIONS = ["/src/domain/decide.ts", "/src/domain/drift.ts"];

export async function runBatch(params: BatchParams, onSeed: () => void): Promise<BatchResult> {
  const coverage = await startCoverage(DECISIONS);
  // Loaded only now, so that the decisions are counted from the first.
  const { runSeed } = await import("./run.ts");
  const counts = Object.fromEntries(COUNTED_KINDS.map((kind) => [kind, 0])) as Record<CountedKind, number>;
  const failures: Failure[] = [];
  const interleavings: number[] = [];
  let fewestTenants = Infinity;
  let steps = 0;
  const endMs = params.minutes === null ? Infinity : performance.now() + params.minutes * 60_000;
  for (let index = 0; index < params.seeds; index++) {
    if (performance.now() >= endMs || failures.length >= FAILURES_LIMIT) break;
    const seed = params.start + index * params.step;
    const result = await runSeed({ seed });
    if (result.violation !== null) failures.push({ seed, violation: result.violation });
    for (const [kind, count] of result.counts) counts[kind] += count;
    interleavings.push(result.interleavings);
    fewestTenants = Math.min(fewestTenants, result.tenants);
    steps += result.steps;
    onSeed();
    // Messages of the parent process come between two seeds.
    await new Promise((resolve) => setImmediate(resolve));
  }
  return {
    seeds: interleavings.length,
    failures,
    counts,
    interleavings,
    fewestTenants,
    steps,
    branches: await coverage.take(),
  };
}

/** Several batches as one. */
export function joined(results: readonly BatchResult[]): BatchResult {
  const [first] = results;
  const sum = (pick: (result: BatchResult) => number): number =>
    results.reduce((total, result) => total + pick(result), 0);
  return {
    seeds: sum(({ seeds }) => seeds),
    failures: results.flatMap(({ failures }) => failures).sort((one, other) => one.seed - other.seed),
    counts: Object.fromEntries(
      COUNTED_KINDS.map((kind) => [kind, sum(({ counts }) => counts[kind])]),
    ) as Record<CountedKind, number>,
    interleavings: results.flatMap((result) => result.interleavings),
    fewestTenants: Math.min(...results.map((result) => result.fewestTenants)),
    steps: sum((result) => result.steps),
    branches: (first?.branches ?? []).map((branch, index) => ({
      ...branch,
      isTaken: results.some(({ branches }) => branches[index]?.isTaken === true),
    })),
  };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}
