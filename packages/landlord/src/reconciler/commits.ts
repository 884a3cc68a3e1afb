/** Decisions as fenced writes: pure functions from what was claimed and decided to what is committed. */
import { deriveConditions } from "../domain/conditions.ts";
import type { Decision, ExecutionFact } from "../domain/decide.ts";
import { isAllowedTransition, isSettled } from "../domain/status.ts";
import { LandlordError } from "../domain/errors.ts";
import type { Operation, Tenant } from "../domain/tenant.ts";
import type { Claim, Commit, NewOperation, NewTransition, OperationUpdate } from "../store/store.ts";
import type { ReconcilerSettings } from "./settings.ts";

/** What a pass knows: the claim, brought forward by its own commits. */
export interface Pass {
  readonly claim: Pick<Claim, "tenantId" | "leaseOwner" | "leaseToken" | "wakeSeq">;
  readonly tenant: Tenant;
  readonly revision: number;
  readonly operation: Operation | null;
  readonly now: Date;
  /** Uniform in [0, 1), fresh for each decision. */
  readonly jitter: number;
}

/** Between the look that found compute unhealthy and the one that decides whether it stays so. */
const CONFIRM_DRIFT_MS = 10_000;

/** What an engine needs to accept a job, when all is well. */
const INVOKE_ALLOWANCE_MS = 2_000;

type FinishDecision = Extract<Decision, { kind: "finish" }>;

/** A commit that changes nothing; the starting point of every other. */
export function emptyCommit(pass: Pass): Commit {
  return {
    // Field by field: V8 takes ten microseconds for what begins with a spread, and there is one for every look.
    tenantId: pass.claim.tenantId,
    leaseOwner: pass.claim.leaseOwner,
    leaseToken: pass.claim.leaseToken,
    wakeSeq: pass.claim.wakeSeq,
    revision: pass.revision,
    tenant: null,
    newOperation: null,
    operationUpdate: null,
    transition: null,
    generationRaised: false,
    restart: null,
    remove: null,
    leaseMs: null,
    release: null,
  };
}

/** Gives back a tenant that waits for nobody; unless it is paused half way, its compute is looked at now and then. */
export function settleCommit(
  pass: Pass,
  { isLooked }: { readonly isLooked: boolean },
  settings: ReconcilerSettings,
): Commit {
  const release = { ...settledRelease(pass, pass.tenant, settings), keepsEarlierLook: !isLooked };
  return { ...emptyCommit(pass), release };
}

/** Notes what was seen of a settled tenant's compute. */
export function recordCommit(
  pass: Pass,
  decision: Extract<Decision, { kind: "record" }>,
  settings: ReconcilerSettings,
): Commit {
  const release = decision.isConfirmedSoon
    ? { dueInMs: null, resyncInMs: Math.min(settings.resyncIntervalMs, CONFIRM_DRIFT_MS) }
    : settledRelease(pass, pass.tenant, settings);
  const next = { observed: decision.observed, statusMessage: decision.message };
  return withTenant({ ...emptyCommit(pass), release }, pass, next, null, settings);
}

/** Unsettles a tenant whose compute drifted. It is due at once, in the lane whose starts are bounded. */
export function repairCommit(
  pass: Pass,
  { change }: Extract<Decision, { kind: "repair" }>,
  settings: ReconcilerSettings,
): Commit {
  return withTenant(
    {
      ...emptyCommit(pass),
      generationRaised: change.generation !== pass.tenant.generation,
      restart: { lane: "repair" },
      release: { dueInMs: 0, resyncInMs: null },
    },
    pass,
    {
      status: change.status,
      statusMessage: change.message,
      generation: change.generation,
      observed: change.observed,
      attempts: change.attempts,
      nextAttemptAt: change.nextAttemptAt,
      lastError: change.lastError,
    },
    { reason: change.reason, message: change.message, operationId: null },
    settings,
  );
}

export function releaseCommit(pass: Pass, dueAt: Date | null): Commit {
  return { ...emptyCommit(pass), release: releaseAt(pass, dueAt) };
}

