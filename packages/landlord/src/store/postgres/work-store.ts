/** The reconciler's side of the store: leases, fenced commits, breakers, the sequencer. */
import { sql, type Kysely } from "kysely";
import { LANES } from "../../domain/tenant.ts";
import type { Commit, CommitOutcome, Sequenced, WorkStore } from "../store.ts";
import { adoptOrphans, describeOwners, finishChore, listScopes, recordOrphans, takeChore } from "./chores.ts";
import { claimDue, claimResync, requestResync } from "./claims.ts";
import {
  DEADLOCK_DETECTED,
  errorCode,
  guarded,
  isUnavailable,
  violatedConstraint,
  type Database,
} from "./database.ts";
import { listBreakers } from "./tenant-store.ts";
import { isRelease, releaseAll } from "./releases.ts";
import { fromTenant, toSequenced, type TransitionRow } from "./rows.ts";

/** The channel on which other servers hear that transitions were committed. */
export const EVENTS_CHANNEL = "landlord_events";

const SEQUENCER_LOCK_KEY = 0x6c616e64;
const SEQUENCE_BATCH = 1_000;
const GARBAGE_BATCH = 1_000;

/** Columns that the reconciler writes; a client's write changes `revision` and so undoes the commit. */
const RECONCILER_COLUMNS = [
  "status",
  "status_message",
  "generation",
  "observed_generation",
  "observed_config",
  "observed_resource_ids",
  "endpoints",
  "health",
  "scopes",
  "attempts",
  "next_attempt_at",
  "last_error",
  "workflow_execution_id",
  "workflow_sub_state",
  "workflow_retry_count",
  "conditions",
] as const;

