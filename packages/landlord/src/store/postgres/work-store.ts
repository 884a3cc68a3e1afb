/** The reconciler's side of the store: leases, breakers, the sequencer, garbage. */
import { sql, type Kysely } from "kysely";
import type { Sequenced, WorkStore } from "../store.ts";
import { adoptOrphans, describeOwners, finishChore, listScopes, recordOrphans, takeChore } from "./chores.ts";
import { claimDue, claimResync, requestResync } from "./claims.ts";
import { commitAll } from "./commits.ts";
import { compiledOnce } from "./compiled.ts";
import { DEADLOCK_DETECTED, errorCode, guarded, violatedConstraint, type Database } from "./database.ts";
import { listBreakers } from "./tenant-store.ts";
import { toSequenced, type TransitionRow } from "./rows.ts";

/** The channel on which other servers hear that transitions were committed. */
export const EVENTS_CHANNEL = "landlord_events";

const SEQUENCER_LOCK_KEY = 0x6c616e64;
const SEQUENCE_BATCH = 1_000;
const GARBAGE_BATCH = 1_000;

/** @param senderId by which this server knows its own notifications */
export function createWorkStore(db: Kysely<Database>, senderId: string): Omit<WorkStore, "instanceId"> {
  return {
    claimDue: (params) => guarded(() => claimDue(db, params)),
    claimResync: (params) => guarded(() => claimResync(db, params)),
    requestResync: ({ tenantIds }) => guarded(() => requestResync(db, tenantIds)),
    describeOwners: ({ tenantIds }) => guarded(() => describeOwners(db, tenantIds)),
    listScopes: (params) => guarded(() => listScopes(db, params)),
    recordOrphans: (params) => guarded(() => recordOrphans(db, params)),
    adoptOrphans: (params) => guarded(() => adoptOrphans(db, params)),
    takeChore: (params) => guarded(() => takeChore(db, params)),
    finishChore: (params) => guarded(() => finishChore(db, params)),
    commit: (commits) => guarded(() => commitAll(db, commits)),
    wake: ({ tenantIds }) => guarded(() => wake(db, tenantIds)),
    openBreaker: ({ key, error, probeInMs }) =>
      guarded(async () => {
        await sql`
          INSERT INTO breakers (key, state, failures, opened_at, next_probe_at, last_error)
          VALUES (${key}, 'open', 1, now(), now() + ${probeInMs} * interval '1 millisecond', ${error})
          ON CONFLICT (key) DO UPDATE SET
            state = 'open',
            failures = breakers.failures + 1,
            opened_at = CASE WHEN breakers.state = 'open' THEN breakers.opened_at ELSE now() END,
            next_probe_at = CASE WHEN breakers.state = 'open' THEN breakers.next_probe_at ELSE excluded.next_probe_at END,
            last_error = excluded.last_error,
            updated_at = now()`.execute(db);
      }),
    closeBreaker: ({ key }) =>
      guarded(async () => {
        await sql`
          UPDATE breakers SET state = 'closed', failures = 0, opened_at = NULL, next_probe_at = NULL, updated_at = now()
          WHERE key = ${key} AND state = 'open'`.execute(db);
      }),
    takeProbe: ({ key, probeInMs }) =>
      guarded(async () => {
        const result = await sql<{ key: string }>`
          UPDATE breakers SET next_probe_at = now() + ${probeInMs} * interval '1 millisecond', updated_at = now()
          WHERE key = ${key} AND state = 'open' AND next_probe_at <= now() RETURNING key`.execute(db);
        return result.rows.length === 1;
      }),
    listBreakers: () => guarded(() => listBreakers(db)),
    sequenceTransitions: () => guarded(() => sequenceTransitions(db, senderId)),
    collectGarbage: ({ historyRetentionMs }) => guarded(() => collectGarbage(db, historyRetentionMs)),
    listTombstones: ({ limit }) =>
      guarded(async () => {
        const rows = await db
          .selectFrom("tombstones")
          .selectAll()
          .orderBy("expires_at")
          .limit(limit)
          .execute();
        return rows.map((row) => ({
          tenantId: row.tenant_id,
          name: row.name,
          generation: row.generation,
          computeProvider: row.compute_provider,
          scopes: row.scopes,
          expiresAt: row.expires_at,
        }));
      }),
  };
}

async function wake(db: Kysely<Database>, tenantIds: readonly string[]): Promise<void> {
  if (tenantIds.length === 0) return;
  await sql`
    UPDATE tenant_work SET wake_seq = wake_seq + 1, next_reconcile_at = least(next_reconcile_at, now())
    WHERE tenant_id IN (
      SELECT tenant_id FROM tenant_work WHERE tenant_id = ANY(${[...tenantIds]}::uuid[]) ORDER BY tenant_id FOR UPDATE)`.execute(
    db,
  );
}

