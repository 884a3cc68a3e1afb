/** Tenants, operations and commits as behaviours of a store need them. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import type { Lane, Tenant } from "../../domain/tenant.ts";
import type {
  Claim,
  ClaimLimits,
  Commit,
  NewOperation,
  NewTenant,
  NewTransition,
  OperationUpdate,
  StartLimits,
  Store,
  StoredTenant,
  Transition,
  WriteOutcome,
} from "../../store/store.ts";

export const ACTOR = { name: "anonymous", requestId: "req-1" } as const;
const LONG_LEASE_MS = 60_000;
/** No bound that a behaviour would meet. */
export const UNBOUNDED: StartLimits = {
  maxInFlight: 10_000,
  repairsInFlight: 10_000,
  patienceMs: 3_600_000,
  byComputeProvider: {},
  blockedComputeProviders: [],
};
export const ALL_LANES: ClaimLimits = { interactive: 100, repair: 100, background: 100 };

export function newTenant(change: Partial<Tenant> = {}): NewTenant {
  const id = randomUUID();
  return {
    id,
    name: `n-${id.slice(0, 13)}`,
    status: "requested",
    statusMessage: "",
    intent: "present",
    computeProvider: "mock",
    desiredConfig: { size: 1 },
    configHash: "hash-1",
    generation: 1,
    observedGeneration: 0,
    observed: { config: null, resourceIds: {}, endpoints: [], health: "unknown", scopes: [] },
    paused: false,
    pausedBy: null,
    attempts: 0,
    nextAttemptAt: null,
    lastError: null,
    workflowExecutionId: null,
    workflowSubState: null,
    workflowRetryCount: null,
    conditions: [],
    labels: {},
    annotations: {},
    version: 1,
    ...change,
  };
}

export async function created(
  store: Store,
  change: Partial<Tenant> = {},
  lane: Lane = "interactive",
): Promise<Tenant> {
  const tenant = newTenant(change);
  const outcome = await store.createTenant({ tenant, actor: ACTOR, lane, idempotency: null });
  assert.ok(outcome.kind === "created", `a tenant is created, and not ${outcome.kind}`);
  return outcome.tenant;
}

export const create = (
  store: Store,
  tenant: NewTenant,
  idempotency: { readonly key: string; readonly requestHash: string; readonly ttlMs: number } | null = null,
): ReturnType<Store["createTenant"]> =>
  store.createTenant({ tenant, actor: ACTOR, lane: "interactive", idempotency });

export async function stored(store: Store, idOrName: string): Promise<StoredTenant> {
  const found = await store.getTenant({ idOrName });
  assert.ok(found !== null, `tenant ${idOrName} is there`);
  return found;
}

/** A client's change of the config, by compare-and-set on what was read. */
export function clientWrite(
  store: Store,
  read: StoredTenant,
  change: Partial<Tenant> = {},
): Promise<WriteOutcome> {
  const { tenant } = read;
  const next: Tenant = {
    ...tenant,
    generation: tenant.generation + 1,
    version: tenant.version + 1,
    status: "updating",
    ...change,
  };
  return store.writeTenant({
    tenant: next,
    revision: read.revision,
    generationRaised: next.generation !== tenant.generation,
    transition: {
      fromStatus: tenant.status,
      toStatus: next.status,
      reason: "changed",
      message: "",
      generation: next.generation,
      operationId: null,
    },
    actor: ACTOR,
    lane: "interactive",
  });
}

export const claim = (
  store: Store,
  leaseOwner = "a",
  limits = ALL_LANES,
  leaseDurationMs = LONG_LEASE_MS,
  starts = UNBOUNDED,
): Promise<readonly Claim[]> => store.claimDue({ leaseOwner, leaseDurationMs, limits, starts });

export async function claimOne(
  store: Store,
  leaseOwner = "a",
  leaseDurationMs = LONG_LEASE_MS,
): Promise<Claim> {
  const claims = await claim(store, leaseOwner, ALL_LANES, leaseDurationMs);
  assert.equal(claims.length, 1, "one tenant is due");
  return claims[0] as Claim;
}

export function commitOf(from: Claim, change: Partial<Commit> = {}): Commit {
  return {
    tenantId: from.tenantId,
    leaseOwner: from.leaseOwner,
    leaseToken: from.leaseToken,
    wakeSeq: from.wakeSeq,
    revision: from.stored.revision,
    tenant: null,
    newOperation: null,
    operationUpdate: null,
    transition: null,
    generationRaised: false,
    restart: null,
    remove: null,
    leaseMs: null,
    release: null,
    ...change,
  };
}

export function newOperation(from: Claim): NewOperation {
  const operation = {
    id: randomUUID(),
    tenantId: from.tenantId,
    kind: "create",
    generation: from.stored.tenant.generation,
    configHash: from.stored.tenant.configHash,
    executionId: randomUUID(),
    executionHandle: null,
    workflowProvider: "mock",
    workflowName: "LandlordTenantV1",
    startBefore: new Date(from.now.getTime() + 60_000),
    invokedAt: null,
    stopPhase: null,
    stopRequestedAt: null,
    stopReason: null,
    subState: null,
    retryCount: 0,
    createdAt: from.now,
  } as const;
  return { operation, request: { payload: from.tenantId } };
}

export function updateOf(opening: NewOperation, change: Partial<OperationUpdate> = {}): OperationUpdate {
  return {
    id: opening.operation.id,
    executionHandle: null,
    invoked: false,
    stopPhase: null,
    stopReason: null,
    subState: null,
    retryCount: 0,
    error: null,
    outcome: null,
    ...change,
  };
}

export const transitionTo = (from: Claim, toStatus: Tenant["status"] | null): NewTransition => ({
  fromStatus: from.stored.tenant.status,
  toStatus,
  reason: "conformance",
  message: "",
  generation: from.stored.tenant.generation,
  operationId: null,
});

/** A commit that touches everything that a commit can. */
export function everything(from: Claim): Commit {
  return commitOf(from, {
    tenant: { ...from.stored.tenant, status: "provisioning", statusMessage: "by a commit" },
    newOperation: newOperation(from),
    transition: transitionTo(from, "provisioning"),
    release: { dueInMs: null, resyncInMs: null },
  });
}

export const historyOf = (store: Store, idOrName: string): Promise<readonly Transition[]> =>
  store.listTransitions({ idOrName, limit: 100, offset: 0 });

/** All that clients can see of a tenant, to compare before and after. */
export async function visible(store: Store, idOrName: string): Promise<unknown> {
  return {
    stored: await store.getTenant({ idOrName }),
    history: await historyOf(store, idOrName),
    operations: await store.listOperations({ idOrName, limit: 100, offset: 0 }),
  };
}
