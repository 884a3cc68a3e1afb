/**
 * What one user waits for: from POST to ready, one at a time, with mock compute through real Restate. The raw limit is the
 * call of a bare workflow with the job's number of steps, in turn in the same run.
 */
import { Pool } from "undici";
import type { Bench, Benchmark, System } from "../kit/bench.ts";
import { openClient, type BenchClient } from "../kit/client.ts";
import { pairedFigure, quantile, type Figure, type Round } from "../kit/figure.ts";
import { JOB_STEPS } from "../raw/job-steps.ts";
import { openProbe } from "../kit/probe.ts";

const WARM_UP = 60;

export const latency: Benchmark = {
  id: "latency",
  about: "from POST to ready, one tenant at a time",
  async run(bench) {
    const system = await bench.system();
    const client = openClient(system.server.url, 2);
    const raw = openRaw(system);
    try {
      return await measure(bench, system, client, raw);
    } finally {
      await Promise.all([client.close(), raw.close()]);
    }
  },
};

async function measure(bench: Bench, system: System, client: BenchClient, raw: RawClient): Promise<Figure[]> {
  const rounds = bench.isQuick ? 5 : 15;
  const samples = bench.isQuick ? 40 : 200;
  await sample(WARM_UP, () => raw.call());
  await sample(WARM_UP, () => client.createAndWait());
  const halves: Round[] = [];
  const tails: Round[] = [];
  const probe = await openProbe(system.database.url);
  const perLife: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const bare = await sample(samples, () => raw.call());
    const before = await probe.statements();
    const whole = await sample(samples, () => client.createAndWait());
    perLife.push(((await probe.statements()) - before) / samples);
    halves.push({ landlord: quantile(whole, 0.5), raw: quantile(bare, 0.5) });
    tails.push({ landlord: quantile(whole, 0.99), raw: quantile(bare, 0.99) });
  }
  await probe.close();
  const details = { statements_per_life: quantile(perLife, 0.5) };
  return [
    pairedFigure(
      {
        id: "latency-p50",
        unit: "ms",
        goal: { kind: "at-most", bound: 1.7 },
        reference: { raw: 8.6, isLessBetter: true },
        details,
      },
      halves,
    ),
    pairedFigure({ id: "latency-p99", unit: "ms", goal: { kind: "at-most", bound: 2.5 } }, tails),
  ];
}

export async function sample(count: number, run: () => Promise<number>): Promise<number[]> {
  const samples: number[] = [];
  for (let index = 0; index < count; index++) samples.push(await run());
  return samples;
}

export interface RawClient {
  /** Runs one workflow to its end. Answers ms. */
  call(): Promise<number>;
  close(): Promise<void>;
}

let called = 0;

/** Calls the bare workflow over kept connections. */
export function openRaw({ engine }: System, connections = 2): RawClient {
  const pool = new Pool(engine.ingressUrl, { connections, pipelining: 1 });
  return {
    async call() {
      const startedMs = performance.now();
      const answer = await pool.request({
        method: "POST",
        path: `/RawBench/raw-${process.pid}-${called++}/run`,
        headers: { "content-type": "application/json" },
        body: String(JOB_STEPS),
      });
      const text = await answer.body.text();
      if (text !== '"done"') throw new Error(`the raw workflow answered ${answer.statusCode}: ${text}`);
      return performance.now() - startedMs;
    },
    close: () => pool.close(),
  };
}
