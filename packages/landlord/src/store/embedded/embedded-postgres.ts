/**
 * A real PostgreSQL as a child of this process: for `landlord dev` and tests. It may outlive a killed supervisor;
 * the next one finds it by its working folder, which the kernel knows, and adopts it or ends it. Linux only.
 */
import { execFile, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { chown, lstat, mkdir, readdir, readFile, realpath, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import pg from "pg";
import { z } from "zod";
import { LandlordError, messageOf } from "../../domain/errors.ts";
import { bootId, isAlive, type ProcessIdentity, readProcessStatus } from "../../os/process-identity.ts";
import {
  endProcess,
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
  workingFolderOf,
} from "../../os/supervised.ts";
import {
  findPostgresBinaries,
  type PostgresBinaries,
  preparePostgresBinaries,
  type RunAs,
} from "./binaries.ts";
import { chooseUser, type PostgresPlace, preparePlace } from "./place.ts";

const run = promisify(execFile);

/** An initdb that was orphaned may still write into a folder while it is removed. */
const LEFTOVERS = { recursive: true, force: true, maxRetries: 20, retryDelay: 50 } as const;

const USER = "postgres";
const DATABASE = "landlord";
/** To which tools connect that are told of none (PostgreSQL, createdb). */
const MAINTENANCE_DATABASE = "postgres";
/** `invalid_catalog_name` (PostgreSQL, appendix A). */
const UNKNOWN_DATABASE = "3D000";
const MAX_CONNECTIONS = 200;
const INITDB_TIMEOUT_MS = 120_000;
const READY_TIMEOUT_MS = 30_000;
const ADOPT_TIMEOUT_MS = 5_000;
const FAST_STOP_MS = 15_000;
const IMMEDIATE_STOP_MS = 5_000;
const KILL_MS = 5_000;
/** A killed process may hold its port for a moment longer than its pid. */
const PORT_WAIT_MS = 2_000;
/** Orphaned backends notice the death of their postmaster by themselves. */
const ORPHAN_TIMEOUT_MS = 5_000;

export interface EmbeddedPostgresOptions {
  /** Password, ports and version are kept here; database files too, where PostgreSQL's user can reach it. */
  readonly dataDir: string;
  /** Null: the port of the last start, or a free one. */
  readonly port: number | null;
  readonly logFile: string;
  /** More settings of the server, by their names in PostgreSQL's manual (chapter 19); they win over ours. */
  readonly settings?: Readonly<Record<string, string>>;
  readonly log: SupervisorLog;
  /** Called back when the URL is settled, long before queries are accepted. */
  readonly onAddress?: (url: string) => void;
}

export interface EmbeddedPostgres {
  /** With the password; for a database that exists and is empty at the first start. */
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  /** Ends all sessions and stops within about 25 s. May be called twice. */
  stop(): Promise<void>;
  /** Calls back once when it ended, asked to or not. */
  onExit(callback: (exit: ExitInfo) => void): void;
}

/**
 * Starts PostgreSQL, or adopts the one that runs on this folder. Answers when it accepts queries. Throws a
 * LandlordError that says what to do: `postgres_version_mismatch`, `postgres_port_taken`, `postgres_start_failed`
 * and what binaries.ts and place.ts throw.
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  // Says on other systems that it is for Linux, before anything is made.
  bootId();
  const user = await chooseUser();
  const [place, original] = await Promise.all([
    preparePlace(options.dataDir, user, options.log),
    findPostgresBinaries(user),
  ]);
  const binaries = await preparePostgresBinaries(original, {
    copyDir: place.baseDir,
    user,
    log: options.log,
  });
  await refuseOtherMajor(place, binaries);
  const adopted = await adoptOrEnd(place, options);
  if (adopted !== null) {
    options.onAddress?.(adopted.url);
    return adopted;
  }
  const port = await choosePort(place, options.port);
  options.onAddress?.(urlOf(place, port, DATABASE));
  const isNew = await initialise(place, binaries, user, options.log);
  // Of a cluster that is not new, it may hold something of the user's.
  const makeDatabase = isNew
    ? (adminUrl: string) => takeMaintenanceDatabase(adminUrl, options.log)
    : undefined;
  const supervised = await launch(place, {
    binaries,
    user,
    port,
    logFile: options.logFile,
    settings: options.settings ?? {},
  });
  const isReady = await waitUntil(
    async () => !isAlive(supervised.identity) || (await answers(place, port, makeDatabase)),
    READY_TIMEOUT_MS,
  );
  if (!isReady || !isAlive(supervised.identity)) {
    await endPostgres(supervised.identity);
    throw new LandlordError(
      "postgres_start_failed",
      `PostgreSQL on ${place.clusterDir} did not start. The end of ${options.logFile}:\n${await logTail(options.logFile)}`,
    );
  }
  await writeFile(join(place.dataDir, "version"), `${binaries.version}\n`, { mode: 0o600 });
  options.log.info({ pid: supervised.identity.pid, port, version: binaries.version }, "PostgreSQL started");
  return handleOf(place, port, supervised);
}

function urlOf(place: PostgresPlace, port: number, database: string): string {
  return `postgres://${USER}:${place.password}@127.0.0.1:${port}/${database}`;
}

function handleOf(place: PostgresPlace, port: number, supervised: SupervisedProcess): EmbeddedPostgres {
  let stopping: Promise<void> | null = null;
  return {
    url: urlOf(place, port, DATABASE),
    port,
    pid: supervised.identity.pid,
    stop() {
      stopping ??= endPostgres(supervised.identity);
      return stopping;
    },
    onExit(callback) {
      void supervised.exited.then(callback);
    },
  };
}

/** Fast shutdown, then immediate, then kill. */
async function endPostgres(identity: ProcessIdentity): Promise<void> {
  const ended = await endProcess(identity, [
    { signal: "SIGINT", waitMs: FAST_STOP_MS },
    { signal: "SIGQUIT", waitMs: IMMEDIATE_STOP_MS },
    { signal: "SIGKILL", waitMs: KILL_MS },
  ]);
  if (!ended) {
    throw new LandlordError(
      "postgres_stop_failed",
      `PostgreSQL (pid ${identity.pid}) did not end. Look for I/O that hangs.`,
    );
  }
}

async function refuseOtherMajor(place: PostgresPlace, binaries: PostgresBinaries): Promise<void> {
  const major = (await readFile(join(place.clusterDir, "PG_VERSION"), "utf8").catch(() => null))?.trim();
  const wanted = binaries.version.split(".")[0];
  if (major === undefined || major === wanted) return;
  throw new LandlordError(
    "postgres_version_mismatch",
    `${place.clusterDir} was made by PostgreSQL ${major}, and PostgreSQL ${wanted} is installed. Start once more with the Landlord version that made it and dump the database, or move the folder away to begin anew.`,
  );
}

async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 2000, query_timeout: 5000 });
  // A server that goes away while the client is open must not end this process.
  client.on("error", () => undefined);
  try {
    await client.connect();
    return await work(client);
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** True when our database accepts queries; where the server accepts some and has none yet, it gets one. */
async function answers(
  place: PostgresPlace,
  port: number,
  makeDatabase = async (adminUrl: string): Promise<void> => {
    await withClient(adminUrl, (client) => client.query(`CREATE DATABASE ${DATABASE}`));
  },
): Promise<boolean> {
  try {
    await withClient(urlOf(place, port, DATABASE), (client) => client.query("SELECT 1"));
  } catch (error) {
    if (!(error instanceof pg.DatabaseError) || error.code !== UNKNOWN_DATABASE) return false;
    await makeDatabase(urlOf(place, port, "template1"));
  }
  return true;
}

/** To rename a database takes no time; to make one does, so the one that is taken is made again after the start. */
async function takeMaintenanceDatabase(adminUrl: string, log: SupervisorLog): Promise<void> {
  await withClient(adminUrl, (client) =>
    client.query(`ALTER DATABASE ${MAINTENANCE_DATABASE} RENAME TO ${DATABASE}`),
  );
  void withClient(adminUrl, (client) => client.query(`CREATE DATABASE ${MAINTENANCE_DATABASE}`)).catch(
    (error: unknown) =>
      log.info(
        { error: messageOf(error) },
        `no database ${MAINTENANCE_DATABASE}: tools use template1 instead`,
      ),
  );
}

/** Every process of this cluster: postmaster and backends work in its folder. */
async function clusterProcesses(clusterDir: string): Promise<readonly ProcessIdentity[]> {
  const folder = await realpath(clusterDir).catch(() => null);
  return folder === null ? [] : findProcesses((pid) => workingFolderOf(pid) === folder);
}

/** The port that a running postmaster wrote to its pid file, or null. */
async function readPidFile(
  clusterDir: string,
): Promise<{ readonly pid: number; readonly port: number } | null> {
  const text = await readFile(join(clusterDir, "postmaster.pid"), "utf8").catch(() => null);
  const lines = text?.split("\n") ?? [];
  const pid = Number(lines[0]);
  const port = Number(lines[3]);
  return Number.isInteger(pid) && pid > 0 ? { pid, port } : null;
}

async function adoptOrEnd(
  place: PostgresPlace,
  options: EmbeddedPostgresOptions,
): Promise<EmbeddedPostgres | null> {
  const running = await clusterProcesses(place.clusterDir);
  const file = await readPidFile(place.clusterDir);
  const pids = new Set(running.map(({ pid }) => pid));
  // Backends are children of the postmaster; whoever has its parent outside is the postmaster, or an orphan.
  const heads = running.filter(({ pid }) => !pids.has(readProcessStatus(pid)?.parent ?? 0));
  const postmaster = heads.find(({ pid }) => pid === file?.pid) ?? null;
  if (postmaster !== null && file !== null) {
    const fits = options.port === null || options.port === file.port;
    const alive = fits && (await waitUntil(() => answers(place, file.port), ADOPT_TIMEOUT_MS));
    if (alive) {
      options.log.info({ pid: file.pid, port: file.port }, "adopted the PostgreSQL of an earlier supervisor");
      return handleOf(place, file.port, superviseAdopted(postmaster));
    }
    options.log.warn(
      { pid: file.pid },
      "ending the PostgreSQL of an earlier supervisor, which does not answer",
    );
    await endProcess(postmaster, [
      { signal: "SIGQUIT", waitMs: IMMEDIATE_STOP_MS },
      { signal: "SIGKILL", waitMs: KILL_MS },
    ]);
  }
  await endOrphans(place, options.log);
  // Left by a kill. PostgreSQL would refuse to start if another process had that pid now.
  await rm(join(place.clusterDir, "postmaster.pid"), { force: true });
  return null;
}

/** Backends that outlived their postmaster must be gone before another one touches the files. */
async function endOrphans(place: PostgresPlace, log: SupervisorLog): Promise<void> {
  const isEmpty = async () => (await clusterProcesses(place.clusterDir)).length === 0;
  if (await waitUntil(isEmpty, ORPHAN_TIMEOUT_MS)) return;
  for (const orphan of await clusterProcesses(place.clusterDir)) {
    log.warn({ pid: orphan.pid }, "killing an orphaned PostgreSQL process");
    await endProcess(orphan, [{ signal: "SIGKILL", waitMs: KILL_MS }]);
  }
  if (!(await isEmpty())) {
    throw new LandlordError(
      "postgres_orphans",
      `Processes of an earlier PostgreSQL still work in ${place.clusterDir} and do not end: end them by hand, then start again.`,
    );
  }
}

/** Makes the cluster in a folder beside, and renames it once it is whole: an interrupted one is begun anew. False when there is one. */
async function initialise(
  place: PostgresPlace,
  binaries: PostgresBinaries,
  user: RunAs | null,
  log: SupervisorLog,
): Promise<boolean> {
  for (const entry of await readdir(place.baseDir)) {
    if (entry.startsWith("pgdata.init-")) await rm(join(place.baseDir, entry), LEFTOVERS);
  }
  if ((await lstat(place.clusterDir).catch(() => null)) !== null) return false;
  log.info({ folder: place.clusterDir, user: user?.name ?? null }, "creating the database's files");
  const draft = join(place.baseDir, `pgdata.init-${randomUUID()}`);
  const passwordFile = join(draft, "password");
  const cluster = join(draft, "cluster");
  await mkdir(draft, { mode: 0o700 });
  await writeFile(passwordFile, `${place.password}\n`, { mode: 0o600 });
  if (user !== null) {
    await chown(passwordFile, user.uid, user.gid);
    await chown(draft, user.uid, user.gid);
  }
  const flags = [
    `--pgdata=${cluster}`,
    `--username=${USER}`,
    `--pwfile=${passwordFile}`,
    "--auth=scram-sha-256",
    // They make a short password harder to guess. Ours is random and long, and every connection takes them.
    "--set=scram_iterations=1",
    "--encoding=UTF8",
    // PostgreSQL's own C.UTF-8: the same on every host, whatever locales are installed.
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--no-instructions",
  ];
  try {
    await run(binaries.initdb, flags, {
      ...asUser(user),
      cwd: "/",
      env: environment(),
      timeout: INITDB_TIMEOUT_MS,
    });
  } catch (cause) {
    await rm(draft, LEFTOVERS);
    throw new LandlordError(
      "postgres_init_failed",
      `The database's files could not be made: ${messageOf(cause)}`,
      { cause },
    );
  }
  await rename(cluster, place.clusterDir);
  await rm(draft, LEFTOVERS);
  return true;
}

function asUser(user: RunAs | null): { uid?: number; gid?: number } {
  return user === null ? {} : { uid: user.uid, gid: user.gid };
}

function environment(): Record<string, string> {
  return { PATH: "/usr/local/bin:/usr/bin:/bin", LC_ALL: "C", TZ: "UTC" };
}

const portsSchema = z.object({ postgres: z.int().min(1).max(65_535) });

async function choosePort(place: PostgresPlace, wanted: number | null): Promise<number> {
  const file = join(place.dataDir, "ports.json");
  if (wanted !== null) {
    if (!(await isPortFree(wanted))) {
      throw new LandlordError(
        "postgres_port_taken",
        `Port ${wanted} is taken by another process: free it, or choose another for the embedded database.`,
      );
    }
    return keepPort(file, wanted);
  }
  const text = await readFile(file, "utf8").catch(() => "{}");
  const kept = portsSchema.safeParse(JSON.parse(text));
  if (kept.success && (await waitUntil(() => isPortFree(kept.data.postgres), PORT_WAIT_MS)))
    return kept.data.postgres;
  const [port] = await pickFreePorts(1);
  return keepPort(file, port as number);
}

async function keepPort(file: string, port: number): Promise<number> {
  const draft = `${file}.${randomUUID()}.new`;
  await writeFile(draft, `${JSON.stringify({ postgres: port })}\n`, { mode: 0o600 });
  await rename(draft, file);
  return port;
}

async function launch(
  place: PostgresPlace,
  options: {
    readonly binaries: PostgresBinaries;
    readonly user: RunAs | null;
    readonly port: number;
    readonly logFile: string;
    readonly settings: Readonly<Record<string, string>>;
  },
): Promise<SupervisedProcess> {
  await mkdir(dirname(options.logFile), { recursive: true, mode: 0o700 });
  const log = await openLog(options.logFile);
  const settings = {
    listen_addresses: "127.0.0.1",
    port: String(options.port),
    unix_socket_directories: "",
    max_connections: String(MAX_CONNECTIONS),
    shared_buffers: "128MB",
    fsync: "on",
    logging_collector: "off",
    log_destination: "stderr",
    ...options.settings,
  };
  const flags = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  try {
    const child = spawn(options.binaries.postgres, ["-D", place.clusterDir, ...flags], {
      ...asUser(options.user),
      cwd: "/",
      env: environment(),
      // Ctrl-C reaches the terminal's whole group: the database must end last, when the supervisor says so.
      detached: true,
      stdio: ["ignore", log.fd, log.fd],
    });
    return await superviseChild(child, "PostgreSQL");
  } finally {
    await log.close();
  }
}
