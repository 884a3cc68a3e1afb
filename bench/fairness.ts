/**
 * How long one user waits while others create in bulk: the latency of a single interactive create with 1,000 bulk creates
 * in the queue, next to the same on an idle system, in one run.
 */
import {
  createAndWait,
  createTenant,
  isReady,
  quantile,
  sample,
  type Figure,
  type System,
} from "./measure.ts";

const BULK = 1_000;
const POSTS_AT_ONCE = 20;
const GOAL_RATIO = 5;
/** A round that ends with fewer says nothing of its slowest. */
const LEAST_SAMPLES = 10;

export async function measureFairness(
  system: System,
  settings: { readonly rounds: number; readonly idleSamples: number },
): Promise<Figure[]> {
  await sample(20, () => createAndWait(system));
  const all = { idle: [] as number[], busy: [] as number[] };
  const ratios = { p50: [] as number[], p99: [] as number[] };
  for (let round = 1; round <= settings.rounds; round++) {
    const idle = await sample(settings.idleSamples, () => createAndWait(system));
    const busy = await whileBulk(system);
    process.stderr.write(
      `fairness: round ${round} of ${settings.rounds}, ${busy.length} interactive creates among ${BULK} in bulk\n`,
    );
    all.idle.push(...idle);
    all.busy.push(...busy);
    ratios.p50.push(quantile(busy, 0.5) / quantile(idle, 0.5));
    ratios.p99.push(quantile(busy, 0.99) / quantile(idle, 0.99));
  }
  for (const samples of Object.values(all)) samples.sort((a, b) => a - b);
  return (["p50", "p99"] as const).map((name) => {
    const q = name === "p50" ? 0.5 : 0.99;
    const sorted = ratios[name].sort((a, b) => a - b);
    return {
      id: `fairness-${name}`,
      value: quantile(all.busy, q),
      unit: "ms",
      raw: quantile(all.idle, q),
      ratio: quantile(sorted, 0.5),
      goal: `<= ${GOAL_RATIO} x idle`,
      met: (sorted.at(-1) ?? Number.NaN) <= GOAL_RATIO,
      spread: [sorted[0] ?? Number.NaN, sorted.at(-1) ?? Number.NaN],
    };
  });
}

/** One interactive create after the other for as long as bulk work waits, in ascending order. */
async function whileBulk(system: System): Promise<number[]> {
  const bulk: string[] = [];
  const post = async (): Promise<void> => {
    while (bulk.length < BULK) bulk.push(await createTenant(system, "bulk"));
  };
  await Promise.all(Array.from({ length: POSTS_AT_ONCE }, post));
  const samples: number[] = [];
  while (!(await hasEnded(system, bulk))) samples.push(await createAndWait(system));
  if (samples.length < LEAST_SAMPLES) {
    process.stderr.write(
      `fairness: bulk work was done after ${samples.length} interactive creates: its ratio says little\n`,
    );
  }
  return samples.sort((a, b) => a - b);
}

/** The last ones of a queue end last, or nearly. */
async function hasEnded(system: System, bulk: readonly string[]): Promise<boolean> {
  const states = await Promise.all(bulk.slice(-5).map((id) => isReady(system, id)));
  return states.every((ready) => ready);
}
