/**
 * One pass over one claimed tenant: gather facts, ask decide(), perform, commit behind the fence, until the lease is
 * given back. A pass holds no state that the next one needs; it may end at any line, and another server continues
 * from the rows.
 */
import {
  nameInScope,
  WORKFLOW_NAME,
  provisionRequestSchema,
  type ProvisionRequest,
} from "../contract/job.ts";
import { type decide, type Decision, type ExecutionFact } from "../domain/decide.ts";
import { LandlordError, messageOf } from "../domain/errors.ts";
import type { ErrorRecord, Operation, OperationKind, Tenant } from "../domain/tenant.ts";
import type { JsonObject } from "../domain/json.ts";
import type { Observation } from "../domain/observation.ts";
import { toJobReport } from "../workflow/job-report.ts";
import type { WorkflowManager } from "../workflow/manager.ts";
import { observe } from "../workflow/ask-compute.ts";
import { UnknownWorkflowProviderError } from "../workflow/registry.ts";
import {
  EngineRejectedError,
  EngineUnavailableError,
  NoWorkerError,
  QueryFailedError,
  type ExecutionRef,
  type WorkflowProvider,
  type WorkflowStatus,
} from "../workflow/provider.ts";
import { StoreUnavailableError, type Claim, type Commit, type CommitOutcome } from "../store/store.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { Completions } from "./completions.ts";
import {
  blockedCommit,
  finishCommit,
  invokedCommit,
  progressCommit,
  recordCommit,
  releaseCommit,
  removeCommit,
  repairCommit,
  settleCommit,
  startCommit,
  stopCommit,
  updateOf,
  emptyCommit,
  type Pass,
} from "./commits.ts";
import { buildProvisionRequest } from "./request.ts";
import type { Runtime } from "./runtime.ts";
import type { ReconcilerSettings } from "./settings.ts";

export interface ComputeEngineFacts {
  /** Hash of the engine configuration that workers should have. */
  readonly engineConfigHash: string;
  /** Jobs of a tenant that has compute somewhere must run in that scope. */
  readonly boundToScope: boolean;
}

export interface PassDependencies {
  readonly settings: ReconcilerSettings;
  readonly manager: WorkflowManager;
  readonly instanceId: string;
  /** What this server knows of a configured compute provider. */
  computeEngine(computeProvider: string): ComputeEngineFacts | null;
  readStatus(provider: WorkflowProvider, execution: ExecutionRef): Promise<WorkflowStatus>;
  commit(commit: Commit): Promise<CommitOutcome>;
  /** An operation failed for no fault of its tenant's: is its compute provider out of reach? */
  onComputeFailure(computeProvider: string): void;
  /** Answers whether the whole engine is taken to be down. */
  onEngineFailure(engine: string, error: EngineUnavailableError): Promise<boolean>;
  readonly completions: Completions;
  readonly decide: typeof decide;
  readonly runtime: Runtime;
  readonly logger: Logger;
}

/** A pass makes at most this many decisions; what is left is due at once. */
const DECISIONS_PER_PASS = 8;
/** Between two looks for a worker, and after a failure that is nobody's fault we know of. */
const BLOCKED_RETRY_MS = 2_000;
const UNEXPECTED_RETRY_MS = 15_000;

const UNREACHABLE: ExecutionFact = {
  state: "unreachable",
  subState: null,
  retryCount: 0,
  error: null,
  report: null,
};

/**
 * Brings one tenant a step further. Throws only when the store does not answer.
 *
 * @param observation a look at its compute that was taken for this claim, or null
 */