/**
 * Numbers what has been committed; a sequence number is not a commit order. The try-lock keeps servers from doing it at
 * once; should they all the same, with snapshots of different age, the positions of one begin where the other's do, and
 * `position` is unique: the later one fails whole. What it does not number again leaves its own positions without gap.
 */
async function sequenceTransitions(db: Kysely<Database>, senderId: string): Promise<Sequenced> {
  try {
    const { rows } = await numbering(db, senderId);
    const count = rows.filter((row) => row.is_new).length;
    return { count, events: rows.map(toSequenced) };
  } catch (error) {
    const isOvertaken = violatedConstraint(error) !== null || errorCode(error) === DEADLOCK_DETECTED;
    if (isOvertaken) return { count: 0, events: [] };
    throw error;
  }
}

const numbering = compiledOnce<string, TransitionRow & { readonly is_new: boolean }>(
  (value) => sql`
      WITH pending AS (
        SELECT id, row_number() OVER (ORDER BY id) AS place
        FROM (SELECT id FROM transitions WHERE position IS NULL ORDER BY id LIMIT ${SEQUENCE_BATCH}) p
        WHERE pg_try_advisory_xact_lock(${SEQUENCER_LOCK_KEY})
      ), last AS MATERIALIZED (
        SELECT * FROM transitions WHERE position IS NOT NULL ORDER BY position DESC LIMIT 1
      ), sequenced AS (
        UPDATE transitions t SET position = coalesce((SELECT position FROM last), 0) + pending.place
        FROM pending WHERE t.id = pending.id AND t.position IS NULL RETURNING t.*
      ), told AS MATERIALIZED (
        SELECT pg_notify(${EVENTS_CHANNEL}, ${value((senderId) => senderId)}::text) FROM sequenced LIMIT 1
      )
      SELECT last.*, false AS is_new FROM last WHERE EXISTS (SELECT FROM pending)
      UNION ALL SELECT sequenced.*, EXISTS (SELECT FROM told) FROM sequenced
      ORDER BY position`,
);

async function collectGarbage(db: Kysely<Database>, historyRetentionMs: number): Promise<number> {
  const old = sql`now() - ${historyRetentionMs} * interval '1 millisecond'`;
  const bounded = (table: string, key: string, condition: ReturnType<typeof sql>) => sql`
    DELETE FROM ${sql.table(table)} WHERE ${sql.ref(key)} IN
      (SELECT ${sql.ref(key)} FROM ${sql.table(table)} WHERE ${condition} LIMIT ${GARBAGE_BATCH})`;
  const statements = [
    bounded("idempotency_keys", "key", sql`expires_at <= now()`),
    bounded("tombstones", "tenant_id", sql`expires_at <= now()`),
    sql`DELETE FROM orphans WHERE (compute_provider, scope, tenant_id) IN
      (SELECT compute_provider, scope, tenant_id FROM orphans WHERE last_seen_at < ${old} LIMIT ${GARBAGE_BATCH})`,
    bounded("workers", "id", sql`last_seen_at < now() - interval '1 day'`),
    bounded("operations", "id", sql`finished_at < ${old}`),
    // The newest position stays: the sequencer counts on from it.
    bounded("transitions", "id", sql`at < ${old} AND position < (SELECT max(position) FROM transitions)`),
  ];
  let deleted = 0;
  await fillIn(db);
  for (const statement of statements) {
    const result = await statement.execute(db);
    deleted += Number(result.numAffectedRows ?? 0);
  }
  return deleted;
}

/**
 * While servers of the release before still run, their writes leave out what fair starts count by. Nothing but fairness
 * hangs on it, so it is put right here, and not in every claim.
 */
async function fillIn(db: Kysely<Database>): Promise<void> {
  await sql`
    UPDATE tenant_work w SET compute_provider = t.compute_provider FROM tenants t
    WHERE t.id = w.tenant_id AND w.compute_provider = '' AND w.tenant_id IN
      (SELECT tenant_id FROM tenant_work WHERE compute_provider = '' LIMIT ${GARBAGE_BATCH})`.execute(db);
  await sql`
    UPDATE tenant_work w SET in_flight = true
    WHERE NOT w.in_flight AND w.lease_owner IS NULL AND w.lease_holder IS NULL AND w.tenant_id IN
      (SELECT tenant_id FROM operations WHERE finished_at IS NULL)`.execute(db);
  await sql`
    UPDATE tenant_work w SET in_flight = false
    WHERE w.in_flight AND w.lease_owner IS NULL AND w.lease_holder IS NULL AND NOT EXISTS
      (SELECT 1 FROM operations o WHERE o.tenant_id = w.tenant_id AND o.finished_at IS NULL)`.execute(db);
}
