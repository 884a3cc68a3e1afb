/**
 * Where the floor of `latency` and `throughput` is: the same measurements of the least that a control plane of this shape
 * does (control-plane.ts), next to the same raw limit. What it misses of a goal, nothing of this shape can reach here.
 */
import type { Bench, Benchmark, System } from "../kit/bench.ts";
import { openClient } from "../kit/client.ts";
import { pairedFigure, quantile, type Figure, type Round } from "../kit/figure.ts";
import { startRaw } from "../kit/parts.ts";
import { openRaw, sample } from "../figures/latency.ts";
import { bestConcurrency, rawRate } from "../figures/throughput.ts";

const WARM_UP = 200;
const POSTS_AT_ONCE = 96;

export const floor: Benchmark = {
  id: "floor",
  about: "the least a control plane does: what latency and throughput could be at best",
  async run(bench) {
    const system = await bench.system();
    const prototype = await startRaw("prototypes/control-plane.ts", [
      system.database.url,
      system.engine.ingressUrl,
    ]);
    bench.onEnd(() => prototype.stop());
    const url = `http://127.0.0.1:${prototype.port}`;
    return [...(await latencies(bench, system, url)), await throughputOf(bench, system, url)];
  },
};

async function latencies(bench: Bench, system: System, url: string): Promise<Figure[]> {
  const client = openClient(url, 2);
  const raw = openRaw(system);
  await sample(WARM_UP, () => raw.call());
  await sample(WARM_UP, () => client.createAndWait());
  const halves: Round[] = [];
  const tails: Round[] = [];
  const samples = bench.isQuick ? 40 : 200;
  for (let round = 0; round < (bench.isQuick ? 5 : 15); round++) {
    const bare = await sample(samples, () => raw.call());
    const whole = await sample(samples, () => client.createAndWait());
    halves.push({ landlord: quantile(whole, 0.5), raw: quantile(bare, 0.5) });
    tails.push({ landlord: quantile(whole, 0.99), raw: quantile(bare, 0.99) });
  }
  await Promise.all([client.close(), raw.close()]);
  return [
    pairedFigure({ id: "floor-latency-p50", unit: "ms", goal: { kind: "at-most", bound: 1.7 } }, halves),
    pairedFigure({ id: "floor-latency-p99", unit: "ms", goal: { kind: "at-most", bound: 2.5 } }, tails),
  ];
}

/** Clients wait for each tenant, so that nobody has to ask whether all are ready. */
async function throughputOf(bench: Bench, system: System, url: string): Promise<Figure> {
  const burst = bench.isQuick ? 1_000 : 5_000;
  const best = await bestConcurrency(system, bench.isQuick ? 400 : 1_500);
  const client = openClient(url, POSTS_AT_ONCE);
  const rounds: Round[] = [];
  for (let round = 0; round <= (bench.isQuick ? 3 : 7); round++) {
    const raw = await rawRate(system, best, burst);
    const startedMs = performance.now();
    let left = burst;
    await Promise.all(
      Array.from({ length: POSTS_AT_ONCE }, async () => {
        while (left-- > 0) await client.createAndWait();
      }),
    );
    // The first one warms up.
    if (round > 0) rounds.push({ landlord: (burst / (performance.now() - startedMs)) * 1_000, raw });
  }
  await client.close();
  return pairedFigure(
    { id: "floor-throughput", unit: "tenants/s", goal: { kind: "at-least", bound: 0.55 } },
    rounds,
  );
}
