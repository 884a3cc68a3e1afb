/**
 * New tenants. Requests that come while others are being written go together in one statement: a burst costs the
 * database a fraction, and a single request waits for nobody.
 */
import { CompiledQuery, sql, type Kysely } from "kysely";
import { createBatcher } from "../../domain/batcher.ts";
import { LANES } from "../../domain/tenant.ts";
import type { CreateOutcome, CreateTenant, TenantStore } from "../store.ts";
import { guarded, isUnavailable, type Database } from "./database.ts";
import { fromTenant, toTenant, type TenantRow } from "./rows.ts";

const BATCH = 50;
/** More than one, so that a name that another transaction holds keeps its own batch waiting only. */
const BATCHES_AT_ONCE = 3;

type Keyed = CreateTenant & { readonly idempotency: NonNullable<CreateTenant["idempotency"]> };

export function createTenants(db: Kysely<Database>): TenantStore["createTenant"] {
  const create = createBatcher<CreateTenant, Written>(
    { maxBatch: BATCH, lingerMs: 0, maxRunning: BATCHES_AT_ONCE },
    { schedule: (_, run) => setImmediate(run) },
    (batch) => guarded(() => writeAll(db, batch)),
  );
  return async (params) => {
    if (isKeyed(params)) return guarded(() => createOnce(db, params));
    const written = await create(params);
    if ("refused" in written) throw written.refused;
    return written;
  };
}

function isKeyed(params: CreateTenant): params is Keyed {
  return params.idempotency !== null;
}

/** What the database refuses is told to the request that it belongs to, and to no other. */
type Written = CreateOutcome | { readonly refused: unknown };

async function writeAll(db: Kysely<Database>, batch: readonly CreateTenant[]): Promise<readonly Written[]> {
  try {
    return await write(db, batch);
  } catch (error) {
    if (isUnavailable(error)) throw error;
    if (batch.length === 1) return [{ refused: error }];
    const results: Written[] = [];
    for (const each of batch) results.push(...(await writeAll(db, [each])));
    return results;
  }
}

/**
 * In the order of names: two statements with the same names wait for one another, and never for each other. As text: to
 * build it takes longer than to send it.
 */
const CREATE_ALL = `
  WITH input AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset($1::jsonb) AS i(id uuid, record jsonb, lane smallint, actor text, request_id text)
  ), created AS (
    INSERT INTO tenants SELECT r.* FROM input i, LATERAL jsonb_populate_record(
      NULL::tenants, i.record || jsonb_build_object('created_at', now(), 'updated_at', now(), 'generation_at', now())) r
    ORDER BY r.name
    ON CONFLICT (name) DO NOTHING RETURNING *
  ), generation AS (
    INSERT INTO generations (tenant_id, generation, intent, compute_provider, desired_config, config_hash, actor, request_id)
    SELECT c.id, generation, intent, compute_provider, desired_config, config_hash, i.actor, i.request_id
    FROM created c JOIN input i USING (id)
  ), transition AS (
    INSERT INTO transitions (tenant_id, tenant_name, from_status, to_status, reason, message, generation, actor, request_id, labels)
    SELECT c.id, name, NULL, status, 'created', '', generation, i.actor, i.request_id, labels FROM created c JOIN input i USING (id)
  ), work AS (
    INSERT INTO tenant_work (tenant_id, owner, compute_provider, lane, next_reconcile_at)
    SELECT c.id, coalesce(labels ->> 'owner', ''), compute_provider, i.lane, now() FROM created c JOIN input i USING (id)
  )
  SELECT * FROM created`;

async function write(
  db: Kysely<Database>,
  batch: readonly CreateTenant[],
): Promise<readonly CreateOutcome[]> {
  const input = batch.map(({ tenant, lane, actor }) => ({
    id: tenant.id,
    record: { ...fromTenant(tenant), revision: 1 },
    lane: LANES[lane],
    actor: actor.name,
    request_id: actor.requestId,
  }));
  const query = CompiledQuery.raw(CREATE_ALL, [JSON.stringify(input)]);
  const { rows } = await db.executeQuery<TenantRow>(query);
  const created = new Map(rows.map((row) => [row.id, row]));
  const taken = batch.filter(({ tenant }) => !created.has(tenant.id)).map(({ tenant }) => tenant.name);
  const holders = await holdersOf(db, taken);
  return batch.map(({ tenant }) => {
    const row = created.get(tenant.id);
    if (row !== undefined) return { kind: "created", tenant: toTenant(row) };
    const holder = holders.get(tenant.name);
    return { kind: "name_taken", tenant: holder === undefined ? null : toTenant(holder) };
  });
}

async function holdersOf(
  db: Kysely<Database>,
  names: readonly string[],
): Promise<ReadonlyMap<string, TenantRow>> {
  if (names.length === 0) return new Map();
  const rows = await db.selectFrom("tenants").selectAll().where("name", "in", names).execute();
  return new Map(rows.map((row) => [row.name, row]));
}

/** The tenant and the key's answer in one transaction: the key may turn out to be used, and then there is no tenant. */
async function createOnce(db: Kysely<Database>, params: Keyed): Promise<CreateOutcome> {
  const { key, requestHash, ttlMs } = params.idempotency;
  try {
    return await db.transaction().execute(async (trx) => {
      const [outcome] = await write(trx, [params]);
      if (outcome?.kind !== "created") return outcome as CreateOutcome;
      const kept = await sql`
        INSERT INTO idempotency_keys (key, request_hash, tenant, expires_at)
        SELECT ${key}, ${requestHash}, to_jsonb(t), now() + ${ttlMs}::float8 * interval '1 millisecond'
        FROM tenants t WHERE id = ${params.tenant.id}
        ON CONFLICT (key) DO UPDATE SET request_hash = excluded.request_hash, tenant = excluded.tenant,
          expires_at = excluded.expires_at, created_at = now() WHERE idempotency_keys.expires_at <= now()
        RETURNING key`.execute(trx);
      if (kept.rows.length === 0) throw new KeyUsed();
      return outcome;
    });
  } catch (error) {
    if (error instanceof KeyUsed) return { kind: "key_used" };
    throw error;
  }
}

class KeyUsed extends Error {}
