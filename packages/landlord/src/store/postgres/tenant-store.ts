/** Clients' side of the store: each write is one statement. */
import { CompiledQuery, sql, type Kysely, type RawBuilder, type Selectable } from "kysely";
import { LANES } from "../../domain/tenant.ts";
import { LandlordError } from "../../domain/errors.ts";
import type { Selector } from "../../domain/selector.ts";
import type {
  GenerationRecord,
  TenantFilter,
  TenantPage,
  TenantStore,
  WriteOutcome,
  WriteTenant,
} from "../store.ts";
import {
  DEADLOCK_DETECTED,
  errorCode,
  guarded,
  violatedConstraint,
  type BreakersTable,
  type Database,
} from "./database.ts";
import { createTenants } from "./create-tenants.ts";
import { labelsMatch } from "./selectors.ts";
import { getChore, listOrphans, requestChore } from "./chores.ts";
import {
  fromTenant,
  toOperationRecord,
  toStoredTenant,
  toTenant,
  toTransition,
  type TenantRow,
} from "./rows.ts";

export const UUID_PATTERN = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
/** Kept of a worker's hints for each operation. */
const OPERATION_EVENTS_LIMIT = 100;
/** Kept of a tenant's generations. */
const GENERATIONS_LIMIT = 100;
const LIST_BREAKERS_LIMIT = 1_000;

/** Columns that a client's write may change; everything else belongs to the reconciler. */
const CLIENT_COLUMNS = [
  "name",
  "status",
  "status_message",
  "intent",
  "desired_config",
  "config_hash",
  "generation",
  "paused",
  "paused_by",
  "attempts",
  "next_attempt_at",
  "last_error",
  "conditions",
  "labels",
  "annotations",
  "version",
] as const;

export function createTenantStore(db: Kysely<Database>): TenantStore {
  return {
    createTenant: createTenants(db),
    getTenant: ({ idOrName }) =>
      guarded(async () => {
        // A name can never parse as a uuid, so the two cannot be confused. As text: to build it takes longer than to send it.
        const column = UUID_PATTERN.test(idOrName) ? "id" : "name";
        const query = CompiledQuery.raw(`SELECT * FROM tenants WHERE ${column} = $1`, [idOrName]);
        const [row] = (await db.executeQuery<TenantRow>(query)).rows;
        return row === undefined ? null : toStoredTenant(row);
      }),
    listTenants: (params) => guarded(() => listTenants(db, params)),
    writeTenant: (params) => guarded(() => writeTenant(db, params)),
    findIdempotentAnswer: ({ key }) =>
      guarded(async () => {
        const row = await db
          .selectFrom("idempotency_keys")
          .select(["request_hash", "tenant"])
          .where("key", "=", key)
          .where(sql<boolean>`expires_at > now()`)
          .executeTakeFirst();
        return row === undefined
          ? null
          : { requestHash: row.request_hash, tenant: toTenant(row.tenant as unknown as TenantRow) };
      }),
    forceDelete: (params) => guarded(() => forceDelete(db, params)),
    listGenerations: ({ tenantId }) => guarded(() => listGenerations(db, tenantId)),
    listTransitions: ({ idOrName, scope, limit, offset }) =>
      guarded(async () => {
        const column = UUID_PATTERN.test(idOrName) ? "tenant_id" : "tenant_name";
        const rows = await db
          .selectFrom("transitions")
          .selectAll()
          .where(column, "=", idOrName)
          .where(labelsMatch(scope ?? []))
          .orderBy("id", "desc")
          .limit(limit)
          .offset(offset)
          .execute();
        return rows.map(toTransition);
      }),
    listOperations: ({ idOrName, scope = null, limit, offset }) =>
      guarded(async () => {
        const rows = await operationsOf(db, idOrName, scope)
          .selectAll()
          .orderBy("created_at", "desc")
          .limit(limit)
          .offset(offset)
          .execute();
        return rows.map(toOperationRecord);
      }),
    recordProgress: (params) => guarded(() => recordProgress(db, params)),
    listOperationEvents: ({ idOrName, scope = null, operationId }) =>
      guarded(async () => {
        const known = await operationsOf(db, idOrName, scope)
          .select("id")
          .where("id", "=", operationId)
          .executeTakeFirst();
        if (known === undefined) return null;
        return db
          .selectFrom("operation_events")
          .select(["at", "phase", "message"])
          .where("operation_id", "=", operationId)
          .orderBy("id")
          .limit(OPERATION_EVENTS_LIMIT)
          .execute();
      }),
    requestChore: (params) => guarded(() => requestChore(db, params)),
    getChore: ({ name }) => guarded(() => getChore(db, name)),
    listOrphans: ({ limit }) => guarded(() => listOrphans(db, limit)),
    listBreakers: () => guarded(() => listBreakers(db)),
    ping: () => guarded(async () => void (await sql`SELECT 1`.execute(db))),
  };
}

