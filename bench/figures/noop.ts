/**
 * A look at the compute of every tenant of a fleet that is as it should be: the real reconciler over an engine that answers
 * at once, as fast as it goes. The raw limit claims and gives back as many rows by hand, in batches of the same size.
 */
import { randomUUID } from "node:crypto";
import type { Bench, Benchmark } from "../kit/bench.ts";
import { sharedFleet, type Fleet } from "../kit/fleet.ts";
import { pairedFigure, type Figure, type Round } from "../kit/figure.ts";
import { startReconciler } from "../kit/reconciling.ts";
import { openRawQueue, type RawQueue } from "../raw/due-queue.ts";

const TENANTS = 10_000;
const FEWER_TENANTS = 2_500;
/** As many as one question to a worker may hold. */
const BATCH = 100;
const NEXT_LOOK_MS = 600_000;

export const noop: Benchmark = {
  id: "noop",
  about: "looks at the compute of 10,000 tenants that find nothing to do",
  async run(bench) {
    const fleet = await sharedFleet(bench, TENANTS);
    const raw = await openRawQueue(fleet.url);
    try {
      await raw.fill();
      return await measure(bench, fleet, raw);
    } finally {
      await raw.close();
    }
  },
};

async function measure(bench: Bench, fleet: Fleet, raw: RawQueue): Promise<Figure[]> {
  const rounds = bench.isQuick ? 3 : 9;
  const whole: Round[] = [];
  const linear: Round[] = [];
  // The first one warms up.
  for (let round = 0; round <= rounds; round++) {
    const rawMs = await rawTime(raw);
    const fewerMs = await landlordTime(fleet, FEWER_TENANTS);
    const landlordMs = await landlordTime(fleet, TENANTS);
    if (round === 0) continue;
    whole.push({ landlord: landlordMs, raw: rawMs });
    linear.push({ landlord: (landlordMs * 1_000) / TENANTS, raw: (fewerMs * 1_000) / FEWER_TENANTS });
  }
  return [
    pairedFigure({ id: "noop", unit: "ms", goal: { kind: "at-most", bound: 2 } }, whole),
    // Raw is the same with fewer tenants.
    pairedFigure({ id: "noop-linear", unit: "µs/tenant", goal: { kind: "at-most", bound: 1.2 } }, linear),
  ];
}

async function rawTime(raw: RawQueue): Promise<number> {
  await raw.makeLooksDue(TENANTS);
  const startedMs = performance.now();
  for (let done = 0; done < TENANTS;) {
    const claimed = await raw.claimLooks(BATCH);
    await raw.release(claimed, NEXT_LOOK_MS);
    done += claimed.length;
  }
  return performance.now() - startedMs;
}

/** Until every tenant was given back. */
async function landlordTime(fleet: Fleet, tenants: number): Promise<number> {
  await fleet.makeLooksDue(tenants);
  const { promise, resolve } = withResolvers();
  let left = tenants;
  const store = {
    ...fleet.store,
    commit: async (...args: Parameters<typeof fleet.store.commit>) => {
      const outcomes = await fleet.store.commit(...args);
      left -= outcomes.length;
      if (left <= 0) resolve();
      return outcomes;
    },
  };
  const startedMs = performance.now();
  const reconciler = startReconciler(store, { leaseOwner: randomUUID(), resyncIntervalMs: NEXT_LOOK_MS });
  await promise;
  const tookMs = performance.now() - startedMs;
  await reconciler.stop();
  if ((await fleet.count("looks_due")) > 0) throw new Error("looks are still due");
  return tookMs;
}

function withResolvers(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve: () => void = () => undefined;
  const promise = new Promise<void>((done) => (resolve = done));
  return { promise, resolve };
}
