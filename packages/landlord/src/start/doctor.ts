/** What `landlord doctor` looks at on this machine: data folder, port, database, engine. Nothing is changed. */
import { accessSync, constants, existsSync, statfsSync, statSync } from "node:fs";
import { createServer } from "node:net";
import path from "node:path";
import type { Finding } from "../cli/context.ts";
import { skewFinding } from "../cli/skew.ts";
import type { LoadedConfig } from "../config/load.ts";
import type { Config, WorkerConfig } from "../config/schema.ts";
import { messageOf } from "../domain/errors.ts";
import { errorCode, openKysely, openPool } from "../store/postgres/database.ts";
import { migrate } from "../store/postgres/migrate.ts";
import { SchemaVersionError } from "../store/store.ts";
import { databaseUrl } from "./database-url.ts";

const TIMEOUT_MS = 5_000;
const DISK_WARNING_BYTES = 1024 ** 3;
const DISK_PROBLEM_BYTES = 100 * 1024 ** 2;

type Loaded = LoadedConfig;

/** Every finding; what is not there is a finding too. Takes a few seconds at most. */
export async function examine(loaded: Loaded): Promise<readonly Finding[]> {
  const { config } = loaded;
  const folder = path.resolve(config.data_dir);
  const [port, database, engine] = await Promise.all([
    examinePort(config.http.host, config.http.port),
    examineDatabase(config),
    examineEngine(loaded),
  ]);
  return [examineFolder(folder), examineDisk(folder), port, ...database, engine];
}

/** The folder itself, or the nearest one above it in which it could be made. */
function nearest(folder: string): string {
  let at = folder;
  while (!existsSync(at) && path.dirname(at) !== at) at = path.dirname(at);
  return at;
}

function examineFolder(folder: string): Finding {
  const check = "data folder";
  const at = nearest(folder);
  try {
    if (!statSync(at).isDirectory()) throw new Error(`${at} is a file`);
    accessSync(at, constants.W_OK | constants.X_OK);
    const state = at === folder ? "is writable" : `does not exist yet and can be made in ${at}`;
    return { check, status: "ok", message: `${folder} ${state}` };
  } catch (error) {
    return {
      check,
      status: "problem",
      message: `${folder} cannot be written: ${messageOf(error)}`,
      mend: "give the user who runs Landlord the right to write there, or choose another with data_dir",
    };
  }
}

function examineDisk(folder: string): Finding {
  const check = "disk space";
  try {
    const { bavail, bsize } = statfsSync(nearest(folder));
    return diskFinding(bavail * bsize, folder);
  } catch (error) {
    return { check, status: "warning", message: `cannot tell: ${messageOf(error)}` };
  }
}

export function diskFinding(freeBytes: number, folder: string): Finding {
  const status =
    freeBytes < DISK_PROBLEM_BYTES ? "problem" : freeBytes < DISK_WARNING_BYTES ? "warning" : "ok";
  return {
    check: "disk space",
    status,
    message: `${(freeBytes / 1024 ** 3).toFixed(1)} GiB are free at ${folder}`,
    ...(status === "ok" ? {} : { mend: "make room, or choose another disk with data_dir" }),
  };
}

async function examinePort(host: string, port: number): Promise<Finding> {
  const check = "port";
  const where = `${host}:${port}`;
  if (port === 0) return { check, status: "ok", message: "a free one is taken at start" };
  const reason = await whyNotFree(host, port);
  if (reason === null) return { check, status: "ok", message: `${where} is free: no server runs there` };
  if (reason === "EADDRINUSE") {
    if (await isLandlord(host, port))
      return { check, status: "ok", message: `${where} is held by a Landlord API` };
    return {
      check,
      status: "problem",
      message: `${where} is held by another program`,
      mend: `end it, or choose another with http.port (\`landlord dev --port 0\` takes a free one)`,
    };
  }
  return {
    check,
    status: "problem",
    message: `${where} cannot be listened on: ${reason}`,
    mend: "correct http.host and http.port; ports below 1024 need a privilege",
  };
}

function whyNotFree(host: string, port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen(port, host, () => server.close(() => resolve(null)));
  });
}

