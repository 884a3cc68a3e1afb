/**
 * How many tenants become ready in a second when a burst of them is asked for at once. The raw limit is how many bare
 * workflows the same engine ends in a second, at the concurrency that is best for it.
 */
import type { Bench, Benchmark, System } from "../kit/bench.ts";
import { openClient } from "../kit/client.ts";
import { median, pairedFigure, type Figure, type Round } from "../kit/figure.ts";
import { openProbe, untilSettled, type Probe } from "../kit/probe.ts";
import { watchUsage } from "../kit/usage.ts";
import { openRaw } from "./latency.ts";

const POSTS_AT_ONCE = 32;
const RAW_AT_ONCE = [64, 128, 256];

export const throughput: Benchmark = {
  id: "throughput",
  about: "tenants a second that become ready, in a burst",
  async run(bench) {
    const system = await bench.system();
    const burst = bench.isQuick ? 1_000 : 5_000;
    const rounds = bench.isQuick ? 3 : 7;
    const best = await bestConcurrency(system, bench.isQuick ? 400 : 1_500);
    const probe = await openProbe(system.database.url);
    await burstOf(system, probe, burst / 4);
    const results: Round[] = [];
    const costs: Cost[] = [];
    for (let round = 0; round < rounds; round++) {
      const raw = await rawRate(system, best, burst);
      const { rate, cost } = await burstOf(system, probe, burst);
      results.push({ landlord: rate, raw });
      costs.push(cost);
      bench.say(`throughput: ${rate.toFixed(0)} tenants/s, raw ${raw.toFixed(0)} workflows/s`);
    }
    await probe.close();
    return [figureOf(bench, results, costs, best)];
  },
};

type Cost = Readonly<Record<"server" | "worker" | "engine" | "database", number>>;

function figureOf(bench: Bench, rounds: readonly Round[], costs: readonly Cost[], best: number): Figure {
  const cost = (part: keyof Cost): number => median(costs.map((each) => each[part]));
  return pairedFigure(
    {
      id: "throughput",
      unit: "tenants/s",
      goal: { kind: "at-least", bound: 0.55 },
      reference: { raw: 685, isLessBetter: false },
      details: {
        cpu_server_ms_per_tenant: cost("server"),
        cpu_worker_ms_per_tenant: cost("worker"),
        cpu_engine_ms_per_tenant: cost("engine"),
        cpu_database_ms_per_tenant: cost("database"),
        raw_concurrency: best,
      },
    },
    rounds,
  );
}

/** From the first POST until every tenant is ready. */
async function burstOf(
  system: System,
  probe: Probe,
  count: number,
): Promise<{ readonly rate: number; readonly cost: Cost }> {
  const client = openClient(system.server.url, POSTS_AT_ONCE);
  const usage = watchUsage({
    server: system.server.pid,
    worker: system.worker.pid,
    engine: system.engine.pid,
    database: system.database.pid,
  });
  const startedMs = performance.now();
  let left = count;
  await Promise.all(
    Array.from({ length: POSTS_AT_ONCE }, async () => {
      while (left-- > 0) await client.create();
    }),
  );
  await untilSettled(probe);
  const tookMs = performance.now() - startedMs;
  await client.close();
  const used = usage();
  const perTenant = (part: keyof Cost): number => used[part].cpuMs / count;
  return {
    rate: (count / tookMs) * 1_000,
    cost: {
      server: perTenant("server"),
      worker: perTenant("worker"),
      engine: perTenant("engine"),
      database: perTenant("database"),
    },
  };
}

export async function bestConcurrency(system: System, calls: number): Promise<number> {
  let best = { atOnce: RAW_AT_ONCE[0] ?? 1, rate: 0 };
  for (const atOnce of RAW_AT_ONCE) {
    const rate = await rawRate(system, atOnce, calls);
    if (rate > best.rate) best = { atOnce, rate };
  }
  return best.atOnce;
}

export async function rawRate(system: System, atOnce: number, calls: number): Promise<number> {
  const raw = openRaw(system, atOnce);
  const startedMs = performance.now();
  let left = calls;
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      while (left-- > 0) await raw.call();
    }),
  );
  const tookMs = performance.now() - startedMs;
  await raw.close();
  return (calls / tookMs) * 1_000;
}
