/**
 * Two servers that have nothing to do, side by side: one over a small fleet and one over the largest. Both are looked at in
 * the same windows, so that what the machine does besides is the same for both.
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import type { Bench } from "./bench.ts";
import { emptyFleet, type Fleet } from "./fleet.ts";
import { startEngine, startServer, startWorker, type ServerPart } from "./parts.ts";
import { openProbe, type Probe } from "./probe.ts";
import { usageOf } from "./usage.ts";

export const SMALL = 10_000;
/** The fleet to which a server's memory is compared with that at none. */
export const GROWN = 100_000;

export interface QuietServer {
  readonly fleet: Fleet;
  readonly server: ServerPart;
  readonly probe: Probe;
}

export interface QuietPair {
  readonly small: QuietServer;
  readonly large: QuietServer;
  /** Of the server of the large fleet, before it had one and with GROWN tenants. */
  readonly residentMb: { readonly empty: number; readonly grown: number };
}

const STEADY_COMPUTE = fileURLToPath(new URL("steady-compute.ts", import.meta.url));
/** `controller.resync_rate`, by default. */
const LOOKS_PER_SECOND = 20;
/** A server that has just started, or whose fleet has, is not idle yet. */
const SETTLE_MS = 5_000;

const pairs = new WeakMap<Bench, Promise<QuietPair>>();

/** Started when it is first asked for; the benchmarks of one run share it. */
export function quietPair(bench: Bench): Promise<QuietPair> {
  const pair = pairs.get(bench) ?? start(bench);
  pairs.set(bench, pair);
  return pair;
}

async function start(bench: Bench): Promise<QuietPair> {
  const folder = bench.folder();
  const [engine, few, many] = await Promise.all([
    startEngine(folder),
    emptyFleet(bench, "quiet_small"),
    emptyFleet(bench, "quiet_large"),
  ]);
  bench.onEnd(() => engine.stop());
  const addresses = {
    "workflow.restate.endpoint": engine.ingressUrl,
    "workflow.restate.admin_endpoint": engine.adminUrl,
    "compute.steady.package": await compiledPlugin(folder),
  };
  const open = async (fleet: Fleet): Promise<QuietServer> => {
    const server = await startServer(
      bench,
      bench.folder(),
      { ...addresses, "database.url": fleet.url },
      "{}\n",
    );
    bench.onEnd(() => server.stop());
    const probe = await openProbe(fleet.url);
    bench.onEnd(() => probe.close());
    return { fleet, server, probe };
  };
  const [small, large] = await Promise.all([open(few), open(many)]);
  const worker = await startWorker(bench, folder, { ...addresses, "worker.api_url": small.server.url });
  bench.onEnd(() => worker.stop());
  await pause(SETTLE_MS);
  const empty = usageOf(large.server.pid).residentMb;
  bench.say(`writing ${SMALL} and ${GROWN} tenants under running servers`);
  await grow(small, SMALL);
  await grow(large, GROWN);
  await pause(SETTLE_MS);
  const grown = usageOf(large.server.pid).residentMb;
  if (!bench.isQuick) {
    bench.say("writing 1,000,000 tenants");
    await grow(large, 1_000_000);
    await pause(SETTLE_MS);
  }
  return { small, large, residentMb: { empty, grown } };
}

/** Server and worker are compiled programs, which load no TypeScript. */
async function compiledPlugin(folder: string): Promise<string> {
  const outfile = join(folder, "steady-compute.mjs");
  await build({ entryPoints: [STEADY_COMPUTE], outfile, bundle: true, format: "esm", platform: "node" });
  return outfile;
}

async function grow({ fleet }: QuietServer, size: number): Promise<void> {
  await fleet.growTo(size);
  await fleet.spreadLooks(LOOKS_PER_SECOND);
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
