/** Clients' statements, as store/postgres/tenant-store.ts has them. Each happens whole. */
import type { Tenant } from "../packages/landlord/src/domain/tenant.ts";
import type {
  CreateOutcome,
  CreateTenant,
  OperationRecord,
  TenantFilter,
  Transition,
  WriteOutcome,
  WriteTenant,
} from "../packages/landlord/src/store/store.ts";
import { addTransition, findTenant, type Database } from "./database.ts";

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
  const { tenant: wanted, transition, actor } = params;
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
      dueMs: Math.min(work.dueMs ?? now.getTime(), now.getTime()),
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

export function listTenants(
  { tables }: Database,
  filter: TenantFilter,
): { readonly tenants: readonly Tenant[]; readonly total: number } {
  const found = [...tables.tenants.values()]
    .map(({ tenant }) => tenant)
    .filter(
      (tenant) =>
        (filter.statuses === null || filter.statuses.includes(tenant.status)) &&
        (filter.includeArchived || tenant.status !== "archived") &&
        (filter.workflowSubState === null || tenant.workflowSubState === filter.workflowSubState) &&
        (filter.hasWorkflowError === null || (tenant.lastError !== null) === filter.hasWorkflowError) &&
        (filter.minRetryCount === null || (tenant.workflowRetryCount ?? -1) >= filter.minRetryCount),
    )
    .sort(
      (one, other) => one.createdAt.getTime() - other.createdAt.getTime() || (one.id < other.id ? -1 : 1),
    );
  return { tenants: found.slice(filter.offset, filter.offset + filter.limit), total: found.length };
}

interface Page {
  readonly idOrName: string;
  readonly limit: number;
  readonly offset: number;
}

const UUID_PATTERN = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

export function listTransitions({ tables }: Database, page: Page): readonly Transition[] {
  const isId = UUID_PATTERN.test(page.idOrName);
  return [...tables.transitions.values()]
    .filter(({ tenantId, tenantName }) => (isId ? tenantId : tenantName) === page.idOrName)
    .sort((one, other) => other.id - one.id)
    .slice(page.offset, page.offset + page.limit);
}

export function listOperations({ tables }: Database, page: Page): readonly OperationRecord[] {
  return [...tables.operations.values()]
    .map(({ record }) => record)
    .filter((record) => record.tenantId === page.idOrName || tenantNameOf(tables, record) === page.idOrName)
    .reverse()
    .slice(page.offset, page.offset + page.limit);
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
