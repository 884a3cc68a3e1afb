/** The tables as Kysely sees them, and how a connection is made. */
import {
  Kysely,
  PostgresDialect,
  type ColumnType,
  type Generated,
  type PostgresPool,
  type PostgresPoolClient,
  type PostgresQueryResult,
} from "kysely";
import pg from "pg";
import type { JsonObject } from "../../domain/json.ts";
import { NamedQuery, type RowShapes } from "./named-query.ts";
import { createPreparedStatements, type PreparedStatements } from "./prepared.ts";
import type {
  Condition,
  Endpoint,
  ErrorRecord,
  Health,
  Intent,
  OperationKind,
  StopPhase,
  SubState,
  TenantStatus,
} from "../../domain/tenant.ts";
import type { OperationOutcome } from "../../domain/decide.ts";
import { LandlordError, messageOf } from "../../domain/errors.ts";
import { StoreUnavailableError } from "../store.ts";

/** A jsonb column: written as text, read as a value. */
type JsonColumn<T> = ColumnType<T, string, string>;
type Timestamp = ColumnType<Date, Date | undefined, Date>;
type NullableTimestamp = ColumnType<Date | null, Date | null | undefined, Date | null>;

export interface TenantsTable {
  id: string;
  name: string;
  status: TenantStatus;
  status_message: string;
  intent: Intent;
  compute_provider: string;
  desired_config: JsonColumn<JsonObject>;
  config_hash: string;
  generation: number;
  generation_at: Timestamp;
  observed_generation: number;
  observed_config: JsonColumn<JsonObject | null>;
  observed_resource_ids: JsonColumn<Record<string, string>>;
  endpoints: JsonColumn<Endpoint[]>;
  health: Health;
  scopes: JsonColumn<string[]>;
  paused: boolean;
  paused_by: string | null;
  attempts: number;
  next_attempt_at: NullableTimestamp;
  last_error: JsonColumn<ErrorRecord | null>;
  workflow_execution_id: string | null;
  workflow_sub_state: SubState | null;
  workflow_retry_count: number | null;
  conditions: JsonColumn<(Omit<Condition, "since"> & { since: string })[]>;
  labels: JsonColumn<Record<string, string>>;
  annotations: JsonColumn<Record<string, string>>;
  version: number;
  revision: number;
  created_at: Timestamp;
  updated_at: Timestamp;
}

export interface OperationsTable {
  id: string;
  tenant_id: string;
  tenant_name: string;
  kind: OperationKind;
  generation: number;
  config_hash: string;
  execution_id: string;
  execution_handle: string | null;
  workflow_provider: string;
  workflow_name: string;
  request: JsonColumn<JsonObject | null>;
  start_before: Date;
  invoked_at: NullableTimestamp;
  stop_phase: StopPhase | null;
  stop_requested_at: NullableTimestamp;
  stop_reason: string | null;
  sub_state: SubState | null;
  retry_count: number;
  outcome: OperationOutcome | null;
  error: JsonColumn<ErrorRecord | null>;
  created_at: Timestamp;
  finished_at: NullableTimestamp;
}

export interface TransitionsTable {
  id: Generated<number>;
  position: number | null;
  tenant_id: string;
  tenant_name: string;
  from_status: TenantStatus | null;
  to_status: TenantStatus | null;
  reason: string;
  message: string;
  generation: number;
  actor: string;
  request_id: string | null;
  operation_id: string | null;
  labels: JsonColumn<Record<string, string>>;
  at: Timestamp;
}

export interface BreakersTable {
  key: string;
  state: "closed" | "open";
  failures: number;
  opened_at: NullableTimestamp;
  next_probe_at: NullableTimestamp;
  last_error: string | null;
}

export interface WorkersTable {
  id: string;
  engine: string;
  workflows: JsonColumn<string[]>;
  compute_providers: JsonColumn<string[]>;
  scopes: JsonColumn<string[]>;
  version: string;
  started_at: Date;
  registered_at: NullableTimestamp;
  last_error: string | null;
  last_seen_at: Timestamp;
}