export function startCommit(
  pass: Pass,
  newOperation: NewOperation,
  { status, scopes }: { readonly status: Tenant["status"]; readonly scopes: readonly string[] },
  settings: ReconcilerSettings,
): Commit {
  const { operation } = newOperation;
  return withTenant(
    emptyCommit(pass),
    pass,
    {
      status,
      observed: { ...pass.tenant.observed, scopes },
      workflowExecutionId: operation.executionId,
      workflowSubState: "running",
      workflowRetryCount: 0,
      nextAttemptAt: null,
    },
    { reason: "operation_started", message: "", operationId: operation.id },
    settings,
    // A server that dies while it listens for the job's end keeps the tenant from the others for no longer than it must.
    { newOperation, leaseMs: settings.completionWaitMs + INVOKE_ALLOWANCE_MS },
  );
}

/** The engine answered: its handle is kept, and the next look is when the execution may have ended. */
export function invokedCommit(
  pass: Pass,
  operation: Operation,
  handle: string,
  dueAt: Date,
  settings: ReconcilerSettings,
): Commit {
  const base = {
    ...emptyCommit(pass),
    operationUpdate: { ...updateOf(operation), invoked: true, executionHandle: handle },
    release: releaseAt(pass, dueAt),
  };
  // What the tenant waited for is there; nothing else is known to have changed.
  return isBlocked(pass.tenant)
    ? withTenant(base, pass, { lastError: null, statusMessage: "" }, null, settings)
    : base;
}

export function stopCommit(
  pass: Pass,
  operation: Operation,
  decision: Extract<Decision, { kind: "stop" }>,
): Commit {
  return {
    ...emptyCommit(pass),
    operationUpdate: { ...updateOf(operation), stopPhase: decision.phase, stopReason: decision.reason },
  };
}

/** Records the engine's view if it changed, and gives the tenant back. */
export function progressCommit(
  pass: Pass,
  operation: Operation | null,
  progress: ExecutionFact | null,
  dueAt: Date,
  settings: ReconcilerSettings,
): Commit {
  const released = releaseCommit(pass, dueAt);
  if (operation === null || progress === null) return refreshed(released, pass, settings);
  const { tenant } = pass;
  const wasBlocked = isBlocked(tenant);
  const unchanged =
    !wasBlocked &&
    tenant.workflowSubState === progress.subState &&
    tenant.workflowRetryCount === progress.retryCount &&
    (progress.error === null || tenant.lastError?.message === progress.error.message);
  if (unchanged) return refreshed(released, pass, settings);
  const retrying = progress.subState === "backing-off" && progress.error !== null;
  return withTenant(
    {
      ...released,
      operationUpdate: {
        ...updateOf(operation),
        subState: progress.subState,
        retryCount: progress.retryCount,
        error: progress.error,
      },
    },
    pass,
    {
      workflowSubState: progress.subState,
      workflowRetryCount: progress.retryCount,
      lastError: progress.error ?? (wasBlocked ? null : tenant.lastError),
      statusMessage: retrying
        ? `Retrying: ${progress.error?.message ?? ""}`
        : wasBlocked
          ? ""
          : tenant.statusMessage,
    },
    null,
    settings,
  );
}

/** Writes conditions that time alone has changed, such as Stalled. */
function refreshed(commit: Commit, pass: Pass, settings: ReconcilerSettings): Commit {
  const conditions = deriveConditions(pass.tenant, pass.now, settings);
  const moved = conditions.some(
    (condition) =>
      pass.tenant.conditions.find((previous) => previous.type === condition.type)?.status !==
      condition.status,
  );
  return moved ? withTenant(commit, pass, {}, null, settings) : commit;
}