function operationsOf(db: Kysely<Database>, idOrName: string, scope: Selector | null) {
  const column = UUID_PATTERN.test(idOrName) ? "tenant_id" : "tenant_name";
  const own = db.selectFrom("operations").where(column, "=", idOrName);
  if (scope === null) return own;
  // The ledger has no labels: the history tells whose it is.
  return own.where("tenant_id", "in", (from) =>
    from.selectFrom("transitions").select("tenant_id").where(column, "=", idOrName).where(labelsMatch(scope)),
  );
}

/** All breakers: one for each engine and compute provider. */
export async function listBreakers(db: Kysely<Database>): ReturnType<TenantStore["listBreakers"]> {
  const rows = await db.selectFrom("breakers").selectAll().limit(LIST_BREAKERS_LIMIT).execute();
  return rows.map((row: Selectable<BreakersTable>) => ({
    key: row.key,
    state: row.state,
    failures: row.failures,
    openedAt: row.opened_at,
    nextProbeAt: row.next_probe_at,
    lastError: row.last_error,
  }));
}

async function writeTenant(db: Kysely<Database>, params: WriteTenant): Promise<WriteOutcome> {
  const { tenant, transition, actor, isLookRequested = false } = params;
  const record = JSON.stringify(fromTenant(tenant));
  const assignments = sql.join(
    CLIENT_COLUMNS.map((column) => sql`${sql.ref(column)} = r.${sql.ref(column)}`),
  );
  const generationAt = params.generationRaised ? sql`now()` : sql`t.generation_at`;
  try {
    // tenant_work is locked before tenants, as everywhere: the other order deadlocks with a claim.
    const result = await sql<TenantRow>`
      WITH work AS (
        UPDATE tenant_work SET
          wake_seq = wake_seq + 1,
          lane = ${LANES[params.lane]},
          owner = ${tenant.labels["owner"] ?? ""},
          next_reconcile_at = CASE WHEN ${isLookRequested} THEN next_reconcile_at ELSE least(next_reconcile_at, now()) END,
          resync_at = CASE WHEN ${isLookRequested} THEN least(resync_at, now()) ELSE resync_at END
        WHERE tenant_id = ${tenant.id} RETURNING tenant_id
      ), written AS (
        UPDATE tenants t SET ${assignments}, generation_at = ${generationAt}, revision = t.revision + 1, updated_at = now()
        FROM work, jsonb_populate_record(NULL::tenants, ${record}::jsonb) r
        WHERE t.id = work.tenant_id AND t.revision = ${params.revision}
        RETURNING t.*
      ), generation AS (
        INSERT INTO generations (tenant_id, generation, intent, compute_provider, desired_config, config_hash, actor, request_id)
        SELECT id, generation, intent, compute_provider, desired_config, config_hash, ${actor.name}, ${actor.requestId}
        FROM written WHERE ${params.generationRaised}
        ON CONFLICT (tenant_id, generation) DO NOTHING
      ), trimmed AS (
        DELETE FROM generations g USING written w
        WHERE g.tenant_id = w.id AND g.generation <= w.generation - ${GENERATIONS_LIMIT}
      ), transition AS (
        INSERT INTO transitions (tenant_id, tenant_name, from_status, to_status, reason, message, generation, actor, request_id, labels)
        SELECT id, name, ${transition.fromStatus}, ${transition.toStatus}, ${transition.reason}, ${transition.message},
               generation, ${actor.name}, ${actor.requestId}, labels FROM written
      )
      SELECT * FROM written`.execute(db);
    const row = result.rows[0];
    return row === undefined ? { kind: "outdated" } : { kind: "written", tenant: toTenant(row) };
  } catch (error) {
    if (violatedConstraint(error) === "tenants_name_key") return { kind: "name_taken" };
    // Two tenants that swap their names wait for each other; PostgreSQL lets one of them try again.
    if (errorCode(error) === DEADLOCK_DETECTED) return { kind: "outdated" };
    throw error;
  }
}

async function listTenants(db: Kysely<Database>, filter: TenantFilter): Promise<TenantPage> {
  let query = db.selectFrom("tenants");
  if (filter.statuses !== null) query = query.where("status", "in", [...filter.statuses]);
  if (!filter.includeArchived) query = query.where("status", "!=", "archived");
  if (filter.workflowSubState !== null)
    query = query.where("workflow_sub_state", "=", filter.workflowSubState);
  if (filter.hasWorkflowError !== null) {
    query = query.where("last_error", filter.hasWorkflowError ? "is not" : "is", null);
  }
  if (filter.minRetryCount !== null) query = query.where("workflow_retry_count", ">=", filter.minRetryCount);
  for (const selector of filter.selectors ?? []) query = query.where(labelsMatch(selector));
  // A name has no character that LIKE takes for more than itself.
  if (typeof filter.namePrefix === "string") query = query.where("name", "like", `${filter.namePrefix}%`);
  const counted = query.select(sql<number>`count(*)`.as("total"));
  let page = query
    .orderBy("created_at")
    .orderBy("id")
    .limit(filter.limit + 1)
    .offset(filter.offset);
  if (typeof filter.after === "string") {
    const { createdAt, id } = parsePosition(filter.after);
    page = page.where(sql<boolean>`(created_at, id) > (${createdAt}::timestamptz, ${id}::uuid)`);
  }
  const [rows, count] = await Promise.all([
    // The driver's times end at the millisecond; a position must not.
    page
      .selectAll()
      .select(sql<string>`extract(epoch FROM created_at)::text`.as("position"))
      .execute(),
    filter.isCounted !== false ? counted.executeTakeFirstOrThrow() : null,
  ]);
  const last = rows.length > filter.limit ? rows[filter.limit - 1] : undefined;
  return {
    tenants: rows.slice(0, filter.limit).map(toTenant),
    total: count?.total ?? null,
    next: last === undefined ? null : `${last.position}/${last.id}`,
  };
}

