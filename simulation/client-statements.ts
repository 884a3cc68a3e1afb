/** Clients' statements, as store/postgres/tenant-store.ts has them. Each happens whole. */
import type { Tenant } from "../packages/landlord/src/domain/tenant.ts";
import type {
  CreateOutcome,
  CreateTenant,
  OperationRecord,
  SequencedTransition,
  TenantFilter,
  TenantPage,
  TenantStore,
  Transition,
  WriteOutcome,
  WriteTenant,
} from "../packages/landlord/src/store/store.ts";
import { matchesSelector, type Selector } from "../packages/landlord/src/domain/selector.ts";
import { addTransition, bury, findTenant, keepGeneration, unfinishedOf, type Database } from "./database.ts";

const OPERATION_EVENTS_LIMIT = 100;

export function createTenant(database: Database, params: CreateTenant, caller: string): CreateOutcome {
  const { tables } = database;
  const { idempotency, actor } = params;
  const now = new Date(database.nowMs());
  const holder = findTenant(tables, params.tenant.name);
  if (holder !== null) return { kind: "name_taken", tenant: holder.tenant };
  if (idempotency !== null) {
    const known = tables.keys.get(idempotency.key);
    if (known !== undefined && known.expiresMs > now.getTime()) return { kind: "key_used" };
  }
  const tenant: Tenant = { ...params.tenant, createdAt: now, updatedAt: now, generationAt: now };
  const stored = { tenant, revision: 1 };
  tables.tenants.set(tenant.id, stored);
  tables.work.set(tenant.id, {
    tenantId: tenant.id,
    owner: tenant.labels["owner"] ?? "",
    computeProvider: tenant.computeProvider,
    lane: params.lane,
    inFlight: false,
    resyncMs: null,
    dueMs: now.getTime(),
    leaseUntilMs: null,
    leaseOwner: null,
    leaseToken: 0,
    wakeSeq: 0,
  });
  keepGeneration(database, tenant, actor);
  addTransition(database, {
    tenantId: tenant.id,
    tenantName: tenant.name,
    fromStatus: null,
    toStatus: tenant.status,
    reason: "created",
    message: "",
    generation: tenant.generation,
    actor: actor.name,
    requestId: actor.requestId,
    operationId: null,
    labels: tenant.labels,
  });
  if (idempotency !== null) {
    const expiresMs = now.getTime() + idempotency.ttlMs;
    tables.keys.set(idempotency.key, { requestHash: idempotency.requestHash, tenant, expiresMs });
  }
  database.tell({ tenantId: tenant.id, before: null, after: stored, by: "client", caller, holder: null });
  return { kind: "created", tenant };
}

export function writeTenant(database: Database, params: WriteTenant, caller: string): WriteOutcome {
  const { tables } = database;
  const { tenant: wanted, transition, actor, isLookRequested = false } = params;
  const now = new Date(database.nowMs());
  const before = tables.tenants.get(wanted.id);
  const isCurrent = before !== undefined && before.revision === params.revision;
  if (isCurrent) {
    const holder = findTenant(tables, wanted.name);
    if (holder !== null && holder.tenant.id !== wanted.id) return { kind: "name_taken" };
  }
  const work = tables.work.get(wanted.id);
  // Of a write that comes too late, too, the wake-up stays.
  if (work !== undefined) {
    tables.work.set(wanted.id, {
      ...work,
      wakeSeq: work.wakeSeq + 1,
      lane: params.lane,
      owner: wanted.labels["owner"] ?? "",
      dueMs: isLookRequested ? work.dueMs : Math.min(work.dueMs ?? now.getTime(), now.getTime()),
      resyncMs: isLookRequested ? Math.min(work.resyncMs ?? now.getTime(), now.getTime()) : work.resyncMs,
    });
  }
  if (!isCurrent || work === undefined) return { kind: "outdated" };
  const tenant: Tenant = {
    ...before.tenant,
    name: wanted.name,
    status: wanted.status,
    statusMessage: wanted.statusMessage,
    intent: wanted.intent,
    desiredConfig: wanted.desiredConfig,
    configHash: wanted.configHash,
    generation: wanted.generation,
    paused: wanted.paused,
    pausedBy: wanted.pausedBy,
    attempts: wanted.attempts,
    nextAttemptAt: wanted.nextAttemptAt,
    lastError: wanted.lastError,
    conditions: wanted.conditions,
    labels: wanted.labels,
    annotations: wanted.annotations,
    version: wanted.version,
    generationAt: params.generationRaised ? now : before.tenant.generationAt,
    updatedAt: now,
  };
  const after = { tenant, revision: before.revision + 1 };
  tables.tenants.set(tenant.id, after);
  if (params.generationRaised) keepGeneration(database, tenant, actor);
  addTransition(database, {
    ...transition,
    tenantId: tenant.id,
    tenantName: tenant.name,
    generation: tenant.generation,
    actor: actor.name,
    requestId: actor.requestId,
    operationId: null,
    labels: tenant.labels,
  });
  database.tell({ tenantId: tenant.id, before, after, by: "client", caller, holder: null });
  return { kind: "written", tenant };
}