/** @param senderId by which this server knows its own notifications */
export function createWorkStore(db: Kysely<Database>, instanceId: string, senderId: string): WorkStore {
  return {
    instanceId,
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

/** Commits that only give a lease back go by themselves: they need a fraction of the other statement. */
async function commitAll(
  db: Kysely<Database>,
  commits: readonly Commit[],
): Promise<readonly CommitOutcome[]> {
  const [released, changed] = await Promise.all([
    releaseAll(db, commits.filter(isRelease)),
    commitChanges(
      db,
      commits.filter((commit) => !isRelease(commit)),
    ),
  ]);
  const [releases, changes] = [released.values(), changed.values()];
  return commits.map((commit) => (isRelease(commit) ? releases : changes).next().value as CommitOutcome);
}

/** A batch in one statement; if the database refuses it, one by one, so that a bad row stands alone. */
async function commitChanges(
  db: Kysely<Database>,
  commits: readonly Commit[],
): Promise<readonly CommitOutcome[]> {
  if (commits.length === 0) return [];
  try {
    return await commitBatch(db, commits);
  } catch (error) {
    if (commits.length === 1 || isUnavailable(error)) throw error;
    const outcomes: CommitOutcome[] = [];
    const refused: unknown[] = [];
    for (const commit of commits) {
      // Sequential on purpose: a refused batch is rare, and its rows share locks.
      try {
        outcomes.push(...(await commitBatch(db, [commit])));
      } catch (single) {
        if (isUnavailable(single)) throw single;
        refused.push(single);
      }
    }
    // Those that could be committed are; their passes end here all the same, and are taken up again.
    if (refused.length > 0) throw refused[0];
    return outcomes;
  }
}

/** JSON as PostgreSQL takes it: what workers report may hold NUL or half a surrogate pair, and would never commit. */
function toJsonb(value: unknown): string {
  const text = JSON.stringify(value);
  // Both are written as escapes; whoever wrote an escape of his own has a backslash before it, and is looked at closely.
  if (!/\\u(?:0000|d[89a-f])/.test(text)) return text;
  return JSON.stringify(value, (_key, own: unknown) => {
    if (typeof own === "string") return storable(own);
    if (typeof own !== "object" || own === null || Array.isArray(own) || own instanceof Date) return own;
    return Object.fromEntries(Object.entries(own).map(([key, member]) => [storable(key), member]));
  });
}

function storable(text: string): string {
  return text.replace(/[\0\p{Surrogate}]/gu, "\ufffd");
}

function commitRecord(commit: Commit): Record<string, unknown> {
  const { newOperation, operationUpdate, transition, release, tenant } = commit;
  return {
    tenant_id: commit.tenantId,
    lease_owner: commit.leaseOwner,
    lease_token: commit.leaseToken,
    wake_seq: commit.wakeSeq,
    revision: commit.revision,
    tenant: tenant === null ? null : fromTenant(tenant),
    generation_raised: commit.generationRaised,
    restart_lane: commit.restart === null ? null : LANES[commit.restart.lane],
    tombstone_ttl_ms: commit.remove?.tombstoneTtlMs ?? null,
    lease_ms: commit.leaseMs,
    new_operation:
      newOperation === null
        ? null
        : {
            id: newOperation.operation.id,
            kind: newOperation.operation.kind,
            generation: newOperation.operation.generation,
            config_hash: newOperation.operation.configHash,
            execution_id: newOperation.operation.executionId,
            workflow_provider: newOperation.operation.workflowProvider,
            workflow_name: newOperation.operation.workflowName,
            start_before: newOperation.operation.startBefore,
            request: newOperation.request,
          },
    operation_update:
      operationUpdate === null
        ? null
        : {
            id: operationUpdate.id,
            execution_handle: operationUpdate.executionHandle,
            invoked: operationUpdate.invoked,
            stop_phase: operationUpdate.stopPhase,
            stop_reason: operationUpdate.stopReason,
            sub_state: operationUpdate.subState,
            retry_count: operationUpdate.retryCount,
            error: operationUpdate.error,
            outcome: operationUpdate.outcome,
          },
    transition:
      transition === null
        ? null
        : {
            from_status: transition.fromStatus,
            to_status: transition.toStatus,
            reason: transition.reason,
            message: transition.message,
            generation: transition.generation,
            operation_id: transition.operationId,
          },
    release: release !== null,
    due_in_ms: release?.dueInMs ?? null,
    resync_in_ms: release?.resyncInMs ?? null,
    keeps_look: release?.keepsEarlierLook ?? false,
  };
}

/**
 * `held` locks the work rows whose lease token is still ours, in id order; `admitted` leaves out the commits of a late
 * holder, which may share the batch with those of the one that came after it; `current` locks those tenants that
 * nobody wrote since the claim. Everything else joins them. Where `held` had to wait for a client's write, the
 * re-check of the locked row sees that write and leaves the tenant out of `current`.
 */
async function commitBatch(
  db: Kysely<Database>,
  commits: readonly Commit[],
): Promise<readonly CommitOutcome[]> {
  const input = toJsonb(commits.map(commitRecord));
  const assignments = sql.join(
    RECONCILER_COLUMNS.map((column) => sql`${sql.ref(column)} = r.${sql.ref(column)}`),
  );
  const result = await sql<{ tenant_id: string; lease_token: number; is_current: boolean }>`
    WITH input AS MATERIALIZED (
      SELECT * FROM jsonb_to_recordset(${input}::jsonb) AS i(
        tenant_id uuid, lease_owner text, lease_token bigint, wake_seq bigint, revision bigint, tenant jsonb, generation_raised boolean,
        restart_lane smallint, tombstone_ttl_ms float8, lease_ms float8, new_operation jsonb, operation_update jsonb, transition jsonb,
        release boolean, due_in_ms float8, resync_in_ms float8, keeps_look boolean)
    ), held AS MATERIALIZED (
      SELECT w.tenant_id, w.lease_token
      FROM tenant_work w JOIN input i ON i.tenant_id = w.tenant_id AND i.lease_token = w.lease_token
      -- Not "=": that would let the index of all leases in, where a burst leaves more dead rows than living ones.
      WHERE w.lease_owner IS NOT DISTINCT FROM i.lease_owner
      ORDER BY w.tenant_id FOR UPDATE OF w
    ), admitted AS MATERIALIZED (
      SELECT i.* FROM input i JOIN held h ON h.tenant_id = i.tenant_id AND h.lease_token = i.lease_token
    ), current AS MATERIALIZED (
      SELECT t.id, t.name, t.labels FROM tenants t
      JOIN held ON held.tenant_id = t.id JOIN admitted i ON i.tenant_id = t.id
      WHERE t.revision = i.revision
      ORDER BY t.id FOR UPDATE OF t
    ), written AS (
      UPDATE tenants t SET ${assignments}, revision = t.revision + 1, updated_at = now(),
        generation_at = CASE WHEN i.restart_lane IS NULL THEN t.generation_at ELSE now() END
      FROM current c JOIN admitted i ON i.tenant_id = c.id,
           LATERAL jsonb_populate_record(NULL::tenants, i.tenant) r
      WHERE t.id = c.id AND i.tenant IS NOT NULL AND i.tombstone_ttl_ms IS NULL
    ), recovered AS (
      INSERT INTO generations (tenant_id, generation, intent, compute_provider, desired_config, config_hash, actor)
      SELECT c.id, r.generation, r.intent, r.compute_provider, r.desired_config, r.config_hash, 'reconciler'
      FROM current c JOIN admitted i ON i.tenant_id = c.id, LATERAL jsonb_populate_record(NULL::tenants, i.tenant) r
      WHERE i.generation_raised AND i.tenant IS NOT NULL
      ON CONFLICT (tenant_id, generation) DO NOTHING
    ), buried AS (
      INSERT INTO tombstones (tenant_id, name, generation, compute_provider, scopes, expires_at)
      SELECT t.id, t.name, t.generation, t.compute_provider, t.scopes, now() + i.tombstone_ttl_ms * interval '1 millisecond'
      FROM current c JOIN tenants t ON t.id = c.id JOIN admitted i ON i.tenant_id = c.id
      WHERE i.tombstone_ttl_ms IS NOT NULL
      ON CONFLICT (tenant_id) DO UPDATE SET generation = excluded.generation, expires_at = excluded.expires_at
    ), removed AS (
      DELETE FROM tenants t USING current c JOIN admitted i ON i.tenant_id = c.id
      WHERE t.id = c.id AND i.tombstone_ttl_ms IS NOT NULL
    ), unqueued AS (
      DELETE FROM tenant_work w USING current c JOIN admitted i ON i.tenant_id = c.id
      WHERE w.tenant_id = c.id AND i.tombstone_ttl_ms IS NOT NULL
    ), opened AS (
      INSERT INTO operations (id, tenant_id, tenant_name, kind, generation, config_hash, execution_id,
                              workflow_provider, workflow_name, start_before, request)
      SELECT o.id, c.id, c.name, o.kind, o.generation, o.config_hash, o.execution_id,
             o.workflow_provider, o.workflow_name, o.start_before, o.request
      FROM current c JOIN admitted i ON i.tenant_id = c.id,
           LATERAL jsonb_populate_record(NULL::operations, i.new_operation) o
      WHERE i.new_operation IS NOT NULL
    ), updated AS (
      UPDATE operations o SET
        execution_handle = u.execution_handle,
        invoked_at = CASE WHEN u.invoked THEN coalesce(o.invoked_at, now()) ELSE o.invoked_at END,
        stop_requested_at = CASE WHEN u.stop_phase IS NULL THEN NULL ELSE coalesce(o.stop_requested_at, now()) END,
        stop_phase = u.stop_phase,
        stop_reason = u.stop_reason,
        sub_state = u.sub_state,
        retry_count = u.retry_count,
        error = u.error,
        outcome = u.outcome,
        finished_at = CASE WHEN u.outcome IS NULL THEN NULL ELSE now() END,
        -- The payload was kept to be sent again; a closed row needs it no more.
        request = CASE WHEN u.outcome IS NULL THEN o.request ELSE NULL END
      FROM current c JOIN admitted i ON i.tenant_id = c.id,
           LATERAL jsonb_to_record(i.operation_update) AS u(
             id uuid, execution_handle text, invoked boolean, stop_phase text, stop_reason text, sub_state text,
             retry_count integer, error jsonb, outcome text)
      WHERE i.operation_update IS NOT NULL AND o.id = u.id AND o.finished_at IS NULL
    ), moved AS (
      INSERT INTO transitions (tenant_id, tenant_name, from_status, to_status, reason, message, generation, actor, operation_id, labels)
      SELECT c.id, c.name, m.from_status, m.to_status, m.reason, m.message, m.generation, 'reconciler', m.operation_id, c.labels
      FROM current c JOIN admitted i ON i.tenant_id = c.id,
           LATERAL jsonb_populate_record(NULL::transitions, i.transition) m
      WHERE i.transition IS NOT NULL
    ), worked AS (
      SELECT i.*, c.id IS NOT NULL AS is_current, i.release OR c.id IS NULL AS gives_back
      FROM held JOIN admitted i ON i.tenant_id = held.tenant_id LEFT JOIN current c ON c.id = held.tenant_id
    ), queued AS (
      UPDATE tenant_work w SET
        lease_owner = CASE WHEN i.gives_back THEN NULL ELSE w.lease_owner END,
        lease_until = CASE WHEN i.gives_back THEN NULL
          ELSE least(w.lease_until, now() + i.lease_ms * interval '1 millisecond') END,
        next_reconcile_at = CASE
          WHEN NOT i.gives_back THEN w.next_reconcile_at
          WHEN NOT i.is_current OR w.wake_seq <> i.wake_seq THEN now()
          WHEN i.due_in_ms IS NULL THEN NULL
          ELSE now() + i.due_in_ms * interval '1 millisecond' END,
        resync_at = CASE
          WHEN NOT i.is_current OR NOT i.release THEN w.resync_at
          WHEN i.keeps_look AND w.resync_at <= now() + i.resync_in_ms * interval '1 millisecond' THEN w.resync_at
          ELSE now() + i.resync_in_ms * interval '1 millisecond' END,
        in_flight = CASE
          WHEN NOT i.is_current THEN w.in_flight
          WHEN i.new_operation IS NOT NULL THEN true
          WHEN i.operation_update ->> 'outcome' IS NOT NULL THEN false
          ELSE w.in_flight END,
        lane = CASE WHEN i.is_current THEN coalesce(i.restart_lane, w.lane) ELSE w.lane END
      FROM worked i
      WHERE w.tenant_id = i.tenant_id AND (i.tombstone_ttl_ms IS NULL OR NOT i.is_current) AND (
        i.gives_back OR i.lease_ms IS NOT NULL OR i.restart_lane IS NOT NULL OR i.new_operation IS NOT NULL
        OR i.operation_update ->> 'outcome' IS NOT NULL)
    )
    SELECT held.tenant_id, held.lease_token, c.id IS NOT NULL AS is_current
    FROM held LEFT JOIN current c ON c.id = held.tenant_id`.execute(db);
  const found = new Map(result.rows.map((row) => [`${row.tenant_id}/${row.lease_token}`, row.is_current]));
  return commits.map(({ tenantId, leaseToken }) => {
    const isCurrent = found.get(`${tenantId}/${leaseToken}`);
    if (isCurrent === undefined) return "lost";
    return isCurrent ? "committed" : "outdated";
  });
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
    const result = await sql<TransitionRow & { is_new: boolean }>`
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
        SELECT pg_notify(${EVENTS_CHANNEL}, ${senderId}::text) FROM sequenced LIMIT 1
      )
      SELECT last.*, false AS is_new FROM last WHERE EXISTS (SELECT FROM pending)
      UNION ALL SELECT sequenced.*, EXISTS (SELECT FROM told) FROM sequenced
      ORDER BY position`.execute(db);
    const count = result.rows.filter((row) => row.is_new).length;
    return { count, events: result.rows.map(toSequenced) };
  } catch (error) {
    const isOvertaken = violatedConstraint(error) !== null || errorCode(error) === DEADLOCK_DETECTED;
    if (isOvertaken) return { count: 0, events: [] };
    throw error;
  }
}

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
    WHERE NOT w.in_flight AND w.lease_owner IS NULL AND w.tenant_id IN
      (SELECT tenant_id FROM operations WHERE finished_at IS NULL)`.execute(db);
  await sql`
    UPDATE tenant_work w SET in_flight = false
    WHERE w.in_flight AND w.lease_owner IS NULL AND NOT EXISTS
      (SELECT 1 FROM operations o WHERE o.tenant_id = w.tenant_id AND o.finished_at IS NULL)`.execute(db);
}
