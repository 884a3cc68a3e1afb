/** What people ask of the fleet, and what workers say of themselves. */
import { sql, type Kysely, type Selectable } from "kysely";
import { WORKER_LIVE_MS, type WorkerFact } from "../../domain/explain.ts";
import type { Selector } from "../../domain/selector.ts";
import { LANE_NAMES, type Lane, type TenantStatus } from "../../domain/tenant.ts";
import type { CountedSince, FleetStore, FleetSummary, NewWorkerReport, Standing } from "../fleet-store.ts";
import { guarded, type Database, type WorkersTable } from "./database.ts";
import { labelsMatch } from "./selectors.ts";
import { toDate, toOperation, toStoredTenant, type OperationRow, type TenantRow } from "./rows.ts";
import { UUID_PATTERN } from "./tenant-store.ts";

/** A position beyond is no news to anybody. */
const QUEUE_READ = 10_000;

export function createFleetStore(db: Kysely<Database>): FleetStore {
  return {
    getStanding: ({ idOrName }) => guarded(() => getStanding(db, idOrName)),
    summarize: ({ scope }) => guarded(() => summarize(db, scope)),
    recordWorker: (worker) => guarded(() => recordWorker(db, worker)),
    removeWorker: ({ id }) =>
      guarded(async () => void (await db.deleteFrom("workers").where("id", "=", id).execute())),
    listWorkers: ({ limit }) => guarded(() => listWorkers(db, limit)),
  };
}

interface StandingRow {
  readonly tenant: TenantRow;
  readonly operation: OperationRow | null;
  readonly lane: number;
  readonly owner: string;
  readonly due_at: Date | null;
  readonly is_leased: boolean;
  readonly ahead: number | null;
  readonly progress: string | null;
  readonly now: Date;
}

/** The place in the queue is told by the rules of a claim (claims.ts): lanes, then the turns of their owners. */
async function getStanding(db: Kysely<Database>, idOrName: string): Promise<Standing | null> {
  const own = UUID_PATTERN.test(idOrName) ? sql`t.id = ${idOrName}` : sql`t.name = ${idOrName}`;
  const result = await sql<StandingRow>`
    WITH me AS MATERIALIZED (
      SELECT t.*, w.lane, w.owner, w.next_reconcile_at, w.in_flight,
        coalesce(w.lease_until > now(), false) AS is_leased,
        w.next_reconcile_at <= now() AND NOT w.in_flight AND coalesce(w.lease_until <= now(), true) AS is_waiting
      FROM tenants t JOIN tenant_work w ON w.tenant_id = t.id WHERE ${own}
    ), busy AS (
      SELECT owner, count(*) AS tenants FROM tenant_work
      WHERE in_flight AND EXISTS (SELECT 1 FROM me WHERE is_waiting) GROUP BY owner
    ), waiting AS (
      SELECT w.tenant_id, w.lane, w.next_reconcile_at,
        row_number() OVER (PARTITION BY w.lane, w.owner ORDER BY w.next_reconcile_at) + coalesce(b.tenants, 0) AS turn
      FROM (
        SELECT q.* FROM tenant_work q, me
        WHERE me.is_waiting AND q.lane <= me.lane AND q.next_reconcile_at <= now() AND NOT q.in_flight
          AND (q.lease_until IS NULL OR q.lease_until <= now())
        ORDER BY q.lane, q.next_reconcile_at LIMIT ${QUEUE_READ}) w
      LEFT JOIN busy b USING (owner)
    )
    SELECT to_jsonb(t) AS tenant, to_jsonb(o) AS operation, me.lane, me.owner, me.next_reconcile_at AS due_at, me.is_leased,
      CASE WHEN me.is_waiting THEN (
        SELECT count(*)::int FROM waiting w
        WHERE w.tenant_id <> me.id AND (w.lane, w.turn, w.next_reconcile_at) < (
          me.lane, coalesce((SELECT turn FROM waiting WHERE tenant_id = me.id), ${QUEUE_READ}), me.next_reconcile_at)
      ) END AS ahead,
      (SELECT e.message FROM operation_events e WHERE e.operation_id = o.id ORDER BY e.id DESC LIMIT 1) AS progress,
      now() AS now
    FROM me JOIN tenants t ON t.id = me.id
    LEFT JOIN operations o ON o.tenant_id = me.id AND o.finished_at IS NULL`.execute(db);
  const row = result.rows[0];
  if (row === undefined) return null;
  return {
    stored: toStoredTenant(row.tenant),
    operation: row.operation === null ? null : toOperation(row.operation),
    lane: laneOf(row.lane),
    owner: row.owner,
    dueAt: row.due_at,
    isLeased: row.is_leased,
    ahead: row.ahead,
    progress: row.progress,
    now: toDate(row.now),
  };
}

