/**
 * How long one user waits while others create in bulk: the latency of single interactive creates while a thousand bulk
 * creates are kept in the queue, next to the same on an idle system, in turn in one run.
 */
import type { Bench, Benchmark } from "../kit/bench.ts";
import { openClient, type BenchClient } from "../kit/client.ts";
import { openProbe, untilSettled, type Probe } from "../kit/probe.ts";
import { pairedFigure, quantile, type Figure, type Round } from "../kit/figure.ts";

const QUEUE = 1_000;
const POSTS_AT_ONCE = 8;
/** Between two looks at how many have left the queue. */
const LOOK_EVERY_MS = 100;

export const fairness: Benchmark = {
  id: "fairness",
  about: "what an interactive create waits while bulk creates keep 1,000 in the queue",
  async run(bench) {
    const { server, database } = await bench.system();
    const probe = await openProbe(database.url);
    const [single, bulk] = [openClient(server.url, 2), openClient(server.url, POSTS_AT_ONCE)];
    try {
      return await measure(bench, single, bulk, probe);
    } finally {
      await Promise.all([single.close(), bulk.close(), probe.close()]);
    }
  },
};

async function measure(
  bench: Bench,
  single: BenchClient,
  bulk: BenchClient,
  probe: Probe,
): Promise<Figure[]> {
  const rounds = bench.isQuick ? 2 : 6;
  const samples = bench.isQuick ? 30 : 200;
  const halves: Round[] = [];
  const tails: Round[] = [];
  for (let round = 0; round < rounds; round++) {
    const idle: number[] = [];
    while (idle.length < samples) idle.push(await single.createAndWait());
    const queue = await keepQueue(bulk, probe);
    const busy: number[] = [];
    while (busy.length < samples) busy.push(await single.createAndWait());
    const waiting = await queue.drain();
    bench.say(`fairness: ${samples} interactive creates, ${waiting} bulk creates left in the queue`);
    halves.push({ landlord: quantile(busy, 0.5), raw: quantile(idle, 0.5) });
    tails.push({ landlord: quantile(busy, 0.99), raw: quantile(idle, 0.99) });
  }
  const goal = { kind: "at-most", bound: 5 } as const;
  return [
    pairedFigure({ id: "fairness-p50", unit: "ms", goal }, halves),
    pairedFigure({ id: "fairness-p99", unit: "ms", goal }, tails),
  ];
}

interface Queue {
  /** Adds nothing more, and waits until it is empty. Answers how many were waiting when it was asked. */
  drain(): Promise<number>;
}

/** Answers when QUEUE bulk creates wait, and from then on makes up for those that were done. */
async function keepQueue(client: BenchClient, probe: Probe): Promise<Queue> {
  let isOpen = true;
  const add = async (count: number): Promise<void> => {
    let left = count;
    await Promise.all(
      Array.from({ length: POSTS_AT_ONCE }, async () => {
        while (left-- > 0) await client.create("bulk");
      }),
    );
  };
  await add(QUEUE);
  const keeping = (async () => {
    while (isOpen) {
      const missing = QUEUE - (await probe.unsettled());
      if (missing > 0) await add(missing);
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
    }
  })();
  return {
    async drain() {
      isOpen = false;
      await keeping;
      const waiting = await probe.unsettled();
      await untilSettled(probe);
      return waiting;
    },
  };
}
