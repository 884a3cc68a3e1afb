/** What one server at a time does for the fleet, and what the orphan sweep remembers. */
import { sql, type Kysely } from "kysely";
import type { JsonObject } from "../../domain/json.ts";
import { LANES } from "../../domain/tenant.ts";
import type { Chore, Orphan, RecordedOrphan, ResourceOwner, WorkStore } from "../store.ts";
import type { Database } from "./database.ts";
import { fromTenant, toDate } from "./rows.ts";

/** A run that did not finish within this time is taken to have died. */
const RUN_LIMIT_MS = 300_000;

export async function takeChore(
  db: Kysely<Database>,
  { name, everyMs }: { readonly name: string; readonly everyMs: number },
): Promise<JsonObject | null> {
  const every = sql`${everyMs}::float8 * interval '1 millisecond'`;
  const result = await sql<{ options: JsonObject }>`
    INSERT INTO chores (name, next_run_at, taken_at) VALUES (${name}, now() + ${every}, now())
    ON CONFLICT (name) DO UPDATE SET next_run_at = now() + ${every}, taken_at = now()
    WHERE chores.next_run_at <= now() OR chores.next_run_at > now() + 2 * ${every}
    RETURNING options`.execute(db);
  return result.rows[0]?.options ?? null;
}

/** Options that were asked for while the run was under way are left for the next. */
export async function finishChore(
  db: Kysely<Database>,
  { name, report }: { readonly name: string; readonly report: JsonObject },
): Promise<void> {
  await sql`
    UPDATE chores SET
      report = ${JSON.stringify(report)}::jsonb,
      finished_at = now(),
      options = CASE WHEN requested_at > taken_at THEN options ELSE '{}' END,
      next_run_at = CASE WHEN requested_at > taken_at THEN now() ELSE next_run_at END
    WHERE name = ${name}`.execute(db);
}

export async function requestChore(
  db: Kysely<Database>,
  { name, options }: { readonly name: string; readonly options: JsonObject },
): Promise<Date> {
  const result = await sql<{ requested_at: Date }>`
    INSERT INTO chores (name, requested_at, options) VALUES (${name}, now(), ${JSON.stringify(options)}::jsonb)
    ON CONFLICT (name) DO UPDATE SET
      -- Requests that come at once may be written in another order than their transactions began.
      requested_at = greatest(chores.requested_at, now()),
      options = excluded.options,
      -- A run that is under way does not answer this request; the next begins when it has ended, or has died.
      next_run_at = CASE
        WHEN chores.taken_at > coalesce(chores.finished_at, '-infinity')
          AND chores.taken_at > now() - ${RUN_LIMIT_MS} * interval '1 millisecond' THEN chores.next_run_at
        ELSE now() END
    RETURNING requested_at`.execute(db);
  return toDate((result.rows[0] as { requested_at: Date }).requested_at);
}

export async function getChore(db: Kysely<Database>, name: string): Promise<Chore | null> {
  const result = await sql<{
    requested_at: Date | null;
    finished_at: Date | null;
    report: JsonObject | null;
  }>`
    SELECT requested_at, finished_at, report FROM chores WHERE name = ${name}`.execute(db);
  const row = result.rows[0];
  if (row === undefined) return null;
  return { requestedAt: row.requested_at, finishedAt: row.finished_at, report: row.report };
}

interface OwnerRow {
  tenant_id: string;
  tenant: NonNullable<ResourceOwner["tenant"]> | null;
  tombstone: NonNullable<ResourceOwner["tombstone"]> | null;
}

export async function describeOwners(
  db: Kysely<Database>,
  tenantIds: readonly string[],
): Promise<readonly ResourceOwner[]> {
  const result = await sql<OwnerRow>`
    SELECT asked.tenant_id,
      CASE WHEN t.id IS NOT NULL THEN jsonb_build_object(
        'name', t.name, 'status', t.status, 'generation', t.generation, 'observedGeneration', t.observed_generation,
        'intent', t.intent, 'scopes', t.scopes) END AS tenant,
      CASE WHEN b.tenant_id IS NOT NULL THEN jsonb_build_object(
        'name', b.name, 'generation', b.generation, 'ageMs', extract(epoch FROM now() - b.created_at) * 1000) END AS tombstone
    FROM unnest(${[...tenantIds]}::uuid[]) WITH ORDINALITY AS asked(tenant_id, place)
    LEFT JOIN tenants t ON t.id = asked.tenant_id
    LEFT JOIN tombstones b ON b.tenant_id = asked.tenant_id
    ORDER BY asked.place`.execute(db);
  return result.rows.map((row) => ({
    tenantId: row.tenant_id,
    tenant: row.tenant,
    tombstone: row.tombstone,
  }));
}

