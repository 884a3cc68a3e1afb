/**
 * What a server costs that has nothing to do: statements a second, and processor time, with a large fleet of settled
 * tenants and with a small one in the same windows. Idle is not silent: at its defaults a server goes on looking at the
 * compute of 20 tenants a second, as far as there are so many.
 */
import type { Bench, Benchmark } from "../kit/bench.ts";
import { pairedFigure, plainFigure, type Figure } from "../kit/figure.ts";
import { pause, quietPair, SMALL, type QuietServer } from "../kit/quiet.ts";
import { usageOf } from "../kit/usage.ts";

export const idle: Benchmark = {
  id: "idle",
  about: "statements and processor time of a server that has nothing to do",
  async run(bench) {
    return measure(bench, await quietPair(bench));
  },
};

interface Quiet {
  readonly small: QuietServer;
  readonly large: QuietServer;
}

/** What one server used in one window. */
interface Window {
  readonly queriesPerSecond: number;
  readonly cpuPercent: number;
}

async function measure(bench: Bench, { small, large }: Quiet): Promise<Figure[]> {
  const windows = bench.isQuick ? 2 : 9;
  const windowMs = bench.isQuick ? 7_000 : 30_000;
  const seen: { readonly few: Window; readonly many: Window }[] = [];
  for (let window = 0; window < windows; window++) {
    const ends = [await begin(small), await begin(large)] as const;
    await pause(windowMs);
    seen.push({ few: await ends[0](), many: await ends[1]() });
  }
  const queries = seen.map(({ many }) => many.queriesPerSecond);
  const [{ residentMb }, fleet] = [usageOf(large.server.pid), large.fleet];
  const details = {
    server_rss_mb: residentMb,
    leased: await fleet.count("leased"),
    due: await fleet.count("due"),
  };
  return [
    plainFigure(
      { id: "idle-queries", unit: "queries/s", goal: { kind: "at-most", bound: 3 }, details },
      queries,
    ),
    plainFigure(
      { id: "idle-cpu", unit: "% of a core", goal: { kind: "at-most", bound: 1 } },
      seen.map(({ many }) => many.cpuPercent),
    ),
    // Raw is the same server with the small fleet.
    pairedFigure(
      {
        id: "idle-flat",
        unit: "queries/s",
        goal: { kind: "at-most", bound: 1.2 },
        details: { small_fleet: SMALL, ...cpuOf(seen) },
      },
      seen.map(({ few, many }) => ({ landlord: many.queriesPerSecond, raw: few.queriesPerSecond })),
    ),
  ];
}

function cpuOf(seen: readonly { readonly few: Window; readonly many: Window }[]): Record<string, number> {
  const mean = (pick: "few" | "many"): number =>
    seen.reduce((sum, each) => sum + each[pick].cpuPercent, 0) / seen.length;
  return { cpu_small_percent: mean("few"), cpu_large_percent: mean("many") };
}

/** Begins a window; what it answers ends it. */
async function begin({ server, probe }: QuietServer): Promise<() => Promise<Window>> {
  const statements = await probe.statements();
  const { cpuMs } = usageOf(server.pid);
  const startedMs = performance.now();
  return async () => {
    const tookMs = performance.now() - startedMs;
    const usedMs = usageOf(server.pid).cpuMs - cpuMs;
    return {
      queriesPerSecond: (((await probe.statements()) - statements) / tookMs) * 1_000,
      cpuPercent: (usedMs / tookMs) * 100,
    };
  };
}