export interface Database {
  workers: WorkersTable;
  instance: { id: string };
  tenants: TenantsTable;
  generations: {
    tenant_id: string;
    generation: number;
    intent: Intent;
    compute_provider: string;
    desired_config: JsonColumn<JsonObject>;
    config_hash: string;
    actor: string;
    request_id: string | null;
    created_at: Timestamp;
  };
  operations: OperationsTable;
  operation_events: {
    id: Generated<number>;
    operation_id: string;
    phase: string;
    message: string;
    at: Timestamp;
  };
  transitions: TransitionsTable;
  tombstones: {
    tenant_id: string;
    name: string;
    generation: number;
    compute_provider: string;
    scopes: JsonColumn<string[]>;
    expires_at: Date;
  };
  breakers: BreakersTable;
  idempotency_keys: { key: string; request_hash: string; tenant: JsonColumn<TenantsTable> };
}

export interface ConnectionSettings {
  /** `postgres://user:password@host:port/database?sslmode=…` */
  readonly url: string;
  readonly maxConnections: number;
  readonly connectTimeoutMs: number;
  /** A statement that runs longer is aborted by the server. */
  readonly statementTimeoutMs: number;
  /** Shown in pg_stat_activity. */
  readonly applicationName: string;
}

const INT8_OID = 20;
/** The client's own limit is this much later: it catches a server that is stopped or cut off and will never report a timeout. */
const CLIENT_LIMIT_LATER_MS = 1_000;

/** Opens a pool. Connects lazily; a broken connection is replaced by the next query. */
export function openPool(settings: ConnectionSettings, onIdleError: (error: Error) => void): pg.Pool {
  const pool = new pg.Pool({
    connectionString: settings.url,
    max: settings.maxConnections,
    connectionTimeoutMillis: settings.connectTimeoutMs,
    idleTimeoutMillis: 60_000,
    statement_timeout: settings.statementTimeoutMs,
    keepAlive: true,
    application_name: settings.applicationName,
    types: {
      // Counters stay far below 2^53.
      getTypeParser: ((oid: number, format: "text") =>
        oid === INT8_OID
          ? Number
          : (pg.types.getTypeParser(oid, format) as (
              text: string,
            ) => unknown)) as typeof pg.types.getTypeParser,
    },
  });
  // Without a listener, an idle connection that the server closes would end the process.
  pool.on("error", onIdleError);
  // The pool stops listening when it hands a connection out. One that the server ends in the breath of its greeting
  // would end the process, before whoever asked for it can listen.
  pool.on("connect", (client) => client.on("error", () => undefined));
  return pool;
}

export function openKysely(pool: pg.Pool): Kysely<Database> {
  return new Kysely<Database>({ dialect: new PostgresDialect({ pool: abandoningLost(pool) }) });
}

/**
 * The pool, but statements are prepared, and a connection that failed a query without an answer of the server is closed
 * instead of given back. The driver's timeout leaves the lost query in front of every later one, and ROLLBACK would be the
 * next to wait for it.
 */
function abandoningLost(pool: pg.Pool): PostgresPool {
  const statements = { prepared: createPreparedStatements(), shapes: new Map() };
  const limitMs = Number(pool.options.statement_timeout) + CLIENT_LIMIT_LATER_MS;
  // Made once for each connection: the pool hands the same ones out for every query.
  const known = new WeakMap<pg.PoolClient, PostgresPoolClient>();
  return {
    end: () => pool.end(),
    async connect() {
      const client = await pool.connect();
      const connection = known.get(client) ?? abandonedWhenLost(client, statements, limitMs);
      known.set(client, connection);
      return connection;
    },
  };
}

interface Statements {
  readonly prepared: PreparedStatements;
  readonly shapes: RowShapes;
}

