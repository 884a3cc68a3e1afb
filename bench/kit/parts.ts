/** The parts of a system under test, each a process of its own, on free ports, over one temporary folder. */
import { fork, type ChildProcess } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { startEmbeddedPostgres } from "../../packages/landlord/src/store/embedded/embedded-postgres.ts";
import { startEmbeddedRestate } from "../../packages/landlord/src/workflow/restate/embedded/embedded-restate.ts";
import type { Bench } from "./bench.ts";

const BENCH = dirname(dirname(fileURLToPath(import.meta.url)));

/** Where CPU profiles go. Set by --profile. */
export const PROFILE_VARIABLE = "BENCH_PROFILE";

const LOG = {
  info: () => undefined,
  warn: (_: object, text: string) => void process.stderr.write(`${text}\n`),
};

export interface Part {
  readonly pid: number;
  stop(): Promise<void>;
}

export interface DatabasePart extends Part {
  readonly url: string;
}

export interface EnginePart extends Part {
  readonly ingressUrl: string;
  readonly adminUrl: string;
}

export interface ServerPart extends Part {
  readonly url: string;
}

/** @param settings of PostgreSQL, by its manual's names */
export async function startDatabase(
  folder: string,
  settings: Readonly<Record<string, string>> = {},
): Promise<DatabasePart> {
  const postgres = await startEmbeddedPostgres({
    dataDir: join(folder, "postgres"),
    port: null,
    logFile: join(folder, "postgres.log"),
    settings,
    log: LOG,
  });
  return { pid: postgres.pid, url: postgres.url, stop: () => postgres.stop() };
}

export async function startEngine(folder: string): Promise<EnginePart> {
  const dataDir = join(folder, "restate");
  mkdirSync(dataDir, { recursive: true });
  const restate = await startEmbeddedRestate({
    dataDir,
    ports: null,
    requestIdentityKeyFile: null,
    logFile: join(folder, "restate.log"),
    log: LOG,
  });
  return {
    pid: restate.pid,
    ingressUrl: restate.ingressUrl,
    adminUrl: restate.adminUrl,
    stop: () => restate.stop(),
  };
}

/** Configuration keys of Landlord, by their dotted names; values as YAML reads them. */
export type Settings = Readonly<Record<string, string | number | boolean>>;

/** @param compute blocks of the configuration file; the mock provider unless told otherwise */
export async function startServer(
  bench: Bench,
  folder: string,
  settings: Settings,
  compute = "compute:\n  mock: {}\n",
): Promise<ServerPart> {
  const { child, said } = await startLandlord(bench, folder, "serve", compute, {
    "http.port": 0,
    ...settings,
  });
  return { ...partOf(child), url: String(said["url"]) };
}

export async function startWorker(bench: Bench, folder: string, settings: Settings): Promise<Part> {
  const { child } = await startLandlord(bench, folder, "worker", "", {
    "workflow.restate.worker_listen_port": 0,
    ...settings,
  });
  return partOf(child);
}

async function startLandlord(
  bench: Bench,
  folder: string,
  command: string,
  file: string,
  settings: Settings,
): Promise<{ readonly child: ChildProcess; readonly said: Readonly<Record<string, unknown>> }> {
  const config = join(folder, `${command}.yaml`);
  writeFileSync(config, file === "" ? "{}\n" : file);
  const all = { data_dir: join(folder, "data"), "log.level": "warn", ...settings };
  const flags = Object.entries(all).flatMap(([key, value]) => ["--set", `${key}=${value}`]);
  const child = fork(await bench.program(), [command, "--config-file", config, ...flags], {
    stdio: ["ignore", "ignore", "inherit", "ipc"],
    // Not those of this process, which runs from sources.
    execArgv: [...profiling()],
  });
  return { child, said: await firstMessage(child) };
}

/** With --profile, server and worker leave a CPU profile when they end; figures of such a run are worse. */
function profiling(): readonly string[] {
  const folder = process.env[PROFILE_VARIABLE];
  return folder === undefined ? [] : ["--cpu-prof", `--cpu-prof-dir=${folder}`, "--cpu-prof-interval=500"];
}

/** A program of this folder, which tells its first words over IPC. @param program e.g. `raw/watch-server.ts` */
export async function startRaw(
  program: string,
  args: readonly string[] = [],
): Promise<Part & { readonly port: number; readonly child: ChildProcess }> {
  const child = fork(join(BENCH, program), [...args], {
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  const { port } = await firstMessage(child);
  return { ...partOf(child), port: Number(port), child };
}

/** The raw workflow, registered with the same engine as Landlord's jobs. */
export async function startRawWorker(engine: EnginePart): Promise<Part> {
  const worker = await startRaw("raw/restate-worker.ts");
  const answer = await fetch(`${engine.adminUrl}/deployments`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ uri: `http://127.0.0.1:${worker.port}`, force: false }),
  });
  if (!answer.ok) throw new Error(`the raw worker was not registered: ${await answer.text()}`);
  return worker;
}

function firstMessage(child: ChildProcess): Promise<Readonly<Record<string, unknown>>> {
  return new Promise((resolve, reject) => {
    child.once("message", (value) => resolve(value as Record<string, unknown>));
    child.once("exit", (code) => reject(new Error(`a process of the benchmark ended with ${code}`)));
  });
}

function partOf(child: ChildProcess): Part {
  return {
    pid: child.pid ?? 0,
    stop: () =>
      new Promise((resolve) => {
        if (child.exitCode !== null || child.signalCode !== null) return resolve();
        child.once("exit", () => resolve());
        child.kill("SIGTERM");
      }),
  };
}
