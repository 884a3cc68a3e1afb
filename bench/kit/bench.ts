/** What a benchmark is given, and what it is. */
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Figure } from "./figure.ts";
import { installPackage } from "./installed.ts";
import {
  startDatabase,
  startEngine,
  startRawWorker,
  startServer,
  startWorker,
  type DatabasePart,
  type EnginePart,
  type Part,
  type ServerPart,
} from "./parts.ts";

export interface Benchmark {
  /** What `--only` takes; the ids of its figures begin with it. */
  readonly id: string;
  /** A line for `--help`. */
  readonly about: string;
  run(bench: Bench): Promise<readonly Figure[]>;
}

export interface Bench {
  readonly isQuick: boolean;
  /** A line of progress, on standard error. */
  say(text: string): void;
  /** A new empty folder that PostgreSQL's user can reach; removed at the end. */
  folder(): string;
  /** Landlord's program, compiled as it is published: what users run. Made when it is first asked for. */
  program(): Promise<string>;
  /** Ended at the end of the run, the last one first, whatever happens. */
  onEnd(stop: () => Promise<void>): void;
  /** The whole system with mock compute, and a raw worker beside it; started when it is first asked for. */
  system(): Promise<System>;
}

/** Everything real and apart: PostgreSQL, Restate, server, worker; and the raw workflow on the same engine. */
export interface System {
  readonly database: DatabasePart;
  readonly engine: EnginePart;
  readonly server: ServerPart;
  readonly worker: Part;
  readonly rawWorker: Part;
}

export function openBench(settings: { readonly isQuick: boolean }): Bench & { end(): Promise<void> } {
  const stops: (() => Promise<void>)[] = [];
  const onEnd: Bench["onEnd"] = (stop) => void stops.push(stop);
  let system: Promise<System> | null = null;
  let program: Promise<string> | null = null;
  const bench: Bench = {
    isQuick: settings.isQuick,
    say: (text) => void process.stderr.write(`${text}\n`),
    folder() {
      const folder = mkdtempSync(join(tmpdir(), "landlord-bench-"));
      chmodSync(folder, 0o711);
      stops.push(() => {
        rmSync(folder, { recursive: true, force: true });
        return Promise.resolve();
      });
      return folder;
    },
    onEnd,
    program() {
      if (program === null) bench.say("compiling the package");
      return (program ??= installPackage(bench.folder()));
    },
    system: () => (system ??= startSystem(bench)),
  };
  return {
    ...bench,
    async end() {
      for (const stop of stops.reverse()) await stop();
    },
  };
}

async function startSystem(bench: Bench): Promise<System> {
  bench.say("starting PostgreSQL, Restate, server, worker and the raw worker");
  const folder = bench.folder();
  const [database, engine] = await Promise.all([startDatabase(folder), startEngine(folder), bench.program()]);
  bench.onEnd(() => database.stop());
  bench.onEnd(() => engine.stop());
  const addresses = {
    "workflow.restate.endpoint": engine.ingressUrl,
    "workflow.restate.admin_endpoint": engine.adminUrl,
  };
  const server = await startServer(bench, folder, { ...addresses, "database.url": database.url });
  bench.onEnd(() => server.stop());
  const worker = await startWorker(bench, folder, { ...addresses, "worker.api_url": server.url });
  bench.onEnd(() => worker.stop());
  const rawWorker = await startRawWorker(engine);
  bench.onEnd(() => rawWorker.stop());
  return { database, engine, server, worker, rawWorker };
}