export async function reconcileTenant(
  claim: Claim,
  dependencies: PassDependencies,
  observation: Observation | null = null,
): Promise<void> {
  const { runtime } = dependencies;
  const startedMs = runtime.monotonicMs();
  let pass: Pass = {
    claim: {
      tenantId: claim.tenantId,
      leaseOwner: claim.leaseOwner,
      leaseToken: claim.leaseToken,
      wakeSeq: claim.wakeSeq,
    },
    tenant: claim.stored.tenant,
    revision: claim.stored.revision,
    operation: claim.operation,
    now: claim.now,
    jitter: 0,
  };
  let request = claim.request;
  for (let count = 0; count < DECISIONS_PER_PASS; count++) {
    // The database's clock, carried forward by our own: never the wall clock of this machine.
    const now = new Date(claim.now.getTime() + runtime.monotonicMs() - startedMs);
    pass = { ...pass, now, jitter: runtime.random() };
    // A look is as old as the claim: after a commit it says nothing any more.
    const look = count === 0 ? observation : null;
    const next = await takeDecision(pass, request, look, dependencies);
    if (next === null) return;
    pass = next.pass;
    request = next.request;
  }
  await dependencies.commit(releaseCommit(pass, pass.now));
}

interface Continuation {
  readonly pass: Pass;
  readonly request: JsonObject | null;
}

/** Null when the lease was given back or lost. */
async function takeDecision(
  pass: Pass,
  request: JsonObject | null,
  observation: Observation | null,
  dependencies: PassDependencies,
): Promise<Continuation | null> {
  try {
    const execution = await gatherExecution(pass, dependencies);
    const decision = dependencies.decide(
      {
        tenant: pass.tenant,
        operation: pass.operation,
        execution,
        observation,
        now: pass.now,
        jitter: pass.jitter,
      },
      dependencies.settings,
    );
    dependencies.logger.debug(
      { tenant_id: pass.tenant.id, execution_id: pass.operation?.executionId, decision: decision.kind },
      "decided",
    );
    return await perform(decision, pass, request, { isLooked: observation !== null }, dependencies);
  } catch (error) {
    await giveBack(error, pass, dependencies);
    return null;
  }
}

/** A pass that cannot go on gives its tenant back with the reason, and costs it no attempt. */
async function giveBack(error: unknown, pass: Pass, dependencies: PassDependencies): Promise<void> {
  const { settings, logger } = dependencies;
  // Without the store nothing can be given back: the lease runs out.
  if (error instanceof StoreUnavailableError) throw error;
  const isEngine = error instanceof EngineUnavailableError;
  const engine = pass.operation?.workflowProvider ?? dependencies.manager.defaultProvider;
  if (isEngine && (await dependencies.onEngineFailure(engine, error))) {
    // The breaker says it once for all tenants.
    await dependencies.commit(releaseCommit(pass, after(pass.now, settings.statusPollMs)));
    return;
  }
  const isExpected =
    isEngine ||
    error instanceof NoWorkerError ||
    error instanceof EngineRejectedError ||
    error instanceof QueryFailedError ||
    error instanceof UnknownWorkflowProviderError;
  if (!isExpected) {
    const stack = error instanceof Error ? error.stack : undefined;
    logger.error({ tenant_id: pass.tenant.id, error: messageOf(error), stack }, "pass failed");
  }
  const reason = isExpected
    ? withScope({ code: error.code, message: error.message }, pass)
    : {
        code: "internal",
        message: "Landlord could not work on this tenant; the server's log has the reason.",
      };
  const isPassing = isEngine || error instanceof NoWorkerError;
  const dueAt = after(pass.now, isPassing ? BLOCKED_RETRY_MS : UNEXPECTED_RETRY_MS);
  await dependencies.commit(blockedCommit(pass, reason, dueAt, settings));
}

async function perform(
  decision: Decision,
  pass: Pass,
  request: JsonObject | null,
  look: { readonly isLooked: boolean },
  dependencies: PassDependencies,
): Promise<Continuation | null> {
  const { settings } = dependencies;
  switch (decision.kind) {
    case "settle":
      await dependencies.commit(settleCommit(pass, look, settings));
      return null;
    case "record":
      await dependencies.commit(recordCommit(pass, decision, settings));
      return null;
    case "repair":
      await dependencies.commit(repairCommit(pass, decision, settings));
      return null;
    case "wait":
      await dependencies.commit(
        progressCommit(pass, pass.operation, decision.progress, decision.dueAt, settings),
      );
      return null;
    case "start":
      return start(pass, decision, dependencies);
    case "invoke":
      return invokeAndListen(pass, existing(pass), request, dependencies);
    case "stop":
      return stop(pass, existing(pass), decision, dependencies);
    case "finish": {
      if (decision.outcome === "failed") dependencies.onComputeFailure(pass.tenant.computeProvider);
      const commit = finishCommit(pass, existing(pass), decision, settings);
      if ((await dependencies.commit(commit)) !== "committed" || commit.release !== null) return null;
      return { pass: { ...carried(pass, commit.tenant), operation: null }, request: null };
    }
    case "remove":
      await dependencies.commit(removeCommit(pass, existing(pass), settings));
      return null;
  }
}