/** Bounded by what tenants and tombstones name; the database reads them once for each sweep. */
export async function listScopes(
  db: Kysely<Database>,
  { computeProvider, limit }: { readonly computeProvider: string; readonly limit: number },
): Promise<readonly string[]> {
  const result = await sql<{ scope: string }>`
    SELECT DISTINCT scope FROM (
      SELECT jsonb_array_elements_text(scopes) AS scope FROM tenants WHERE compute_provider = ${computeProvider}
      UNION ALL
      SELECT jsonb_array_elements_text(scopes) FROM tombstones WHERE compute_provider = ${computeProvider}) s
    ORDER BY scope LIMIT ${limit}`.execute(db);
  return result.rows.map(({ scope }) => scope);
}

interface OrphanRow {
  compute_provider: string;
  scope: string;
  tenant_id: string;
  generation: number | null;
  resource_ids: Record<string, string>;
  first_seen_at: Date;
  last_seen_at: Date;
  age_ms: number;
}

function toOrphan(row: OrphanRow): RecordedOrphan {
  return {
    computeProvider: row.compute_provider,
    scope: row.scope,
    tenantId: row.tenant_id,
    generation: row.generation,
    resourceIds: row.resource_ids,
    firstSeenAt: row.first_seen_at,
    lastSeenAt: row.last_seen_at,
    ageMs: row.age_ms,
  };
}

const age = sql`(extract(epoch FROM now() - first_seen_at) * 1000)::float8 AS age_ms`;

export async function recordOrphans(
  db: Kysely<Database>,
  params: {
    readonly computeProvider: string;
    readonly scopes: readonly string[];
    readonly orphans: readonly Orphan[];
  },
): Promise<readonly RecordedOrphan[]> {
  const input = JSON.stringify(
    params.orphans.map((orphan) => ({
      compute_provider: orphan.computeProvider,
      scope: orphan.scope,
      tenant_id: orphan.tenantId,
      generation: orphan.generation,
      resource_ids: orphan.resourceIds,
    })),
  );
  const result = await sql<OrphanRow>`
    WITH seen AS MATERIALIZED (
      SELECT DISTINCT ON (compute_provider, scope, tenant_id) * FROM jsonb_to_recordset(${input}::jsonb)
        AS i(compute_provider text, scope text, tenant_id uuid, generation bigint, resource_ids jsonb)
      ORDER BY compute_provider, scope, tenant_id, generation DESC NULLS LAST
    ), forgotten AS (
      DELETE FROM orphans o
      WHERE o.compute_provider = ${params.computeProvider} AND o.scope = ANY(${[...params.scopes]}::text[])
        AND NOT EXISTS (SELECT 1 FROM seen s WHERE s.scope = o.scope AND s.tenant_id = o.tenant_id)
    )
    INSERT INTO orphans (compute_provider, scope, tenant_id, generation, resource_ids)
    SELECT compute_provider, scope, tenant_id, generation, resource_ids FROM seen
    ON CONFLICT (compute_provider, scope, tenant_id) DO UPDATE SET
      generation = excluded.generation, resource_ids = excluded.resource_ids, last_seen_at = now()
    RETURNING *, ${age}`.execute(db);
  return result.rows.map(toOrphan);
}

export async function listOrphans(db: Kysely<Database>, limit: number): Promise<readonly RecordedOrphan[]> {
  const result = await sql<OrphanRow>`
    SELECT *, ${age} FROM orphans ORDER BY first_seen_at, tenant_id LIMIT ${limit}`.execute(db);
  return result.rows.map(toOrphan);
}

export async function adoptOrphans(
  db: Kysely<Database>,
  { tenants, reason, lane }: Parameters<WorkStore["adoptOrphans"]>[0],
): Promise<number> {
  const records = JSON.stringify(tenants.map((tenant) => ({ ...fromTenant(tenant), revision: 1 })));
  const result = await sql<{ id: string }>`
    WITH records AS (
      SELECT r.* FROM jsonb_array_elements(${records}::jsonb) AS e,
        LATERAL jsonb_populate_record(
          NULL::tenants, e || jsonb_build_object('created_at', now(), 'updated_at', now(), 'generation_at', now())) r
    ), adopted AS (
      INSERT INTO tenants SELECT * FROM records ON CONFLICT DO NOTHING RETURNING *
    ), transition AS (
      INSERT INTO transitions (tenant_id, tenant_name, from_status, to_status, reason, message, generation, actor, labels)
      SELECT id, name, NULL, status, ${reason}, status_message, generation, 'reconciler', labels FROM adopted
    ), work AS (
      INSERT INTO tenant_work (tenant_id, owner, compute_provider, lane, next_reconcile_at)
      SELECT id, '', compute_provider, ${LANES[lane]}::smallint, now() FROM adopted
      ON CONFLICT (tenant_id) DO NOTHING
    ), forgotten AS (
      DELETE FROM orphans o USING adopted a WHERE o.tenant_id = a.id
    )
    SELECT id FROM adopted`.execute(db);
  return result.rows.length;
}
