/**
 * What a server keeps in memory: for each tenant of the fleet, and while thousands are created at once; the second is what
 * it has more than at rest, at its height and when it has been quiet again for a while. At rest is after a first burst, in
 * which its code is compiled and its connections are opened; what that one took is told beside.
 */
import type { Bench, Benchmark, System } from "../kit/bench.ts";
import { openClient, type BenchClient } from "../kit/client.ts";
import { plainFigure, type Figure } from "../kit/figure.ts";
import { openProbe, untilSettled } from "../kit/probe.ts";
import { GROWN, pause, quietPair } from "../kit/quiet.ts";
import { usageOf } from "../kit/usage.ts";

const POSTS_AT_ONCE = 16;
const LOOK_EVERY_MS = 250;
const QUIET_BEFORE_MS = 2_000;

export const memory: Benchmark = {
  id: "memory",
  about: "memory of a server for each tenant, and during a burst of 5,000 creates",
  async run(bench) {
    const { residentMb } = await quietPair(bench);
    const kibPerTenant = ((residentMb.grown - residentMb.empty) * 1_024) / GROWN;
    const details = { rss_empty_mb: residentMb.empty, rss_grown_mb: residentMb.grown };
    return [
      plainFigure({ id: "memory", unit: "KiB/tenant", goal: { kind: "at-most", bound: 1 }, details }, [
        kibPerTenant,
      ]),
      ...(await measureBursts(bench, await bench.system())),
    ];
  },
};

/** Over idle. */
interface Burst {
  readonly highestMb: number;
  readonly afterMb: number;
}

async function measureBursts(bench: Bench, system: System): Promise<Figure[]> {
  const bursts: Burst[] = [];
  const client = openClient(system.server.url, POSTS_AT_ONCE);
  const count = bench.isQuick ? 2_000 : 5_000;
  const quietAfterMs = bench.isQuick ? 3_000 : 10_000;
  const details: Record<string, number> = {};
  try {
    const first = await burst(system, client, count, quietAfterMs);
    details["first_highest_mb"] = first.highestMb;
    details["first_after_mb"] = first.afterMb;
    const rounds = bench.isQuick ? 1 : 3;
    for (let round = 0; round < rounds; round++) {
      bursts.push(await burst(system, client, count, quietAfterMs));
    }
  } finally {
    await client.close();
  }
  const goal = { kind: "at-most", bound: 150 } as const;
  return [
    plainFigure(
      { id: "memory-burst", unit: "MB", goal, details },
      bursts.map(({ highestMb }) => highestMb),
    ),
    plainFigure(
      { id: "memory-after-burst", unit: "MB", goal: { kind: "at-most", bound: 50 } },
      bursts.map(({ afterMb }) => afterMb),
    ),
  ];
}

async function burst(
  { server, database }: System,
  client: BenchClient,
  count: number,
  quietAfterMs: number,
): Promise<Burst> {
  const probe = await openProbe(database.url);
  await untilSettled(probe);
  await pause(QUIET_BEFORE_MS);
  const before = usageOf(server.pid).residentMb;
  let highest = before;
  const look = setInterval(
    () => (highest = Math.max(highest, usageOf(server.pid).residentMb)),
    LOOK_EVERY_MS,
  );
  try {
    let left = count;
    await Promise.all(
      Array.from({ length: POSTS_AT_ONCE }, async () => {
        while (left-- > 0) await client.create();
      }),
    );
    await untilSettled(probe);
  } finally {
    clearInterval(look);
    await probe.close();
  }
  await pause(quietAfterMs);
  return { highestMb: highest - before, afterMb: usageOf(server.pid).residentMb - before };
}
