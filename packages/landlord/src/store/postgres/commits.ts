/** What passes commit: every change of a tenant by the reconciler, behind the fence of its lease. */
import { CompiledQuery, type Kysely } from "kysely";
import { LANES } from "../../domain/tenant.ts";
import type { Commit, CommitOutcome } from "../store.ts";
import { isUnavailable, type Database } from "./database.ts";
import { isRelease, outcomesOf, releaseAll, type OutcomeRow } from "./releases.ts";
import { fromTenant } from "./rows.ts";

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

/** Commits that only give a lease back go by themselves: they need a fraction of the other statement. */
export async function commitAll(
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

/** A part of the statement that only some commits need. */
interface Part {
  readonly isNeeded: (commit: Commit) => boolean;
  readonly text: string;
}

const CURRENT = "current c JOIN admitted i ON i.tenant_id = c.id";

const PARTS: readonly Part[] = [
  {
    isNeeded: ({ tenant, remove }) => tenant !== null && remove === null,
    text: `written AS (
      UPDATE tenants t SET ${RECONCILER_COLUMNS.map((column) => `${column} = r.${column}`).join(", ")},
        revision = t.revision + 1, updated_at = now(),
        generation_at = CASE WHEN i.restart_lane IS NULL THEN t.generation_at ELSE now() END
      FROM ${CURRENT}, LATERAL jsonb_populate_record(NULL::tenants, i.tenant) r
      WHERE t.id = c.id AND i.tenant IS NOT NULL AND i.tombstone_ttl_ms IS NULL
    )`,
  },
  {
    isNeeded: ({ generationRaised }) => generationRaised,
    text: `recovered AS (
      INSERT INTO generations (tenant_id, generation, intent, compute_provider, desired_config, config_hash, actor)
      SELECT c.id, r.generation, r.intent, r.compute_provider, r.desired_config, r.config_hash, 'reconciler'
      FROM ${CURRENT}, LATERAL jsonb_populate_record(NULL::tenants, i.tenant) r
      WHERE i.generation_raised AND i.tenant IS NOT NULL
      ON CONFLICT (tenant_id, generation) DO NOTHING
    )`,
  },
  {
    isNeeded: ({ remove }) => remove !== null,
    text: `buried AS (
      INSERT INTO tombstones (tenant_id, name, generation, compute_provider, scopes, expires_at)
      SELECT t.id, t.name, t.generation, t.compute_provider, t.scopes, now() + i.tombstone_ttl_ms * interval '1 millisecond'
      FROM current c JOIN tenants t ON t.id = c.id JOIN admitted i ON i.tenant_id = c.id
      WHERE i.tombstone_ttl_ms IS NOT NULL
      ON CONFLICT (tenant_id) DO UPDATE SET generation = excluded.generation, expires_at = excluded.expires_at
    ), removed AS (
      DELETE FROM tenants t USING ${CURRENT} WHERE t.id = c.id AND i.tombstone_ttl_ms IS NOT NULL
    ), unqueued AS (
      DELETE FROM tenant_work w USING ${CURRENT} WHERE w.tenant_id = c.id AND i.tombstone_ttl_ms IS NOT NULL
    )`,
  },
  {
    isNeeded: ({ newOperation }) => newOperation !== null,
    text: `opened AS (
      INSERT INTO operations (id, tenant_id, tenant_name, kind, generation, config_hash, execution_id,
                              workflow_provider, workflow_name, start_before, request)
      SELECT o.id, c.id, c.name, o.kind, o.generation, o.config_hash, o.execution_id,
             o.workflow_provider, o.workflow_name, o.start_before, o.request
      FROM ${CURRENT}, LATERAL jsonb_populate_record(NULL::operations, i.new_operation) o
      WHERE i.new_operation IS NOT NULL
    )`,
  },
  {
    isNeeded: ({ operationUpdate }) => operationUpdate !== null,
    text: `updated AS (
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
      FROM ${CURRENT}, LATERAL jsonb_to_record(i.operation_update) AS u(
        id uuid, execution_handle text, invoked boolean, stop_phase text, stop_reason text, sub_state text,
        retry_count integer, error jsonb, outcome text)
      WHERE i.operation_update IS NOT NULL AND o.id = u.id AND o.finished_at IS NULL
    )`,
  },
  {
    isNeeded: ({ transition }) => transition !== null,
    text: `moved AS (
      INSERT INTO transitions (tenant_id, tenant_name, from_status, to_status, reason, message, generation, actor, operation_id, labels)
      SELECT c.id, c.name, m.from_status, m.to_status, m.reason, m.message, m.generation, 'reconciler', m.operation_id, c.labels
      FROM ${CURRENT}, LATERAL jsonb_populate_record(NULL::transitions, i.transition) m
      WHERE i.transition IS NOT NULL
    )`,
  },
];

const FENCE = `input AS MATERIALIZED (
      SELECT * FROM jsonb_to_recordset($1::jsonb) AS i(
        tenant_id uuid, lease_owner text, lease_token bigint, wake_seq bigint, revision bigint, tenant jsonb, generation_raised boolean,
        restart_lane smallint, tombstone_ttl_ms float8, lease_ms float8, new_operation jsonb, operation_update jsonb, transition jsonb,
        release boolean, due_in_ms float8, resync_in_ms float8, keeps_look boolean)
    ), held AS MATERIALIZED (
      SELECT w.tenant_id, w.lease_token
      FROM tenant_work w JOIN input i ON i.tenant_id = w.tenant_id AND i.lease_token = w.lease_token
      WHERE w.lease_holder = i.lease_owner
      ORDER BY w.tenant_id FOR UPDATE OF w
    ), admitted AS MATERIALIZED (
      SELECT i.* FROM input i JOIN held h ON h.tenant_id = i.tenant_id AND h.lease_token = i.lease_token
    ), current AS MATERIALIZED (
      SELECT t.id, t.name, t.labels FROM tenants t
      JOIN held ON held.tenant_id = t.id JOIN admitted i ON i.tenant_id = t.id
      WHERE t.revision = i.revision
      ORDER BY t.id FOR UPDATE OF t
    )`;

const QUEUED = `worked AS (
      SELECT i.*, c.id IS NOT NULL AS is_current, i.release OR c.id IS NULL AS gives_back
      FROM held JOIN admitted i ON i.tenant_id = held.tenant_id LEFT JOIN current c ON c.id = held.tenant_id
    ), queued AS (
      UPDATE tenant_work w SET
        lease_holder = CASE WHEN i.gives_back THEN NULL ELSE w.lease_holder END,
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
    )`;

const OUTCOMES = `
    SELECT held.tenant_id, held.lease_token, c.id IS NOT NULL AS is_current
    FROM held LEFT JOIN current c ON c.id = held.tenant_id`;

/**
 * `held` locks the work rows whose lease token is still ours, in id order; `admitted` leaves out the commits of a late
 * holder, which may share the batch with those of the one that came after it; `current` locks those tenants that
 * nobody wrote since the claim. Everything else joins them. Where `held` had to wait for a client's write, the
 * re-check of the locked row sees that write and leaves the tenant out of `current`. Parts that no commit of the batch
 * needs are left out: to begin and end them costs more than what they would do.
 */
async function commitBatch(
  db: Kysely<Database>,
  commits: readonly Commit[],
): Promise<readonly CommitOutcome[]> {
  const needed = PARTS.filter((part) => commits.some(part.isNeeded)).map(({ text }) => text);
  const text = `WITH ${[FENCE, ...needed, QUEUED].join(", ")}${OUTCOMES}`;
  const { rows } = await db.executeQuery<OutcomeRow>(
    CompiledQuery.raw(text, [toJsonb(commits.map(commitRecord))]),
  );
  return outcomesOf(commits, rows);
}
