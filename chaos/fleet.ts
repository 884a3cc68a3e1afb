/**
 * Two servers and two workers over one PostgreSQL and one Restate, each an operating system process, with a proxy on
 * every connection between them. The workers share one advertised URL, behind which a balancer stands, and one data
 * folder, so that either can run any tenant's job.
 */
import { readFileSync } from "node:fs";
import { appendFile, chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { startEmbeddedPostgres } from "../packages/landlord/src/store/embedded/embedded-postgres.ts";
import { startEmbeddedRestate } from "../packages/landlord/src/workflow/restate/embedded/embedded-restate.ts";
import { identityOf, isAlive } from "../packages/landlord/src/os/process-identity.ts";
import {
  endProcess,
  findProcesses,
  pickFreePorts,
  waitUntil,
} from "../packages/landlord/src/os/supervised.ts";
import { startLandlord, type LandlordProcess } from "../packages/landlord/test/support/landlord-process.ts";
import { proxyUrl, startTcpProxy, type TcpProxy } from "../packages/landlord/test/support/tcp-proxy.ts";
import { openSql, type SqlClient } from "../packages/landlord/test/support/sql.ts";

export type PartKind = "server" | "worker" | "restate" | "postgres";

/** Something that may be killed and started again, on the same ports and data. */
export interface Part {
  readonly name: string;
  readonly kind: PartKind;
  pid(): number;
  /** SIGKILL to all of its processes; resolves when they are gone. */
  kill(): Promise<void>;
  /** Resolves when it is ready. */
  start(): Promise<void>;
  /** SIGTERM, and waits for the end: what a deployment does. */
  stop(): Promise<void>;
  /** Sends a signal to all of its processes. */
  signal(name: "SIGSTOP" | "SIGCONT"): void;
}

/** A connection that may break. */
export interface Link {
  readonly name: string;
  readonly proxy: TcpProxy;
}

export interface Fleet {
  readonly folder: string;
  readonly parts: readonly Part[];
  readonly links: readonly Link[];
  /** What users call: a URL for each server, each through a proxy. */
  readonly apiUrls: readonly string[];
  /** Servers as nobody disturbs them, for checks. */
  readonly directApiUrls: readonly string[];
  readonly restateAdminUrl: string;
  readonly namespace: string;
  readonly databaseUrl: string;
  /** Straight to the database, for checks. */
  readonly sql: SqlClient;
  /** How often a server or worker ended without having been asked or killed; its supervisor started it again. */
  crashes(): readonly string[];
  /** The folder with logs stays when `keep` is set. */
  stop(options: { readonly keep: boolean }): Promise<void>;
}

/** Past this a stopped server's leases are taken over. */
export const LEASE_MS = 6_000;
const NAMESPACE = "chaos";
const START_TIMEOUT_MS = 90_000;
const SUPERVISOR_PAUSE_MS = 500;
const KILLED_TIMEOUT_MS = 10_000;
const STOP_TIMEOUT_MS = 30_000;

const quiet = { info: () => undefined, warn: () => undefined };

/** Short intervals, so that a run of a minute sees many leases, backoffs and polls. */
const SERVER_SETTINGS = {
  "controller.lease_duration": `${LEASE_MS}ms`,
  "controller.workflow_trigger_timeout": "2s",
  "controller.status_poll_interval": "500ms",
  "controller.status_poll_max_interval": "2s",
  "controller.backoff_initial": "200ms",
  "controller.backoff_max": "3s",
  "controller.stop_grace": "2s",
  "controller.shutdown_timeout": "5s",
  "controller.resync_interval": "5s",
  "controller.resync_rate": 50,
  "controller.sweep_interval": "10s",
  "database.connect_timeout": "3s",
  "compute.process": {},
  "log.level": "info",
} as const;

const WORKER_SETTINGS = {
  "worker.absence_settle": "100ms",
  "worker.shutdown_timeout": "2s",
  "worker.compute_cache_ttl": "10s",
} as const;

/** Starts everything and waits until it is ready. */
export async function startFleet(settings: Readonly<Record<string, unknown>> = {}): Promise<Fleet> {
  const folder = await mkdtemp(join(tmpdir(), "landlord-chaos-"));
  await chmod(folder, 0o711);
  const [postgres, restate] = await Promise.all([postgresPart(folder), restatePart(folder)]);
  const links: Link[] = [];
  const through = async (name: string, url: string): Promise<string> => {
    const { proxy, url: proxied } = await proxyUrl(url);
    links.push({ name, proxy });
    return proxied.replace(/\/$/, "");
  };
  const [apiPorts, workerPorts] = [await pickFreePorts(2), await pickFreePorts(2)];
  const balancer = await startTcpProxy(...workerPorts.map((port) => ({ host: "127.0.0.1", port })));
  links.push({ name: "restate→workers", proxy: balancer });
  const crashes: string[] = [];
  const apiUrls: string[] = [];
  const directApiUrls: string[] = [];
  const parts: Part[] = [postgres, restate];
  for (const [index, port] of apiPorts.entries()) {
    const name = `server-${index + 1}`;
    const direct = `http://127.0.0.1:${port}`;
    directApiUrls.push(direct);
    apiUrls.push(await through(`users→${name}`, direct));
    const own = {
      ...SERVER_SETTINGS,
      data_dir: join(folder, name),
      "http.port": port,
      "database.url": await through(`${name}→postgres`, postgres.url),
      "workflow.restate.endpoint": await through(`${name}→ingress`, restate.ingressUrl),
      "workflow.restate.admin_endpoint": await through(`${name}→admin`, restate.adminUrl),
      "workflow.restate.worker_namespace": NAMESPACE,
      ...settings,
    };
    parts.push(landlordPart({ name, kind: "server", command: "serve", settings: own, folder, crashes }));
  }
  for (const [index, port] of workerPorts.entries()) {
    const name = `worker-${index + 1}`;
    const own = {
      ...WORKER_SETTINGS,
      data_dir: folder,
      "workflow.restate.endpoint": restate.ingressUrl,
      "workflow.restate.admin_endpoint": await through(`${name}→admin`, restate.adminUrl),
      "workflow.restate.worker_namespace": NAMESPACE,
      "workflow.restate.worker_listen_port": port,
      "workflow.restate.worker_advertised_url": `http://127.0.0.1:${balancer.port}`,
      "worker.api_url": await through(`${name}→api`, directApiUrls[index] ?? ""),
    };
    parts.push(landlordPart({ name, kind: "worker", command: "worker", settings: own, folder, crashes }));
  }
  const sql = openSql(postgres.url);
  const stop = async (options: { readonly keep: boolean }): Promise<void> => {
    await sql.close();
    for (const part of parts.toReversed()) {
      part.signal("SIGCONT");
      await part.kill();
    }
    await Promise.all(links.map(({ proxy }) => proxy.close()));
    if (!options.keep) await rm(folder, { recursive: true, force: true });
  };
  try {
    await Promise.all(parts.slice(2).map((part) => part.start()));
  } catch (error) {
    await stop({ keep: true });
    throw error;
  }
  return {
    folder,
    parts,
    links,
    apiUrls,
    directApiUrls,
    restateAdminUrl: restate.adminUrl,
    namespace: NAMESPACE,
    databaseUrl: postgres.url,
    sql,
    crashes: () => crashes,
    stop,
  };
}

async function postgresPart(folder: string): Promise<Part & { readonly url: string }> {
  const start = () =>
    startEmbeddedPostgres({
      dataDir: join(folder, "postgres"),
      port: null,
      logFile: join(folder, "postgres.log"),
      log: quiet,
    });
  let running = await start();
  return {
    ...enginePart(
      "postgres",
      () => running.pid,
      async () => void (running = await start()),
    ),
    url: running.url,
  };
}

async function restatePart(
  folder: string,
): Promise<Part & { readonly ingressUrl: string; readonly adminUrl: string }> {
  const start = () =>
    startEmbeddedRestate({
      dataDir: join(folder, "restate"),
      ports: null,
      requestIdentityKeyFile: null,
      logFile: join(folder, "restate.log"),
      log: quiet,
    });
  let running = await start();
  const { ingressUrl, adminUrl } = running;
  return {
    ...enginePart(
      "restate",
      () => running.pid,
      async () => void (running = await start()),
    ),
    ingressUrl,
    adminUrl,
  };
}

function enginePart(kind: "postgres" | "restate", pid: () => number, start: () => Promise<void>): Part {
  return {
    name: kind,
    kind,
    pid,
    start,
    async kill() {
      const identity = identityOf(pid());
      if (identity === null) return;
      // A stopped backend would outlive its postmaster, and hold the next one up.
      signalAll(pid(), "SIGCONT");
      signalAll(pid(), "SIGKILL");
      await waitUntil(() => !isAlive(identity), KILLED_TIMEOUT_MS);
    },
    async stop() {
      const identity = identityOf(pid());
      if (identity !== null) await endProcess(identity, [{ signal: "SIGTERM", waitMs: STOP_TIMEOUT_MS }]);
    },
    signal: (name) => signalAll(pid(), name),
  };
}

/** To a process and its children, which for PostgreSQL are sessions of their own. */
function signalAll(pid: number, name: NodeJS.Signals): void {
  const children = findProcesses((each) => parentOf(each) === pid);
  for (const each of [pid, ...children.map((child) => child.pid)]) {
    try {
      process.kill(each, name);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
  }
}

function parentOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
}

interface LandlordPartOptions {
  readonly name: string;
  readonly kind: PartKind;
  readonly command: "serve" | "worker";
  readonly settings: Readonly<Record<string, unknown>>;
  readonly folder: string;
  readonly crashes: string[];
}

/** A server or worker under a supervisor that starts it again whenever it ends by itself. */
function landlordPart({ name, kind, command, settings, folder, crashes }: LandlordPartOptions): Part {
  let running: LandlordProcess | null = null;
  let isWanted = false;
  const logFile = join(folder, `${name}.log`);
  const log = (chunk: Buffer): void => void appendFile(logFile, chunk).catch(() => undefined);

  async function launch(): Promise<void> {
    const deadlineMs = performance.now() + START_TIMEOUT_MS;
    for (;;) {
      try {
        const started = await startLandlord(command, settings, {}, log);
        running = started;
        void started.exited.then((code) => onExit(started, code));
        return;
      } catch (error) {
        // Its database may have died while it booted: a supervisor tries again.
        if (performance.now() >= deadlineMs) throw error;
        await delay(SUPERVISOR_PAUSE_MS);
      }
    }
  }

  function onExit(ended: LandlordProcess, code: number | null): void {
    if (running !== ended || !isWanted) return;
    crashes.push(`${name} ended by itself with ${code}: ${ended.log().slice(-2_000)}`);
    void launch();
  }

  return {
    name,
    kind,
    pid: () => running?.pid ?? 0,
    async kill() {
      isWanted = false;
      await running?.kill();
    },
    async stop() {
      isWanted = false;
      await running?.stop();
    },
    async start() {
      isWanted = true;
      await launch();
    },
    signal: (signal) => running?.signal(signal),
  };
}