/** Intent before effect: the row with the execution's id is committed here, the engine hears of it in the next decision. */
async function start(
  pass: Pass,
  decision: Extract<Decision, { kind: "start" }>,
  dependencies: PassDependencies,
): Promise<Continuation | null> {
  const { settings, manager } = dependencies;
  const provider = manager.provider(settings.workflowProvider);
  const computeEngine = dependencies.computeEngine(pass.tenant.computeProvider);
  const scope =
    computeEngine?.boundToScope === true
      ? await placeOf(pass, decision.operation, provider, dependencies)
      : null;
  const { observed } = pass.tenant;
  const scopes =
    scope === null || observed.scopes.includes(scope) ? observed.scopes : [...observed.scopes, scope];
  const tenant = { ...pass.tenant, observed: { ...observed, scopes } };
  const operation: Operation = {
    id: dependencies.runtime.newId(),
    tenantId: pass.tenant.id,
    kind: decision.operation,
    generation: pass.tenant.generation,
    configHash: pass.tenant.configHash,
    executionId: dependencies.runtime.newId(),
    executionHandle: null,
    workflowProvider: provider.name,
    workflowName: nameInScope(WORKFLOW_NAME, scope),
    startBefore: after(pass.now, settings.startTimeoutMs),
    invokedAt: null,
    stopPhase: null,
    stopRequestedAt: null,
    stopReason: null,
    subState: null,
    retryCount: 0,
    createdAt: pass.now,
  };
  const request = buildProvisionRequest(tenant, operation, {
    instanceId: dependencies.instanceId,
    apiBaseUrl: settings.apiBaseUrl,
    engineConfigHash: computeEngine?.engineConfigHash ?? null,
  }) as unknown as JsonObject;
  const commit = startCommit(pass, { operation, request }, { status: decision.status, scopes }, settings);
  if ((await dependencies.commit(commit)) !== "committed") return null;
  return { pass: { ...carried(pass, commit.tenant), operation }, request };
}

/**
 * Where the tenant's compute is, or is going to be. To be placed is an effect, too: the place is in the ledger before a job
 * runs there, because a job that is killed or stopped could not tell any more where it began.
 */
async function placeOf(
  { tenant }: Pass,
  kind: OperationKind,
  provider: WorkflowProvider,
  { instanceId, runtime, settings }: PassDependencies,
): Promise<string | null> {
  const [known] = tenant.observed.scopes;
  if (known !== undefined) return known;
  // Nothing ever began, or its absence was proven: any worker can say so.
  if (kind === "delete") return null;
  const [seen] = await observe(provider, {
    computeProvider: tenant.computeProvider,
    instanceId,
    // Whoever answers is where it will be.
    scope: null,
    tenants: [{ tenantId: tenant.id, scopes: [] }],
    signal: runtime.timeout(settings.effectTimeoutMs),
  });
  if (seen === undefined) throw new NoWorkerError("No worker said where it is.");
  return seen.scope;
}

/**
 * A short job ends while the pass still holds its tenant, and is finished in the same pass: that it was invoked is then
 * committed together with what came of it. Whoever takes over before that invokes it again, which changes nothing.
 */
