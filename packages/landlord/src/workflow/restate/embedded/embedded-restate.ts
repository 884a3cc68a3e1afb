/**
 * A real restate-server as a child of this process: for `landlord dev` and tests. It may outlive a killed
 * supervisor; the next one finds it by the environment that it was started with, which the kernel keeps, and
 * adopts it when it was started just as it would be now, or ends it. Linux only.
 */
import { spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdir, readFile, realpath, rename, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { z } from "zod";
import { LandlordError } from "../../../domain/errors.ts";
import { bootId, isAlive, type ProcessIdentity } from "../../../os/process-identity.ts";
import {
  endProcess,
  environmentOf,
  type ExitInfo,
  findProcesses,
  isPortFree,
  logTail,
  openLog,
  pickFreePorts,
  superviseAdopted,
  superviseChild,
  type SupervisedProcess,
  type SupervisorLog,
  waitUntil,
} from "../../../os/supervised.ts";

const READY_TIMEOUT_MS = 60_000;
const ADOPT_TIMEOUT_MS = 10_000;
const HEALTH_TIMEOUT_MS = 2_000;
const OK_STATUS = 200;
/** A stop takes 1 to 4 s when all is well. */
const TERM_MS = 15_000;
const KILL_MS = 5_000;
/** A killed process may hold its ports for a moment longer than its pid. */
const PORT_WAIT_MS = 2_000;
const DEFAULT_PARTITIONS = 4;
/** Restate's own 100 ms make a start up to 150 ms longer. */
const GOSSIP_TICK_MS = 10;

export interface RestatePorts {
  readonly ingress: number;
  readonly admin: number;
  readonly node: number;
}

export interface EmbeddedRestateOptions {
  /** Journals, ports and version are kept here. */
  readonly dataDir: string;
  /** Null: the ports of the last start, or free ones. */
  readonly ports: RestatePorts | null;
  /** PEM of the ed25519 key with which requests to workers are signed; null: not signed. */
  readonly requestIdentityKeyFile: string | null;
  /** Fixed at the first start of a folder. Default 4: on few cores faster than Restate's own default. */
  readonly partitions?: number;
  readonly logFile: string;
  readonly log: SupervisorLog;
  /** Called back when the process runs, long before it is healthy. */
  readonly onLaunched?: (addresses: RestateAddresses) => void;
}

export interface RestateAddresses {
  readonly ingressUrl: string;
  readonly adminUrl: string;
}

export interface EmbeddedRestate extends RestateAddresses {
  readonly ports: RestatePorts;
  readonly pid: number;
  /** Stops within about 20 s. Executions go on at the next start. May be called twice. */
  stop(): Promise<void>;
  /** Calls back once when it ended, asked to or not. */
  onExit(callback: (exit: ExitInfo) => void): void;
}

interface RestateBinary {
  readonly file: string;
  readonly version: string;
}

const portsSchema = z.object({
  ingress: z.int().min(1).max(65_535),
  admin: z.int().min(1).max(65_535),
  node: z.int().min(1).max(65_535),
});

/**
 * Starts restate-server, or adopts the one that runs on this folder. Answers when ingress and admin are healthy.
 * Throws a LandlordError that says what to do: `restate_binary_missing`, `restate_version_mismatch`,
 * `restate_port_taken`, `restate_start_failed`.
 */
export async function startEmbeddedRestate(options: EmbeddedRestateOptions): Promise<EmbeddedRestate> {
  // Says on other systems that it is for Linux, before anything is made.
  bootId();
  const binary = await findBinary();
  const dataDir = resolve(options.dataDir);
  await mkdir(dataDir, { recursive: true, mode: 0o700 });
  const folder = await realpath(dataDir);
  await refuseOtherVersion(folder, binary.version);
  const adopted = await adoptOrEnd(folder, options);
  if (adopted !== null) return adopted;
  const ports = await choosePorts(folder, options.ports);
  await writeWhole(join(folder, "version"), `${binary.version}\n`);
  const supervised = await launch(binary, folder, ports, options);
  options.onLaunched?.(addressesOf(ports));
  const isReady = await waitUntil(
    async () => !isAlive(supervised.identity) || (await isHealthy(ports)),
    READY_TIMEOUT_MS,
  );
  if (!isReady || !isAlive(supervised.identity)) {
    await endRestate(supervised.identity);
    throw new LandlordError(
      "restate_start_failed",
      `restate-server on ${folder} did not become healthy. The end of ${options.logFile}:\n${await logTail(options.logFile)}`,
    );
  }
  options.log.info(
    { pid: supervised.identity.pid, ...ports, version: binary.version },
    "restate-server started",
  );
  return handleOf(ports, supervised);
}

async function findBinary(): Promise<RestateBinary> {
  const name = `@restatedev/restate-server-${process.platform}-${process.arch}`;
  try {
    const wrapper = createRequire(import.meta.url).resolve("@restatedev/restate-server/package.json");
    const manifest = createRequire(wrapper).resolve(`${name}/package.json`);
    const { version } = z.object({ version: z.string() }).parse(JSON.parse(await readFile(manifest, "utf8")));
    return { file: await realpath(join(dirname(manifest), "bin", "restate-server")), version };
  } catch (cause) {
    throw new LandlordError(
      "restate_binary_missing",
      `The package ${name} is not installed: install with optional dependencies, or configure a Restate of yours.`,
      { cause },
    );
  }
}

function minorOf(version: string): string {
  return version.split(".").slice(0, 2).join(".");
}

async function refuseOtherVersion(folder: string, version: string): Promise<void> {
  const made = (await readFile(join(folder, "version"), "utf8").catch(() => null))?.trim();
  // Patch releases share one storage format.
  if (made === undefined || minorOf(made) === minorOf(version)) return;
  throw new LandlordError(
    "restate_version_mismatch",
    `${folder} was written by restate-server ${made}, and ${version} is installed. Start once more with the Landlord version that wrote it and let its executions end, or move the folder away: tenants are then reconciled by new executions.`,
  );
}

function handleOf(ports: RestatePorts, supervised: SupervisedProcess): EmbeddedRestate {
  let stopping: Promise<void> | null = null;
  return {
    ...addressesOf(ports),
    ports,
    pid: supervised.identity.pid,
    stop() {
      stopping ??= endRestate(supervised.identity);
      return stopping;
    },
    onExit(callback) {
      void supervised.exited.then(callback);
    },
  };
}

function addressesOf(ports: RestatePorts): RestateAddresses {
  return {
    ingressUrl: `http://127.0.0.1:${ports.ingress}`,
    adminUrl: `http://127.0.0.1:${ports.admin}`,
  };
}

async function endRestate(identity: ProcessIdentity): Promise<void> {
  const ended = await endProcess(identity, [
    { signal: "SIGTERM", waitMs: TERM_MS },
    // Its log is durable: a kill loses nothing that was acknowledged.
    { signal: "SIGKILL", waitMs: KILL_MS },
  ]);
  if (!ended) {
    throw new LandlordError(
      "restate_stop_failed",
      `restate-server (pid ${identity.pid}) did not end. Look for I/O that hangs.`,
    );
  }
}

/** By node:http: `fetch` takes longer to load than most of a start. @param query sent as JSON, if given */
function isOk(url: string, query?: string): Promise<boolean> {
  return new Promise((answer) => {
    const asked = request(
      url,
      {
        method: query === undefined ? "GET" : "POST",
        headers: { accept: "application/json", "content-type": "application/json" },
        signal: AbortSignal.timeout(HEALTH_TIMEOUT_MS),
      },
      (response) => {
        response.on("error", () => answer(false)).resume();
        answer(response.statusCode === OK_STATUS);
      },
    );
    asked.on("error", () => answer(false));
    asked.end(query === undefined ? undefined : JSON.stringify({ query }));
  });
}

/**
 * Ingress and admin say that they are healthy some time before a new server's partitions have a leader; until
 * then every status query fails. A query that touches all partitions tells when they have.
 */
async function isHealthy(ports: RestatePorts): Promise<boolean> {
  const admin = `http://127.0.0.1:${ports.admin}`;
  return (
    (await isOk(`${admin}/health`)) &&
    (await isOk(`http://127.0.0.1:${ports.ingress}/restate/health`)) &&
    (await isOk(`${admin}/query`, "SELECT id FROM sys_invocation LIMIT 1"))
  );
}

/** All that the server is started with; nothing of this process's own environment. */
function environment(
  folder: string,
  ports: RestatePorts,
  options: EmbeddedRestateOptions,
): Record<string, string> {
  const key = options.requestIdentityKeyFile;
  return {
    PATH: "/usr/local/bin:/usr/bin:/bin",
    HOME: folder,
    RESTATE_NODE_NAME: "landlord",
    RESTATE_CLUSTER_NAME: "landlord",
    RESTATE_BASE_DIR: join(folder, "restate"),
    RESTATE_LISTEN_MODE: "tcp",
    RESTATE_INGRESS__BIND_ADDRESS: `127.0.0.1:${ports.ingress}`,
    RESTATE_ADMIN__BIND_ADDRESS: `127.0.0.1:${ports.admin}`,
    RESTATE_BIND_ADDRESS: `127.0.0.1:${ports.node}`,
    RESTATE_ADVERTISED_ADDRESS: `http://127.0.0.1:${ports.node}`,
    RESTATE_DISABLE_TELEMETRY: "true",
    RESTATE_LOG_FORMAT: "json",
    RESTATE_LOG_FILTER: "warn,restate=info,octocrab=off",
    RESTATE_DEFAULT_NUM_PARTITIONS: String(options.partitions ?? DEFAULT_PARTITIONS),
    // A node counts itself alive at a tick, and partitions wait for that. There are no others whom it could misjudge.
    RESTATE_GOSSIP_TICK_INTERVAL: `${GOSSIP_TICK_MS}ms`,
    ...(key === null ? {} : { RESTATE_WORKER__INVOKER__REQUEST_IDENTITY_PRIVATE_KEY_PEM_FILE: resolve(key) }),
  };
}

function portOf(address: string | undefined): number {
  return Number(address?.split(":").at(-1));
}

function portsOfEnvironment(env: ReadonlyMap<string, string>): RestatePorts | null {
  const parsed = portsSchema.safeParse({
    ingress: portOf(env.get("RESTATE_INGRESS__BIND_ADDRESS")),
    admin: portOf(env.get("RESTATE_ADMIN__BIND_ADDRESS")),
    node: portOf(env.get("RESTATE_BIND_ADDRESS")),
  });
  return parsed.success ? parsed.data : null;
}

/** True when a server with this environment is what `options` ask for. */
function fits(
  env: ReadonlyMap<string, string>,
  folder: string,
  options: EmbeddedRestateOptions,
): RestatePorts | null {
  const ports = portsOfEnvironment(env);
  if (ports === null) return null;
  const wanted = Object.entries(environment(folder, options.ports ?? ports, options));
  return wanted.length === env.size && wanted.every(([name, value]) => env.get(name) === value)
    ? ports
    : null;
}

async function adoptOrEnd(folder: string, options: EmbeddedRestateOptions): Promise<EmbeddedRestate | null> {
  const base = join(folder, "restate");
  for (const identity of findProcesses((pid) => environmentOf(pid).get("RESTATE_BASE_DIR") === base)) {
    const ports = fits(environmentOf(identity.pid), folder, options);
    const isUsable =
      ports !== null &&
      (await waitUntil(async () => !isAlive(identity) || (await isHealthy(ports)), ADOPT_TIMEOUT_MS)) &&
      isAlive(identity);
    if (isUsable) {
      options.log.info(
        { pid: identity.pid, ...ports },
        "adopted the restate-server of an earlier supervisor",
      );
      return handleOf(ports, superviseAdopted(identity));
    }
    options.log.warn({ pid: identity.pid }, "ending the restate-server of an earlier supervisor");
    await endRestate(identity);
  }
  return null;
}

async function choosePorts(folder: string, wanted: RestatePorts | null): Promise<RestatePorts> {
  const file = join(folder, "ports.json");
  if (wanted !== null) {
    for (const port of [wanted.ingress, wanted.admin, wanted.node]) {
      if (await isPortFree(port)) continue;
      throw new LandlordError(
        "restate_port_taken",
        `Port ${port} is taken by another process: free it, or choose others for the embedded Restate.`,
      );
    }
    return keepPorts(file, wanted);
  }
  const text = await readFile(file, "utf8").catch(() => "{}");
  const kept = portsSchema.safeParse(JSON.parse(text));
  const isFree = async ({ ingress, admin, node }: RestatePorts) =>
    (await Promise.all([ingress, admin, node].map(isPortFree))).every(Boolean);
  if (kept.success && (await waitUntil(() => isFree(kept.data), PORT_WAIT_MS))) return kept.data;
  const [ingress, admin, node] = (await pickFreePorts(3)) as [number, number, number];
  return keepPorts(file, { ingress, admin, node });
}

async function keepPorts(file: string, ports: RestatePorts): Promise<RestatePorts> {
  await writeWhole(file, `${JSON.stringify(ports)}\n`);
  return ports;
}

/** A reader sees all of it or nothing. */
async function writeWhole(file: string, text: string): Promise<void> {
  const draft = `${file}.${randomUUID()}.new`;
  await writeFile(draft, text, { mode: 0o600 });
  await rename(draft, file);
}

async function launch(
  binary: RestateBinary,
  folder: string,
  ports: RestatePorts,
  options: EmbeddedRestateOptions,
): Promise<SupervisedProcess> {
  await mkdir(dirname(options.logFile), { recursive: true, mode: 0o700 });
  const log = await openLog(options.logFile);
  try {
    const child = spawn(binary.file, [], {
      cwd: folder,
      env: environment(folder, ports, options),
      // Ctrl-C reaches the terminal's whole group: the engine must end when the supervisor says so.
      detached: true,
      stdio: ["ignore", log.fd, log.fd],
    });
    return await superviseChild(child, "restate-server");
  } finally {
    await log.close();
  }
}