export function finishCommit(
  pass: Pass,
  operation: Operation,
  decision: FinishDecision,
  settings: ReconcilerSettings,
): Commit {
  const { change } = decision;
  const next: Partial<Tenant> = {
    status: change.status,
    statusMessage: change.message,
    generation: change.generation,
    observedGeneration: change.observedGeneration,
    observed: change.observed,
    attempts: change.attempts,
    nextAttemptAt: change.nextAttemptAt,
    lastError: change.lastError,
    workflowSubState: decision.outcome === "succeeded" ? "succeeded" : "failed",
  };
  const committed = withTenant(
    {
      ...emptyCommit(pass),
      generationRaised: change.generation !== pass.tenant.generation,
      operationUpdate: { ...updateOf(operation), outcome: decision.outcome, error: decision.error },
    },
    pass,
    next,
    { reason: change.reason, message: change.message, operationId: operation.id },
    settings,
  );
  const after = { ...pass.tenant, ...next };
  const settled = isSettled(after) && after.intent !== "deleted";
  return settled ? { ...committed, release: settledRelease(pass, after, settings) } : committed;
}

export function removeCommit(pass: Pass, operation: Operation, settings: ReconcilerSettings): Commit {
  return {
    ...emptyCommit(pass),
    operationUpdate: { ...updateOf(operation), outcome: "succeeded" },
    remove: { tombstoneTtlMs: settings.tombstoneRetentionMs },
    transition: {
      fromStatus: pass.tenant.status,
      toStatus: null,
      reason: "deleted",
      message: "",
      generation: pass.tenant.generation,
      operationId: operation.id,
    },
    release: { dueInMs: null, resyncInMs: null },
  };
}

/** Why the tenant waits although nothing failed: kept for people, costs no attempt. */
export function blockedCommit(
  pass: Pass,
  error: NonNullable<Tenant["lastError"]>,
  dueAt: Date,
  settings: ReconcilerSettings,
): Commit {
  const released = releaseCommit(pass, dueAt);
  if (pass.tenant.lastError?.code === error.code) return refreshed(released, pass, settings);
  return withTenant(released, pass, { lastError: error, statusMessage: error.message }, null, settings);
}

/** The last error is one that blockedCommit left: nothing failed, something was out of reach. */
function isBlocked({ lastError }: Tenant): boolean {
  return lastError !== null && /^(no_worker|internal|engine_[a-z_]+)$/.test(lastError.code);
}

export function updateOf(operation: Operation): OperationUpdate {
  return {
    id: operation.id,
    executionHandle: operation.executionHandle,
    invoked: operation.invokedAt !== null,
    stopPhase: operation.stopPhase,
    stopReason: operation.stopReason,
    subState: operation.subState,
    retryCount: operation.retryCount,
    error: null,
    outcome: null,
  };
}

function withTenant(
  commit: Commit,
  pass: Pass,
  change: Partial<Tenant>,
  moved: Pick<NewTransition, "reason" | "message" | "operationId"> | null,
  settings: ReconcilerSettings,
  extra: Partial<Commit> = {},
): Commit {
  const changed: Tenant = { ...pass.tenant, ...change };
  if (!isAllowedTransition(pass.tenant.status, changed.status)) {
    throw new LandlordError(
      "invalid_transition",
      `A tenant cannot go from ${pass.tenant.status} to ${changed.status}; this is a bug in Landlord.`,
    );
  }
  const tenant: Tenant = { ...changed, conditions: deriveConditions(changed, pass.now, settings) };
  const visible = pass.tenant.status !== tenant.status || pass.tenant.generation !== tenant.generation;
  const transition: NewTransition | null =
    moved === null || !visible
      ? null
      : { ...moved, fromStatus: pass.tenant.status, toStatus: tenant.status, generation: tenant.generation };
  return { ...commit, ...extra, tenant, transition };
}

function releaseAt(pass: Pass, dueAt: Date | null): NonNullable<Commit["release"]> {
  return {
    dueInMs: dueAt === null ? null : Math.max(0, dueAt.getTime() - pass.now.getTime()),
    resyncInMs: null,
  };
}

/** Spread out, so that tenants that settled together are not looked at together for ever. */
function settledRelease(
  pass: Pass,
  tenant: Tenant,
  settings: ReconcilerSettings,
): NonNullable<Commit["release"]> {
  const resyncInMs = isSettled(tenant) ? settings.resyncIntervalMs * (0.8 + 0.4 * pass.jitter) : null;
  return { dueInMs: null, resyncInMs };
}