function abandonedWhenLost(
  client: pg.PoolClient,
  { prepared, shapes }: Statements,
  limitMs: number,
): PostgresPoolClient {
  let lost: Error | null = null;
  let giveUp: ((error: Error) => void) | null = null;
  // One for the connection, begun anew by every query: the driver's own limit is a timer and two closures for each.
  const limit = setTimeout(() => giveUp?.(new Error("Query read timeout")), limitMs).unref();
  client.once("end", () => clearTimeout(limit));
  const parserOf = (oid: number): ((text: string) => unknown) =>
    client.getTypeParser(oid, "text") as (text: string) => unknown;
  const send = (
    text: string,
    values: readonly unknown[],
    name: string | null = null,
  ): Promise<PostgresQueryResult<unknown>> =>
    new Promise((resolve, reject) => {
      giveUp = reject;
      limit.refresh();
      const settle = (error: Error | null, result?: unknown): void => {
        // Else it would keep the result until the connection's next query.
        giveUp = null;
        if (error === null) resolve(result as PostgresQueryResult<unknown>);
        else reject(error);
      };
      // The driver only reads the values.
      if (name === null) client.query({ text, values: values as unknown[] }, settle);
      else client.query(new NamedQuery({ name, text, values }, shapes, parserOf, settle));
    });
  const query = async (text: string, values: readonly unknown[]): Promise<PostgresQueryResult<unknown>> => {
    if (lost !== null) throw lost;
    const name = prepared.nameOf(text);
    try {
      if (name === null) return await send(text, values);
      try {
        return await send(text, values, name);
      } catch (error) {
        // Within a transaction the second attempt fails as the first one did; the next transaction goes without names.
        if (!prepared.isStale(text, error)) throw error;
        return await send(text, values);
      }
    } catch (error) {
      // Whatever the server itself reports carries a severity; after that the connection is as good as before.
      if (error instanceof Error && !("severity" in error)) lost = error;
      throw error;
    }
  };
  // The pool listens on idle connections only; one that breaks between two queries would end the process.
  client.on("error", (error) => {
    lost = error;
  });
  return {
    // Kysely's other overload is for cursors, which are not used.
    query: query as PostgresPoolClient["query"],
    release: () => client.release(lost ?? undefined),
  };
}

/** The error's SQLSTATE (PostgreSQL manual, appendix A), or its Node code, or null. */
export function errorCode(error: unknown): string | null {
  return typeof error === "object" && error !== null && "code" in error && typeof error.code === "string"
    ? error.code
    : null;
}

const UNIQUE_VIOLATION = "23505";
export const DEADLOCK_DETECTED = "40P01";

/** The name of the violated constraint, or null. */
export function violatedConstraint(error: unknown): string | null {
  if (errorCode(error) !== UNIQUE_VIOLATION) return null;
  return typeof error === "object" && error !== null && "constraint" in error
    ? String(error.constraint)
    : null;
}

const NETWORK_CODES = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "ENOTFOUND",
  "EPIPE",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "EAI_AGAIN",
]);
const NETWORK_MESSAGES = [
  "Connection terminated",
  "timeout exceeded when trying to connect",
  "Query read timeout",
  "Client has encountered a connection error",
  "Client was closed",
  "connection is insecure",
  "Cannot use a pool after calling end",
];

/**
 * True when the database is down, starting, stopping, overloaded or cut off, rather than displeased with a statement:
 * SQLSTATE classes 08, 53, 57, and what the driver and the operating system say of broken connections.
 */
export function isUnavailable(error: unknown): boolean {
  const code = errorCode(error);
  if (code !== null && (NETWORK_CODES.has(code) || /^(08|53|57)/.test(code))) return true;
  if (error instanceof AggregateError) return error.errors.some(isUnavailable);
  const message = messageOf(error);
  return NETWORK_MESSAGES.some((text) => message.includes(text));
}

/** Runs a query; a database that does not answer becomes StoreUnavailableError. */
export async function guarded<T>(query: () => Promise<T>): Promise<T> {
  try {
    return await query();
  } catch (error) {
    if (error instanceof LandlordError) throw error;
    if (!isUnavailable(error)) throw error;
    throw new StoreUnavailableError(
      "database_unavailable",
      "The database does not answer. Landlord keeps trying; check that PostgreSQL runs and is reachable.",
      { cause: error },
    );
  }
}
