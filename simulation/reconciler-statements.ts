/** The reconciler's statements, as store/postgres/work-store.ts and commits.ts have them. Each happens whole. */
import { listEvents } from "./client-statements.ts";
import type {
  Commit,
  CommitOutcome,
  OperationRecord,
  OperationUpdate,
  Sequenced,
  StoredTenant,
} from "../packages/landlord/src/store/store.ts";
import type { Tenant } from "../packages/landlord/src/domain/tenant.ts";
import {
  bury,
  keepGeneration,
  addTransition,
  ConstraintError,
  type Database,
  unfinishedOf,
  type OperationRow,
  type WorkRow,
} from "./database.ts";

const SEQUENCE_BATCH = 1_000;
const GARBAGE_BATCH = 1_000;

/** Commits stand alone: one that the database refuses hinders no other, and is thrown when all have been tried. */
export function commitAll(
  database: Database,
  commits: readonly Commit[],
  caller: string,
): readonly CommitOutcome[] {
  const refused: unknown[] = [];
  const outcomes = commits.map((commit) => {
    try {
      return commitOne(database, commit, caller);
    } catch (error) {
      if (!(error instanceof ConstraintError)) throw error;
      refused.push(error);
      return "lost";
    }
  });
  if (refused.length > 0) throw refused[0];
  return outcomes;
}

function commitOne(database: Database, commit: Commit, caller: string): CommitOutcome {
  const { tables } = database;
  const nowMs = database.nowMs();
  const work = tables.work.get(commit.tenantId);
  if (work === undefined || work.leaseToken !== commit.leaseToken || work.leaseOwner !== commit.leaseOwner)
    return "lost";
  const before = tables.tenants.get(commit.tenantId);
  if (before === undefined || before.revision !== commit.revision) {
    tables.work.set(work.tenantId, { ...work, leaseOwner: null, leaseUntilMs: null, dueMs: nowMs });
    return "outdated";
  }
  refuseViolations(database, commit);
  if (commit.newOperation !== null) openOperation(database, commit);
  if (commit.operationUpdate !== null) updateOperation(database, commit.operationUpdate);
  const after =
    commit.remove === null ? writeRow(database, commit, before) : bury(database, commit.remove, before);
  if (commit.generationRaised && after !== null)
    keepGeneration(database, after.tenant, { name: "reconciler", requestId: null });
  if (commit.transition !== null) {
    addTransition(database, {
      ...commit.transition,
      tenantId: before.tenant.id,
      tenantName: before.tenant.name,
      actor: "reconciler",
      requestId: null,
      labels: before.tenant.labels,
    });
  }
  if (commit.remove === null) tables.work.set(work.tenantId, queued(work, commit, nowMs));
  database.tell({
    tenantId: commit.tenantId,
    before,
    after,
    by: "reconciler",
    caller,
    holder: work.leaseOwner,
  });
  return "committed";
}

/** The row of the due queue after a commit. */
function queued(
  work: WorkRow,
  { wakeSeq, release, restart, leaseMs, newOperation, operationUpdate }: Commit,
  nowMs: number,
): WorkRow {
  const isClosed = operationUpdate !== null && operationUpdate.outcome !== null;
  const next: WorkRow = {
    ...work,
    inFlight: newOperation !== null ? true : isClosed ? false : work.inFlight,
    lane: restart?.lane ?? work.lane,
    leaseUntilMs:
      leaseMs === null ? work.leaseUntilMs : Math.min(work.leaseUntilMs ?? Infinity, nowMs + leaseMs),
  };
  if (release === null) return next;
  const { dueInMs } = release;
  return {
    ...next,
    leaseOwner: null,
    leaseUntilMs: null,
    dueMs: work.wakeSeq !== wakeSeq ? nowMs : dueInMs === null ? null : nowMs + dueInMs,
    resyncMs: lookAfter(work, release, nowMs),
  };
}

function lookAfter(
  { resyncMs }: WorkRow,
  { resyncInMs, keepsEarlierLook = false }: NonNullable<Commit["release"]>,
  nowMs: number,
): number | null {
  const nextMs = resyncInMs === null ? null : nowMs + resyncInMs;
  const isEarlier = resyncMs !== null && nextMs !== null && resyncMs <= nextMs;
  return keepsEarlierLook && isEarlier ? resyncMs : nextMs;
}

function refuseViolations(
  database: Database,
  { tenantId, tenant, newOperation, operationUpdate }: Commit,
): void {
  if (tenant !== null && tenant.observedGeneration > tenant.generation) {
    throw new ConstraintError("tenants: observed_generation is above generation");
  }
  if (newOperation === null) return;
  const { operation } = newOperation;
  const unfinished = unfinishedOf(database.tables, tenantId);
  if (unfinished !== null) {
    throw new ConstraintError(
      `operations_one_unfinished: ${unfinished.record.id} of this tenant is not finished${operationUpdate === null ? "" : " yet"}`,
    );
  }
  for (const { record } of database.tables.operations.values()) {
    if (record.id === operation.id || record.executionId === operation.executionId) {
      throw new ConstraintError(`operations: ${operation.id} is not unique`);
    }
  }
}

function openOperation(database: Database, { tenantId, newOperation }: Commit): void {
  if (newOperation === null) return;
  const { operation, request } = newOperation;
  const record: OperationRecord = {
    ...operation,
    tenantId,
    executionHandle: null,
    invokedAt: null,
    stopPhase: null,
    stopRequestedAt: null,
    stopReason: null,
    subState: null,
    retryCount: 0,
    createdAt: new Date(database.nowMs()),
    outcome: null,
    error: null,
    finishedAt: null,
  };
  database.tables.operations.set(operation.id, { record, request });
}

