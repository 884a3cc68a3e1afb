/**
 * The job: what one execution does, on every engine.
 *
 *   create, update   apply → await healthy
 *   delete           destroy → await absent, seen twice
 *
 * It would be correct even if no step were remembered: apply and destroy are idempotent and fenced by the generation,
 * so a job that is run twice, resumed by another worker or overtaken by a newer one changes nothing that it should
 * not. Steps are remembered so that a resumed job does not repeat slow work. Failures that repeating cannot mend
 * come back as values; all others are thrown inside a step, where the engine retries them.
 */
import type { JobResult, ProvisionRequest } from "../contract/job.ts";
import { JOB_RESULT_LIMIT_BYTES } from "../contract/job.ts";
import {
  ComputeError,
  type ComputeProvider,
  type ComputeRef,
  type ComputeSpec,
  type Observation,
} from "../compute/provider.ts";
import type { JsonObject } from "../domain/json.ts";
import { isJsonObject } from "../domain/json.ts";
import type { DurableSteps } from "./steps.ts";

export interface JobDependencies {
  /** The provider that the request names, with the engine configuration that is valid now. */
  resolveCompute(request: ProvisionRequest, signal: AbortSignal): Promise<ComputeProvider>;
  /** A hint for people; never waited for, never fails. */
  reportProgress(request: ProvisionRequest, phase: string, message: string): void;
  /** Between the two observations that prove absence. */
  readonly absenceSettleMs: number;
  /** The worker's clock; compared with `start_before`, which has minutes of tolerance. */
  now(): number;
}

const FIRST_WAIT_MS = 100;
const WAIT_GROWTH = 1.5;
const LONGEST_WAIT_MS = 30_000;
const DEFAULT_DEADLINE_MS = 60_000;
/** Characters of a message that travel with a result or stay in the journal. */
const MESSAGE_LIMIT = 4_000;
/** Keeps the journal short whatever the deadline: a wait is at least this part of it. */
const WAITS_PER_DEADLINE = 60;

type Outcome =
  | { readonly kind: "done"; readonly observation: Observation }
  | { readonly kind: "pending"; readonly counts: boolean; readonly message: string }
  | { readonly kind: "stale"; readonly generation: number }
  | { readonly kind: "rejected"; readonly code: string; readonly message: string };

/** What a step remembers: small, because every wait adds one to the journal. */
type StepOutcome = Outcome & {
  /** Where compute was worked on, whatever came of it: a failure, too, may have left something there. */
  readonly scope: string;
};

/** Runs one operation to its end. Never throws for reasons that lie in the request; those are results. */
export async function runJob(
  request: ProvisionRequest,
  steps: DurableSteps,
  dependencies: JobDependencies,
): Promise<JobResult> {
  // Remembered: a job that began in time and is resumed late goes on.
  const begunInTime = await steps.run("begin", () =>
    Promise.resolve(dependencies.now() < Date.parse(request.start_before)),
  );
  if (!begunInTime) return resultOf(request, { outcome: "expired" });
  dependencies.reportProgress(request, "started", `${request.operation} of generation ${request.generation}`);
  const result =
    request.operation === "delete"
      ? await removeCompute(request, steps, dependencies)
      : await convergeCompute(request, steps, dependencies);
  dependencies.reportProgress(request, result.outcome, result.error?.message ?? "");
  return result;
}

async function convergeCompute(
  request: ProvisionRequest,
  steps: DurableSteps,
  dependencies: JobDependencies,
): Promise<JobResult> {
  const spec = specOf(request);
  return repeatUntilDone(
    request,
    steps,
    dependencies,
    "apply",
    "health_deadline",
    async (compute, name, signal) => {
      const applied = await compute.apply(spec, {
        idempotencyKey: steps.idempotencyKey(name),
        signal,
        onProgress: (message) => dependencies.reportProgress(request, "applying", clipped(message)),
      });
      if (applied.kind === "stale") return applied;
      const { observation } = applied;
      if (isReached(spec, observation)) return { kind: "done", observation };
      return {
        kind: "pending",
        // What could not be observed is not known to be unhealthy, and does not use up the deadline.
        counts: observation.presence !== "unknown" && observation.health !== "unknown",
        message: clipped(observation.message ?? `Compute is ${observation.health}.`),
      };
    },
  );
}

/** Healthy, and not an older generation that still serves. */
function isReached(spec: ComputeSpec, { presence, health, generation, configHash }: Observation): boolean {
  const isSpec = generation === spec.generation && configHash === spec.configHash;
  return presence === "present" && health === "healthy" && isSpec;
}