const POSITION_PATTERN = /^(\d{1,12}\.\d{6})\/([0-9a-f-]{36})$/;

function parsePosition(text: string): { readonly createdAt: RawBuilder<unknown>; readonly id: string } {
  const [, seconds, id] = POSITION_PATTERN.exec(text) ?? [];
  if (seconds === undefined || id === undefined || !UUID_PATTERN.test(id))
    throw new LandlordError("invalid_position", `"${text}" is no position in a list of tenants.`);
  return { createdAt: sql`to_timestamp(${seconds}::numeric)`, id };
}

async function listGenerations(db: Kysely<Database>, tenantId: string): Promise<readonly GenerationRecord[]> {
  const rows = await db
    .selectFrom("generations")
    .selectAll()
    .where("tenant_id", "=", tenantId)
    .orderBy("generation", "desc")
    .limit(GENERATIONS_LIMIT)
    .execute();
  return rows.map((row) => ({
    generation: row.generation,
    intent: row.intent,
    computeProvider: row.compute_provider,
    desiredConfig: row.desired_config,
    configHash: row.config_hash,
    actor: row.actor,
    requestId: row.request_id,
    createdAt: row.created_at,
  }));
}

/** The lease's holder, if there is one, finds no row to commit to; the engine's execution meets the tombstone's sweep. */
async function forceDelete(
  db: Kysely<Database>,
  { tenantId, revision, tombstoneTtlMs, transition, actor }: Parameters<TenantStore["forceDelete"]>[0],
): Promise<"removed" | "outdated"> {
  const result = await sql<{ id: string }>`
    WITH work AS MATERIALIZED (
      SELECT tenant_id FROM tenant_work WHERE tenant_id = ${tenantId} FOR UPDATE
    ), current AS MATERIALIZED (
      SELECT t.* FROM tenants t JOIN work ON work.tenant_id = t.id WHERE t.revision = ${revision} FOR UPDATE OF t
    ), buried AS (
      INSERT INTO tombstones (tenant_id, name, generation, compute_provider, scopes, expires_at)
      SELECT id, name, generation, compute_provider, scopes, now() + ${tombstoneTtlMs} * interval '1 millisecond' FROM current
      ON CONFLICT (tenant_id) DO UPDATE SET generation = excluded.generation, expires_at = excluded.expires_at,
        scopes = excluded.scopes
    ), closed AS (
      UPDATE operations o SET outcome = 'abandoned', finished_at = now(), request = NULL
      FROM current c WHERE o.tenant_id = c.id AND o.finished_at IS NULL
    ), moved AS (
      INSERT INTO transitions (tenant_id, tenant_name, from_status, to_status, reason, message, generation, actor, request_id, labels)
      SELECT id, name, status, NULL, ${transition.reason}, ${transition.message}, generation, ${actor.name}, ${actor.requestId}, labels
      FROM current
    ), unqueued AS (
      DELETE FROM tenant_work w USING current c WHERE w.tenant_id = c.id
    ), removed AS (
      DELETE FROM tenants t USING current c WHERE t.id = c.id
    )
    SELECT id FROM current`.execute(db);
  return result.rows.length === 1 ? "removed" : "outdated";
}

async function recordProgress(
  db: Kysely<Database>,
  params: { readonly executionId: string; readonly phase: string; readonly message: string },
): Promise<boolean> {
  const result = await sql<{ operation_id: string }>`
    WITH operation AS (
      SELECT id FROM operations WHERE execution_id = ${params.executionId}
    ), event AS (
      INSERT INTO operation_events (operation_id, phase, message)
      SELECT id, ${params.phase}, ${params.message} FROM operation RETURNING operation_id
    ), trimmed AS (
      DELETE FROM operation_events WHERE id IN (
        SELECT e.id FROM operation_events e JOIN operation o ON o.id = e.operation_id
        ORDER BY e.id DESC OFFSET ${OPERATION_EVENTS_LIMIT - 1})
    )
    SELECT operation_id FROM event`.execute(db);
  return result.rows.length > 0;
}