function updateOperation(database: Database, update: OperationUpdate): void {
  const row = database.tables.operations.get(update.id);
  if (row === undefined || row.record.finishedAt !== null) return;
  const now = new Date(database.nowMs());
  const { record } = row;
  const next: OperationRow = {
    record: {
      ...record,
      executionHandle: update.executionHandle,
      invokedAt: update.invoked ? (record.invokedAt ?? now) : record.invokedAt,
      stopRequestedAt: update.stopPhase === null ? null : (record.stopRequestedAt ?? now),
      stopPhase: update.stopPhase,
      stopReason: update.stopReason,
      subState: update.subState,
      retryCount: update.retryCount,
      error: update.error,
      outcome: update.outcome,
      finishedAt: update.outcome === null ? null : now,
    },
    request: update.outcome === null ? row.request : null,
  };
  database.tables.operations.set(update.id, next);
}

function writeRow(database: Database, commit: Commit, before: StoredTenant): StoredTenant {
  const { tenant: wanted } = commit;
  if (wanted === null) return before;
  const tenant: Tenant = {
    ...before.tenant,
    status: wanted.status,
    statusMessage: wanted.statusMessage,
    generation: wanted.generation,
    observedGeneration: wanted.observedGeneration,
    observed: wanted.observed,
    attempts: wanted.attempts,
    nextAttemptAt: wanted.nextAttemptAt,
    lastError: wanted.lastError,
    workflowExecutionId: wanted.workflowExecutionId,
    workflowSubState: wanted.workflowSubState,
    workflowRetryCount: wanted.workflowRetryCount,
    conditions: wanted.conditions,
    generationAt: commit.restart === null ? before.tenant.generationAt : new Date(database.nowMs()),
    updatedAt: new Date(database.nowMs()),
  };
  const after = { tenant, revision: before.revision + 1 };
  database.tables.tenants.set(tenant.id, after);
  return after;
}

export function wake(database: Database, tenantIds: readonly string[]): void {
  const nowMs = database.nowMs();
  for (const id of tenantIds) {
    const row = database.tables.work.get(id);
    if (row === undefined) continue;
    const dueMs = Math.min(row.dueMs ?? nowMs, nowMs);
    database.tables.work.set(id, { ...row, wakeSeq: row.wakeSeq + 1, dueMs });
  }
}

export function openBreaker(
  database: Database,
  { key, error, probeInMs }: { readonly key: string; readonly error: string; readonly probeInMs: number },
): void {
  const now = new Date(database.nowMs());
  const before = database.tables.breakers.get(key);
  const wasOpen = before?.state === "open";
  database.tables.breakers.set(key, {
    key,
    state: "open",
    failures: (before?.failures ?? 0) + 1,
    openedAt: wasOpen ? before.openedAt : now,
    nextProbeAt: wasOpen ? before.nextProbeAt : new Date(now.getTime() + probeInMs),
    lastError: error,
  });
}

export function closeBreaker(database: Database, key: string): void {
  const before = database.tables.breakers.get(key);
  if (before?.state !== "open") return;
  database.tables.breakers.set(key, {
    ...before,
    state: "closed",
    failures: 0,
    openedAt: null,
    nextProbeAt: null,
  });
}

export function takeProbe(database: Database, key: string, probeInMs: number): boolean {
  const nowMs = database.nowMs();
  const before = database.tables.breakers.get(key);
  if (before?.state !== "open" || before.nextProbeAt === null || before.nextProbeAt.getTime() > nowMs)
    return false;
  database.tables.breakers.set(key, { ...before, nextProbeAt: new Date(nowMs + probeInMs) });
  return true;
}

export function sequenceTransitions(database: Database): Sequenced {
  const { tables } = database;
  const rows = [...tables.transitions.values()];
  const before = rows.reduce((highest, row) => Math.max(highest, row.position ?? 0), 0);
  let position = before;
  const pending = rows.filter((row) => row.position === null).sort((one, other) => one.id - other.id);
  const batch = pending.slice(0, SEQUENCE_BATCH);
  for (const row of batch) tables.transitions.set(row.id, { ...row, position: ++position });
  if (batch.length === 0) return { count: 0, events: [] };
  return {
    count: batch.length,
    events: listEvents(database, { from: Math.max(1, before), limit: Infinity }),
  };
}

export function collectGarbage(database: Database, historyRetentionMs: number): number {
  const { tables } = database;
  const nowMs = database.nowMs();
  const oldMs = nowMs - historyRetentionMs;
  const newest = [...tables.transitions.values()].reduce(
    (highest, { position }) => Math.max(highest, position ?? 0),
    0,
  );
  return (
    sweep(tables.keys, ({ expiresMs }) => expiresMs <= nowMs) +
    sweep(tables.tombstones, ({ tombstone }) => tombstone.expiresAt.getTime() <= nowMs) +
    sweep(tables.orphans, ({ lastSeenMs }) => lastSeenMs < oldMs) +
    sweep(
      tables.operations,
      ({ record }) => record.finishedAt !== null && record.finishedAt.getTime() < oldMs,
    ) +
    sweep(
      tables.transitions,
      ({ at, position }) => at.getTime() < oldMs && position !== null && position < newest,
    )
  );
}

function sweep<K, V>(rows: Map<K, V>, isOver: (row: V) => boolean): number {
  let deleted = 0;
  for (const [key, row] of rows) {
    if (deleted >= GARBAGE_BATCH) break;
    if (!isOver(row)) continue;
    rows.delete(key);
    deleted += 1;
  }
  return deleted;
}