function laneOf(number: number): Lane {
  return LANE_NAMES[number] ?? "interactive";
}

interface CountRow {
  readonly grouped: "status" | "reason" | "paused";
  readonly name: string;
  readonly count: number;
  readonly oldest_at: Date;
}

async function summarize(db: Kysely<Database>, scope: Selector | null): Promise<FleetSummary> {
  const [counts, busy] = await Promise.all([
    sql<CountRow>`
      WITH seen AS MATERIALIZED (
        SELECT status, paused, updated_at,
          CASE WHEN status = 'failed' THEN coalesce(last_error ->> 'code', 'failed')
               WHEN status IN ('ready', 'archived') AND observed_generation = generation THEN NULL
               WHEN paused THEN 'paused'
               WHEN last_error IS NOT NULL THEN last_error ->> 'code'
               ELSE status END AS reason
        FROM tenants WHERE ${labelsMatch(scope ?? [])}
      )
      SELECT 'status' AS grouped, status AS name, count(*)::int AS count, min(updated_at) AS oldest_at FROM seen GROUP BY status
      UNION ALL
      SELECT 'reason', reason, count(*)::int, min(updated_at) FROM seen WHERE reason IS NOT NULL GROUP BY reason
      UNION ALL
      SELECT 'paused', 'paused', count(*)::int, min(updated_at) FROM seen WHERE paused HAVING count(*) > 0`.execute(
      db,
    ),
    sql<{ count: number; at: Date }>`
      SELECT count(*)::int AS count, now() AS at FROM operations o
      WHERE finished_at IS NULL AND ${
        scope === null
          ? sql`true`
          : sql`EXISTS (SELECT 1 FROM tenants t WHERE t.id = o.tenant_id AND ${labelsMatch(scope)})`
      }`.execute(db),
  ]);
  const of = <Name extends string>(grouped: CountRow["grouped"]): Map<Name, CountedSince> =>
    new Map(
      counts.rows
        .filter((row) => row.grouped === grouped)
        .map((row) => [row.name as Name, { count: row.count, oldestAt: row.oldest_at }]),
    );
  return {
    byStatus: of<TenantStatus>("status"),
    byReason: of("reason"),
    paused: of("paused").get("paused")?.count ?? 0,
    operationsInFlight: busy.rows[0]?.count ?? 0,
    at: busy.rows[0]?.at ?? new Date(0),
  };
}

async function recordWorker(db: Kysely<Database>, worker: NewWorkerReport): Promise<void> {
  const row = {
    engine: worker.engine,
    workflows: JSON.stringify(worker.workflows),
    compute_providers: JSON.stringify(worker.computeProviders),
    scopes: JSON.stringify(worker.scopes),
    version: worker.version,
    started_at: worker.startedAt,
    registered_at: worker.registeredAt,
    last_error: worker.lastError,
  };
  await db
    .insertInto("workers")
    .values({ id: worker.id, ...row })
    .onConflict((conflict) => conflict.column("id").doUpdateSet({ ...row, last_seen_at: sql<Date>`now()` }))
    .execute();
}

async function listWorkers(db: Kysely<Database>, limit: number): Promise<readonly WorkerFact[]> {
  const rows = await db
    .selectFrom("workers")
    .selectAll()
    .select(sql<boolean>`last_seen_at > now() - ${WORKER_LIVE_MS} * interval '1 millisecond'`.as("is_live"))
    .orderBy("last_seen_at", "desc")
    .limit(limit)
    .execute();
  return rows.map((row: Selectable<WorkersTable> & { is_live: boolean }) => ({
    id: row.id,
    engine: row.engine,
    workflows: row.workflows,
    computeProviders: row.compute_providers,
    scopes: row.scopes,
    version: row.version,
    startedAt: row.started_at,
    registeredAt: row.registered_at,
    lastError: row.last_error,
    lastSeenAt: row.last_seen_at,
    isLive: row.is_live,
  }));
}
