/** What one server at a time does for the fleet, as store/postgres/chores.ts has it. */
import type { JsonObject } from "../packages/landlord/src/domain/json.ts";
import type { Tenant } from "../packages/landlord/src/domain/tenant.ts";
import type {
  Chore,
  RecordedOrphan,
  ResourceOwner,
  WorkStore,
} from "../packages/landlord/src/store/store.ts";
import { addTransition, findTenant, type ChoreRow, type Database, type OrphanRow } from "./database.ts";

const RUN_LIMIT_MS = 300_000;

export function takeChore(
  { tables, nowMs: clock }: Database,
  name: string,
  everyMs: number,
): JsonObject | null {
  const nowMs = clock();
  const row = tables.chores.get(name);
  if (row !== undefined && row.nextRunMs > nowMs && row.nextRunMs <= nowMs + 2 * everyMs) return null;
  const before: ChoreRow = row ?? NEW_CHORE;
  tables.chores.set(name, { ...before, nextRunMs: nowMs + everyMs, takenMs: nowMs });
  return before.options;
}

const NEW_CHORE: ChoreRow = {
  requestedAt: null,
  finishedAt: null,
  report: null,
  nextRunMs: 0,
  takenMs: null,
  options: {},
};

/** Options that were asked for while the run was under way are left for the next. */
export function finishChore({ tables, nowMs: clock }: Database, name: string, report: JsonObject): void {
  const row = tables.chores.get(name);
  if (row === undefined) return;
  const nowMs = clock();
  const isAskedAgain =
    row.requestedAt !== null && row.takenMs !== null && row.requestedAt.getTime() > row.takenMs;
  tables.chores.set(name, {
    ...row,
    report,
    finishedAt: new Date(nowMs),
    options: isAskedAgain ? row.options : {},
    nextRunMs: isAskedAgain ? nowMs : row.nextRunMs,
  });
}

export function requestChore({ tables, nowMs: clock }: Database, name: string, options: JsonObject): Date {
  const nowMs = clock();
  const row = tables.chores.get(name) ?? { ...NEW_CHORE, nextRunMs: nowMs };
  const isUnderWay =
    row.takenMs !== null &&
    row.takenMs > (row.finishedAt?.getTime() ?? -Infinity) &&
    row.takenMs > nowMs - RUN_LIMIT_MS;
  const requestedAt = new Date(nowMs);
  tables.chores.set(name, { ...row, requestedAt, options, nextRunMs: isUnderWay ? row.nextRunMs : nowMs });
  return requestedAt;
}

export function getChore({ tables }: Database, name: string): Chore | null {
  const row = tables.chores.get(name);
  if (row === undefined) return null;
  return { requestedAt: row.requestedAt, finishedAt: row.finishedAt, report: row.report };
}

export function describeOwners(
  { tables, nowMs }: Database,
  tenantIds: readonly string[],
): readonly ResourceOwner[] {
  return tenantIds.map((tenantId) => {
    const tenant = tables.tenants.get(tenantId)?.tenant;
    const buried = tables.tombstones.get(tenantId);
    return {
      tenantId,
      tenant:
        tenant === undefined
          ? null
          : {
              name: tenant.name,
              status: tenant.status,
              generation: tenant.generation,
              observedGeneration: tenant.observedGeneration,
              intent: tenant.intent,
              scopes: tenant.observed.scopes,
            },
      tombstone:
        buried === undefined
          ? null
          : {
              name: buried.tombstone.name,
              generation: buried.tombstone.generation,
              ageMs: nowMs() - buried.createdMs,
            },
    };
  });
}

export function listScopes(
  { tables }: Database,
  { computeProvider, limit }: { readonly computeProvider: string; readonly limit: number },
): readonly string[] {
  const named = [
    ...[...tables.tenants.values()].map(({ tenant }) => ({ ...tenant, scopes: tenant.observed.scopes })),
    ...[...tables.tombstones.values()].map(({ tombstone }) => tombstone),
  ];
  const scopes = named
    .filter((each) => each.computeProvider === computeProvider)
    .flatMap((each) => each.scopes);
  return [...new Set(scopes)].sort().slice(0, limit);
}

const orphanKey = (orphan: {
  readonly computeProvider: string;
  readonly scope: string;
  readonly tenantId: string;
}): string => JSON.stringify([orphan.computeProvider, orphan.scope, orphan.tenantId]);

export function recordOrphans(
  { tables, nowMs: clock }: Database,
  { computeProvider, scopes, orphans }: Parameters<WorkStore["recordOrphans"]>[0],
): readonly RecordedOrphan[] {
  const nowMs = clock();
  const seen = new Map<string, OrphanRow>();
  for (const orphan of orphans) {
    const key = orphanKey(orphan);
    const other = seen.get(key);
    if (other !== undefined && (other.generation ?? -1) >= (orphan.generation ?? -1)) continue;
    const firstSeenMs = tables.orphans.get(key)?.firstSeenMs ?? nowMs;
    seen.set(key, { ...orphan, firstSeenMs, lastSeenMs: nowMs });
  }
  for (const [key, row] of tables.orphans) {
    if (row.computeProvider === computeProvider && scopes.includes(row.scope) && !seen.has(key)) {
      tables.orphans.delete(key);
    }
  }
  for (const [key, row] of seen) tables.orphans.set(key, row);
  return [...seen.values()].map((row) => recorded(row, nowMs));
}

export function listOrphans({ tables, nowMs }: Database, limit: number): readonly RecordedOrphan[] {
  return [...tables.orphans.values()]
    .sort((one, other) => one.firstSeenMs - other.firstSeenMs || (one.tenantId < other.tenantId ? -1 : 1))
    .slice(0, limit)
    .map((row) => recorded(row, nowMs()));
}

function recorded({ firstSeenMs, lastSeenMs, ...orphan }: OrphanRow, nowMs: number): RecordedOrphan {
  return {
    ...orphan,
    firstSeenAt: new Date(firstSeenMs),
    lastSeenAt: new Date(lastSeenMs),
    ageMs: nowMs - firstSeenMs,
  };
}

export function adoptOrphans(
  database: Database,
  { tenants, reason, lane }: Parameters<WorkStore["adoptOrphans"]>[0],
  caller: string,
): number {
  const { tables } = database;
  const now = new Date(database.nowMs());
  let adopted = 0;
  for (const wanted of tenants) {
    if (tables.tenants.has(wanted.id) || findTenant(tables, wanted.name) !== null) continue;
    const tenant: Tenant = { ...wanted, createdAt: now, updatedAt: now, generationAt: now };
    const stored = { tenant, revision: 1 };
    tables.tenants.set(tenant.id, stored);
    addTransition(database, {
      tenantId: tenant.id,
      tenantName: tenant.name,
      fromStatus: null,
      toStatus: tenant.status,
      reason,
      message: tenant.statusMessage,
      generation: tenant.generation,
      actor: "reconciler",
      requestId: null,
      operationId: null,
      labels: tenant.labels,
    });
    if (!tables.work.has(tenant.id)) {
      tables.work.set(tenant.id, {
        tenantId: tenant.id,
        owner: "",
        computeProvider: tenant.computeProvider,
        lane,
        inFlight: false,
        resyncMs: null,
        dueMs: now.getTime(),
        leaseUntilMs: null,
        leaseOwner: null,
        leaseToken: 0,
        wakeSeq: 0,
      });
    }
    for (const [key, row] of tables.orphans) if (row.tenantId === tenant.id) tables.orphans.delete(key);
    adopted += 1;
    database.tell({ tenantId: tenant.id, before: null, after: stored, by: "sweep", caller, holder: null });
  }
  return adopted;
}