async function isLandlord(host: string, port: number): Promise<boolean> {
  const reachable = host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host;
  const name = reachable.includes(":") ? `[${reachable}]` : reachable;
  for (const scheme of ["http", "https"]) {
    try {
      const answer = await fetch(`${scheme}://${name}:${port}/health`, {
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      const body = (await answer.json()) as { readonly status?: unknown };
      return answer.ok && body.status === "ok";
    } catch {
      // Another scheme, or another program: the next one tells.
    }
  }
  return false;
}

async function examineDatabase(config: Config | WorkerConfig): Promise<readonly Finding[]> {
  const check = "database";
  if (!("database" in config) || (config.database.url === undefined && config.database.host === undefined)) {
    const message = "none is configured: `landlord dev` brings its own, and a worker needs none";
    return [{ check, status: "skipped", message }];
  }
  const { database } = config;
  const pool = openPool(
    {
      url: databaseUrl(database),
      maxConnections: 1,
      connectTimeoutMs: Math.min(database.connect_timeout, TIMEOUT_MS),
      statementTimeoutMs: TIMEOUT_MS,
      applicationName: "landlord-doctor",
    },
    () => undefined,
  );
  try {
    const before = Date.now();
    const { rows } = await pool.query<{ now: Date }>("SELECT clock_timestamp() AS now");
    const after = Date.now();
    const at = rows[0]?.now.getTime() ?? Number.NaN;
    const skewMs = at - (before + after) / 2;
    const reached: Finding = { check, status: "ok", message: `reached in ${after - before} ms` };
    const clock = skewFinding("clock of the database", skewMs);
    try {
      const { schemaVersion } = await migrate(openKysely(pool), { apply: false });
      return [{ ...reached, message: `${reached.message}, schema version ${schemaVersion}` }, clock];
    } catch (error) {
      if (!(error instanceof SchemaVersionError)) throw error;
      return [reached, schemaFinding(error, database.auto_migrate), clock];
    }
  } catch (error) {
    return [databaseProblem(error)];
  } finally {
    await pool.end();
  }
}

function schemaFinding(error: SchemaVersionError, autoMigrate: boolean): Finding {
  const comesBySelf = error.code === "schema_too_old" && autoMigrate;
  return {
    check: "database schema",
    status: comesBySelf ? "warning" : "problem",
    message: error.message,
    mend: comesBySelf
      ? "start a server: database.auto_migrate lets it migrate"
      : error.code === "schema_too_old"
        ? "run `landlord migrate`"
        : "deploy a newer version of Landlord",
  };
}

const DATABASE_MENDS: Readonly<Record<string, string>> = {
  "28P01": "correct the password: database.url or database.password",
  "28000": "correct database.user, or allow it in the server's pg_hba.conf",
  "3D000": "create the database, or correct its name: database.url or database.database",
  ECONNREFUSED: "start PostgreSQL, or correct host and port in database.url or database.host",
  ENOTFOUND: "correct the host in database.url or database.host",
};

function databaseProblem(error: unknown): Finding {
  const own = error instanceof Error && "code" in error ? String(error.code) : null;
  const causes = error instanceof AggregateError ? (error.errors as { readonly code?: string }[]) : [];
  const code = errorCode(error) ?? own ?? causes[0]?.code ?? "";
  return {
    check: "database",
    status: "problem",
    message: `cannot be used: ${messageOf(error)}${code === "" ? "" : ` (${code})`}`,
    mend: DATABASE_MENDS[code] ?? "check that PostgreSQL runs, and the keys beneath database",
  };
}

async function examineEngine({ config, sources }: Loaded): Promise<Finding> {
  const check = "engine's admin API";
  const { restate, default_provider: engine } = config.workflow;
  const { admin_endpoint: endpoint, auth_token: token } = restate;
  const source = sources.get("workflow.restate.admin_endpoint");
  if (engine !== "restate")
    return { check, status: "skipped", message: `${engine} has none that can be asked from here` };
  if (source === undefined || source.kind === "default")
    return { check, status: "skipped", message: "not configured: `landlord dev` brings its own engine" };
  const mend =
    "start Restate, or correct workflow.restate.admin_endpoint and workflow.restate.auth_token; tenants wait meanwhile";
  try {
    const answer = await fetch(`${endpoint.replace(/\/+$/, "")}/health`, {
      signal: AbortSignal.timeout(TIMEOUT_MS),
      headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
    });
    if (answer.ok) return { check, status: "ok", message: `${endpoint} answers` };
    return { check, status: "problem", message: `${endpoint} answers with status ${answer.status}`, mend };
  } catch (error) {
    const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
    return { check, status: "problem", message: `${endpoint} does not answer: ${messageOf(cause)}`, mend };
  }
}