export function forceDelete(
  database: Database,
  { tenantId, revision, tombstoneTtlMs, transition, actor }: Parameters<TenantStore["forceDelete"]>[0],
  caller: string,
): "removed" | "outdated" {
  const { tables } = database;
  const before = tables.tenants.get(tenantId);
  if (before === undefined || before.revision !== revision || !tables.work.has(tenantId)) return "outdated";
  const { tenant } = before;
  const unfinished = unfinishedOf(tables, tenantId);
  if (unfinished !== null) {
    const finishedAt = new Date(database.nowMs());
    tables.operations.set(unfinished.record.id, {
      record: { ...unfinished.record, outcome: "abandoned", finishedAt },
      request: null,
    });
  }
  bury(database, { tombstoneTtlMs }, before);
  addTransition(database, {
    ...transition,
    tenantId,
    tenantName: tenant.name,
    generation: tenant.generation,
    actor: actor.name,
    requestId: actor.requestId,
    labels: tenant.labels,
  });
  database.tell({ tenantId, before, after: null, by: "client", caller, holder: null });
  return "removed";
}

export function listTenants({ tables }: Database, filter: TenantFilter): TenantPage {
  const selectors = filter.selectors ?? [];
  const found = [...tables.tenants.values()]
    .map(({ tenant }) => tenant)
    .filter(
      (tenant) =>
        (filter.statuses === null || filter.statuses.includes(tenant.status)) &&
        selectors.every((selector) => matchesSelector(selector, tenant.labels)) &&
        tenant.name.startsWith(filter.namePrefix ?? "") &&
        (filter.includeArchived || tenant.status !== "archived") &&
        (filter.workflowSubState === null || tenant.workflowSubState === filter.workflowSubState) &&
        (filter.hasWorkflowError === null || (tenant.lastError !== null) === filter.hasWorkflowError) &&
        (filter.minRetryCount === null || (tenant.workflowRetryCount ?? -1) >= filter.minRetryCount),
    )
    .sort(
      (one, other) => one.createdAt.getTime() - other.createdAt.getTime() || (one.id < other.id ? -1 : 1),
    );
  const { after = null } = filter;
  const rest = after === null ? found : found.filter((tenant) => isAfter(positionOf(tenant), after));
  const page = rest.slice(filter.offset, filter.offset + filter.limit);
  const isEnd = rest.length <= filter.offset + filter.limit;
  const last = page.at(-1);
  return {
    tenants: page,
    total: filter.isCounted === false ? null : found.length,
    next: isEnd || last === undefined ? null : positionOf(last),
  };
}

/** Of one length, so that the order of texts is the order of rows. */
function positionOf({ createdAt, id }: Tenant): string {
  return `${String(createdAt.getTime()).padStart(15, "0")}/${id}`;
}

function isAfter(one: string, other: string): boolean {
  return one > other;
}

interface Page {
  readonly idOrName: string;
  readonly scope?: Selector | null;
  readonly limit: number;
  readonly offset: number;
}

const UUID_PATTERN = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

export function listTransitions({ tables }: Database, page: Page): readonly Transition[] {
  const isId = UUID_PATTERN.test(page.idOrName);
  return [...tables.transitions.values()]
    .filter(({ tenantId, tenantName }) => (isId ? tenantId : tenantName) === page.idOrName)
    .filter(({ labels }) => matchesSelector(page.scope ?? [], labels))
    .sort((one, other) => other.id - one.id)
    .slice(page.offset, page.offset + page.limit);
}

export function listEvents(
  database: Database,
  page: { readonly from: number; readonly limit: number },
): readonly SequencedTransition[] {
  return sequenced(database)
    .filter(({ position }) => position >= page.from)
    .slice(0, page.limit);
}

export function newestEvent(database: Database): SequencedTransition | null {
  return sequenced(database).at(-1) ?? null;
}

function sequenced({ tables }: Database): readonly SequencedTransition[] {
  return [...tables.transitions.values()]
    .flatMap((row) => (row.position === null ? [] : [{ ...row, position: row.position }]))
    .sort((one, other) => one.position - other.position);
}

export function listOperations({ tables }: Database, page: Page): readonly OperationRecord[] {
  return [...tables.operations.values()]
    .map(({ record }) => record)
    .filter((record) => record.tenantId === page.idOrName || tenantNameOf(tables, record) === page.idOrName)
    .filter(({ tenantId }) => isInScope(tables, tenantId, page.scope ?? []))
    .reverse()
    .slice(page.offset, page.offset + page.limit);
}

/** Of the ledger the history tells whose it is. */
function isInScope(tables: Database["tables"], tenantId: string, scope: Selector): boolean {
  return [...tables.transitions.values()].some(
    (row) => row.tenantId === tenantId && matchesSelector(scope, row.labels),
  );
}

/** By the history: it survives the tenant. */
function tenantNameOf(tables: Database["tables"], { tenantId }: OperationRecord): string | null {
  for (const transition of tables.transitions.values()) {
    if (transition.tenantId === tenantId) return transition.tenantName;
  }
  return null;
}

export function recordProgress(
  database: Database,
  hint: { readonly executionId: string; readonly phase: string; readonly message: string },
): boolean {
  const { tables } = database;
  const row = [...tables.operations.values()].find(({ record }) => record.executionId === hint.executionId);
  if (row === undefined) return false;
  const operationId = row.record.id;
  const event = { at: new Date(database.nowMs()), phase: hint.phase, message: hint.message };
  tables.events.set(database.nextId(), { operationId, event });
  const own = [...tables.events].filter(([, each]) => each.operationId === operationId);
  for (const [id] of own.slice(0, Math.max(0, own.length - OPERATION_EVENTS_LIMIT))) tables.events.delete(id);
  return true;
}