async function removeCompute(
  request: ProvisionRequest,
  steps: DurableSteps,
  dependencies: JobDependencies,
): Promise<JobResult> {
  const removed = await repeatUntilDone(
    request,
    steps,
    dependencies,
    "destroy",
    "still_present",
    async (compute, name, signal, here) => {
      const ref = refToRemove(request, here);
      const observation = await compute.destroy(ref, { idempotencyKey: steps.idempotencyKey(name), signal });
      return absenceOf(observation, request.generation);
    },
  );
  if (removed.outcome !== "succeeded") return removed;
  await steps.sleep(dependencies.absenceSettleMs);
  const confirmed = await steps.run("confirm-absent", async (signal): Promise<Outcome> => {
    const compute = await dependencies.resolveCompute(request, signal);
    const ref = refToRemove(request, await scopeOf(request, compute));
    const [observation] = await compute.observe([ref], signal);
    if (observation === undefined) throw unseen(ref);
    return absenceOf(observation, request.generation);
  });
  switch (confirmed.kind) {
    case "done":
      return { ...removed, absent_observations: 2 };
    case "stale":
      return staleResult(request, confirmed.generation, removed.scope);
    case "pending":
    case "rejected":
      return resultOf(request, {
        outcome: "gave_up",
        scope: removed.scope,
        error: { code: "reappeared", message: "Compute was absent and was then seen again." },
      });
  }
}

/** Absent is done, present is pending, and what this worker cannot see is left to a worker that can. */
function absenceOf(observation: Observation, generation: number): Outcome {
  switch (observation.presence) {
    case "absent":
      return { kind: "done", observation };
    case "present":
      // A delete below reality would be refused for ever: the control plane must continue above it.
      if (observation.generation !== null && observation.generation > generation) {
        return { kind: "stale", generation: observation.generation };
      }
      return { kind: "pending", counts: true, message: observation.message ?? "Compute is still present." };
    case "unknown":
      throw new ComputeError(
        "compute_unreachable",
        `Absence cannot be proven from ${observation.scope}: ${observation.message ?? "a scope is out of reach"}.`,
        { retryable: true },
      );
  }
}

type Attempt = (
  compute: ComputeProvider,
  name: string,
  signal: AbortSignal,
  here: string,
) => Promise<Outcome>;

async function repeatUntilDone(
  request: ProvisionRequest,
  steps: DurableSteps,
  dependencies: JobDependencies,
  stepName: string,
  deadlineCode: string,
  attempt: Attempt,
): Promise<JobResult> {
  const deadlineMs = deadlineOf(request.desired_config);
  const longestWaitMs = longestWaitOf(request.desired_config, deadlineMs);
  let waitMs = FIRST_WAIT_MS;
  let unhealthyMs = 0;
  let scope: string | null = null;
  for (let round = 1; ; round++) {
    const name = `${stepName}-${round}`;
    const known: readonly string[] = scope === null ? request.scopes : [...request.scopes, scope];
    const outcome = await steps.run(name, async (signal): Promise<StepOutcome> => {
      const compute = await dependencies.resolveCompute(request, signal);
      const here = await scopeOf(request, compute);
      if (stepName === "apply") refuseSecondScope(here, known);
      try {
        return { ...(await attempt(compute, name, signal, here)), scope: here };
      } catch (error) {
        if (error instanceof ComputeError && !error.retryable) {
          return { kind: "rejected", code: error.code, message: clipped(error.message), scope: here };
        }
        throw error;
      }
    });
    scope = outcome.scope;
    switch (outcome.kind) {
      case "done":
        return resultOf(request, { outcome: "succeeded", observation: outcome.observation, scope });
      case "rejected":
        return resultOf(request, {
          outcome: "rejected",
          scope,
          error: { code: outcome.code, message: outcome.message },
        });
      case "stale":
        return staleResult(request, outcome.generation, scope);
      case "pending":
        break;
    }
    if (unhealthyMs >= deadlineMs) {
      const waited = `${Math.round(deadlineMs / 1_000)} s`;
      const message =
        stepName === "apply"
          ? `Compute did not become healthy within ${waited}: ${outcome.message}`
          : `Compute did not go away within ${waited}: ${outcome.message}`;
      const error = { code: deadlineCode, message };
      return resultOf(request, { outcome: "gave_up", scope, error });
    }
    if (round === 1) {
      steps.announceWaiting();
      dependencies.reportProgress(request, "waiting", outcome.message);
    }
    await steps.sleep(waitMs);
    if (outcome.counts) unhealthyMs += waitMs;
    waitMs = Math.min(waitMs * WAIT_GROWTH, longestWaitMs);
  }
}

/** Compute that may exist elsewhere is not joined by a second set here: a worker that sees it must go on. */
function refuseSecondScope(here: string, known: readonly string[]): void {
  const elsewhere = known.find((scope) => scope !== here);
  if (elsewhere === undefined) return;
  throw new ComputeError(
    "compute_unreachable",
    `The tenant's compute is in ${elsewhere}, and this worker acts in ${here}: a worker there must take this job.`,
    { retryable: true },
  );
}