async function invokeAndListen(
  pass: Pass,
  operation: Operation,
  request: JsonObject | null,
  dependencies: PassDependencies,
): Promise<Continuation | null> {
  const { settings, manager } = dependencies;
  const provider = manager.provider(operation.workflowProvider);
  const parsed: ProvisionRequest = provisionRequestSchema.parse(request);
  const execution = await provider.invoke({
    workflowName: operation.workflowName,
    request: parsed,
    signal: dependencies.runtime.timeout(settings.effectTimeoutMs),
  });
  dependencies.completions.watch(provider, pass.tenant.id, {
    ...execution,
    workflowName: operation.workflowName,
  });
  if (await dependencies.completions.soon(operation.executionId, settings.completionWaitMs)) {
    const invoked = { ...operation, executionHandle: execution.handle, invokedAt: pass.now };
    return { pass: { ...pass, operation: invoked }, request };
  }
  const dueAt = after(pass.now, settings.statusPollMs);
  await dependencies.commit(invokedCommit(pass, operation, execution.handle, dueAt, settings));
  return null;
}

/** The phase is committed first; the call may then be repeated by anyone who reads it. */
async function stop(
  pass: Pass,
  operation: Operation,
  decision: Extract<Decision, { kind: "stop" }>,
  dependencies: PassDependencies,
): Promise<null> {
  const { settings, manager } = dependencies;
  const isRepeated = operation.stopPhase === decision.phase;
  const intent = stopCommit(pass, operation, decision);
  if ((await dependencies.commit(intent)) !== "committed") return null;
  const stopped = await manager.provider(operation.workflowProvider).stop({
    execution: refOf(operation),
    reason: decision.reason,
    force: decision.phase === "kill",
    signal: dependencies.runtime.timeout(settings.effectTimeoutMs),
  });
  await dependencies.commit({
    ...emptyCommit(pass),
    operationUpdate: {
      ...updateOf(operation),
      stopPhase: decision.phase,
      stopReason: decision.reason,
      executionHandle: stopped.handle,
      // From here on the engine has an execution under this id: ours, or the void one.
      invoked: true,
    },
    // A cancelled execution usually ends within milliseconds.
    release: {
      dueInMs: isRepeated ? settings.statusPollMs : Math.min(50, settings.statusPollMs),
      resyncInMs: null,
    },
  });
  return null;
}

async function gatherExecution(pass: Pass, dependencies: PassDependencies): Promise<ExecutionFact | null> {
  const { operation } = pass;
  if (operation === null || (operation.invokedAt === null && operation.stopPhase === null)) return null;
  const heard = dependencies.completions.take(operation.executionId);
  if (heard !== null) return factOf(heard, pass);
  const provider = dependencies.manager.provider(operation.workflowProvider);
  try {
    return factOf(await dependencies.readStatus(provider, refOf(operation)), pass);
  } catch (error) {
    // A healthy engine that refuses this one question is a reason for this tenant to tell.
    if (
      !(error instanceof EngineUnavailableError) ||
      !(await dependencies.onEngineFailure(provider.name, error))
    )
      throw error;
    dependencies.logger.debug(
      { tenant_id: pass.tenant.id, error: messageOf(error) },
      "execution status unknown",
    );
    return UNREACHABLE;
  }
}

function factOf(status: WorkflowStatus, pass: Pass): ExecutionFact {
  return {
    state: status.state,
    subState: status.subState,
    retryCount: status.retryCount,
    error: status.state === "running" && status.error !== null ? withScope(status.error, pass) : status.error,
    report: status.output === null ? null : toJobReport(status.output),
  };
}

/** A job that is bound to a scope may fail only because nobody there takes it: whoever reads this knows where to look. */
function withScope(error: ErrorRecord, { operation, tenant }: Pass): ErrorRecord {
  const [scope] = tenant.observed.scopes;
  if (operation === null || operation.workflowName === WORKFLOW_NAME || scope === undefined) return error;
  return {
    ...error,
    message: `${error.message} The tenant's compute is in ${scope}: only a worker there can take this job.`,
  };
}

function refOf(operation: Operation): ExecutionRef {
  return {
    executionId: operation.executionId,
    handle: operation.executionHandle,
    workflowName: operation.workflowName,
  };
}

function existing(pass: Pass): Operation {
  if (pass.operation === null)
    throw new LandlordError("no_operation", "A decision about an operation needs one.");
  return pass.operation;
}

function carried(pass: Pass, tenant: Tenant | null): Pass {
  return tenant === null ? pass : { ...pass, tenant, revision: pass.revision + 1 };
}

function after(time: Date, durationMs: number): Date {
  return new Date(time.getTime() + durationMs);
}