function staleResult(request: ProvisionRequest, generation: number, scope: string | null): JobResult {
  return resultOf(request, {
    outcome: "gave_up",
    scope,
    error: {
      code: "stale_generation",
      message: `Compute is already at generation ${generation}.`,
      observed_generation: generation,
    },
  });
}

function deadlineOf(config: JsonObject): number {
  return healthSecondsOf(config, "deadline_seconds") * 1_000 || DEFAULT_DEADLINE_MS;
}

/** Waits grow up to the interval of the health check, within what keeps the journal short. */
function longestWaitOf(config: JsonObject, deadlineMs: number): number {
  const intervalMs = healthSecondsOf(config, "interval_seconds") * 1_000;
  return Math.min(LONGEST_WAIT_MS, Math.max(1_000, intervalMs, deadlineMs / WAITS_PER_DEADLINE));
}

/** A number under `health_check` of the config, the one block that all providers share; 0 for none. */
function healthSecondsOf(config: JsonObject, key: string): number {
  const check = config["health_check"];
  const seconds = isJsonObject(check) ? check[key] : undefined;
  return typeof seconds === "number" && seconds > 0 ? seconds : 0;
}

function specOf(request: ProvisionRequest): ComputeSpec {
  return {
    instanceId: request.metadata.instance_id,
    tenantId: request.tenant_id,
    tenantName: request.tenant_name,
    generation: request.generation,
    configHash: request.metadata.config_hash,
    config: request.desired_config,
    labels: request.labels,
  };
}

function refOf(request: ProvisionRequest): ComputeRef {
  return { instanceId: request.metadata.instance_id, tenantId: request.tenant_id, scopes: request.scopes };
}

/**
 * Where the job acts. What is removed is where it was reported to be; its config may be unknown. A job that was stopped
 * before it reported anything may have created compute all the same: where, its config says, for what places a tenant
 * cannot change.
 */
async function scopeOf(request: ProvisionRequest, compute: ComputeProvider): Promise<string> {
  const [known] = request.operation === "delete" ? request.scopes : [];
  return known ?? (await compute.scopeOf(request.desired_config));
}

function refToRemove(request: ProvisionRequest, here: string): ComputeRef & { readonly generation: number } {
  const ref = refOf(request);
  return { ...ref, scopes: ref.scopes.length > 0 ? ref.scopes : [here], generation: request.generation };
}

function unseen(ref: ComputeRef): ComputeError {
  return new ComputeError("compute_unreachable", `The provider did not observe tenant ${ref.tenantId}.`, {
    retryable: true,
  });
}

function resultOf(
  request: ProvisionRequest,
  end: {
    readonly outcome: JobResult["outcome"];
    readonly observation?: Observation;
    readonly scope?: string | null;
    readonly error?: NonNullable<JobResult["error"]>;
  },
): JobResult {
  const { observation } = end;
  const result: JobResult = {
    outcome: end.outcome,
    tenant_id: request.tenant_id,
    generation: request.generation,
    config_hash: request.metadata.config_hash,
    observed_config: observation?.config ?? null,
    observed_resource_ids: { ...observation?.resourceIds },
    endpoints: [...(observation?.endpoints ?? [])],
    health:
      observation === undefined
        ? "unknown"
        : observation.presence === "absent"
          ? "absent"
          : observation.health,
    scope: observation?.scope ?? end.scope ?? null,
    absent_observations: observation?.presence === "absent" ? 1 : 0,
    error: end.error === undefined ? null : { ...end.error, message: clipped(end.error.message) },
  };
  return bounded(result, request);
}

/** Leaves out what the control plane can do without until the result fits. */
function bounded(result: JobResult, request: ProvisionRequest): JobResult {
  const fits = (candidate: JobResult): boolean =>
    Buffer.byteLength(JSON.stringify(candidate)) <= JOB_RESULT_LIMIT_BYTES;
  if (fits(result)) return result;
  // The control plane has the config already; its hash says which one was applied.
  const config = { truncated: true, config_hash: request.metadata.config_hash };
  const smaller: JobResult = { ...result, observed_config: config };
  if (fits(smaller)) return smaller;
  return {
    ...smaller,
    outcome: "gave_up",
    observed_resource_ids: {},
    endpoints: [],
    error: {
      code: "result_too_large",
      message: `The provider reported more than ${JOB_RESULT_LIMIT_BYTES} bytes of resources and endpoints.`,
    },
  };
}

function clipped(message: string): string {
  return message.length <= MESSAGE_LIMIT ? message : `${message.slice(0, MESSAGE_LIMIT)} …`;
}
