/**
 * Why a tenant is where it is: one causal answer, from facts alone. Pure like decide(), and in the same order: what
 * decide() would wait for is what explain() tells.
 */
import type { ErrorRecord, Lane, Operation, Tenant } from "./tenant.ts";
import { isSettled } from "./status.ts";

/** Stable: clients branch on these. docs/explain.md tells what each means and how it is left. */
export const EXPLANATION_REASONS = [
  "ready",
  "unhealthy",
  "archived",
  "rejected",
  "paused",
  "engine_unreachable",
  "compute_unreachable",
  "no_worker",
  "engine_refused",
  "backing_off",
  "queued",
  "starting",
  "not_reconciled",
  "stopping_execution",
  "execution_waiting",
  "execution_running",
  "execution_retrying",
  "internal",
] as const;
export type ExplanationReason = (typeof EXPLANATION_REASONS)[number];

export interface WorkerFact {
  readonly id: string;
  readonly engine: string;
  readonly workflows: readonly string[];
  readonly computeProviders: readonly string[];
  readonly scopes: readonly string[];
  readonly version: string;
  readonly startedAt: Date;
  readonly registeredAt: Date | null;
  readonly lastError: string | null;
  readonly lastSeenAt: Date;
  /** It reported within WORKER_LIVE_MS. */
  readonly isLive: boolean;
}

/** Three reports that did not come. */
export const WORKER_LIVE_MS = 45_000;

export interface OutageFact {
  readonly since: Date | null;
  readonly error: string | null;
  readonly nextProbeAt: Date | null;
}

export interface QueueFact {
  readonly lane: Lane;
  readonly owner: string;
  readonly dueAt: Date | null;
  /** A server holds the lease: it is at it right now. */
  readonly isLeased: boolean;
  /** Those that come first, of the tenants that wait to start something; null when it does not wait for that. */
  readonly ahead: number | null;
}

export interface ExplainFacts {
  readonly tenant: Tenant;
  readonly queue: QueueFact | null;
  /** The unfinished one. */
  readonly operation: Operation | null;
  /** The engine that is used, when it is out of reach. */
  readonly engineOutage: OutageFact | null;
  readonly computeOutage: OutageFact | null;
  /** Of the tenant's engine, and able to serve its compute provider. */
  readonly workers: readonly WorkerFact[];
  /** The name under which the engine looks for a worker. */
  readonly workflowName: string;
  readonly operationDeadlineMs: number;
  readonly now: Date;
}

export interface Explanation {
  readonly reason: ExplanationReason;
  /** One sentence. */
  readonly message: string;
  readonly whatToDo: readonly string[];
  readonly since: Date;
  readonly nextAttemptAt: Date | null;
  readonly isSettled: boolean;
  readonly isStalled: boolean;
}

type Cause = Pick<Explanation, "reason" | "message"> &
  Partial<Pick<Explanation, "whatToDo" | "since" | "nextAttemptAt">>;

/** A due tenant that nobody took for this long says that no reconciler runs. */
const UNTAKEN_MS = 15_000;

export function explain(facts: ExplainFacts): Explanation {
  const { tenant, now, operationDeadlineMs } = facts;
  const settled = tenant.intent !== "deleted" && isSettled(tenant);
  const cause = settled
    ? settledCause(tenant)
    : facts.operation === null
      ? idleCause(facts)
      : inFlightCause(facts, facts.operation);
  return {
    whatToDo: [],
    nextAttemptAt: null,
    since: since(tenant, settled ? "Progressing" : "Ready"),
    ...cause,
    isSettled: settled,
    isStalled: !settled && now.getTime() - tenant.generationAt.getTime() >= operationDeadlineMs,
  };
}

function since(tenant: Tenant, condition: string): Date {
  return tenant.conditions.find(({ type }) => type === condition)?.since ?? tenant.updatedAt;
}

function settledCause(tenant: Tenant): Cause {
  switch (tenant.status) {
    case "archived":
      return {
        reason: "archived",
        message: "It is archived: its compute is removed, its record is kept.",
        whatToDo: ["To bring it back: landlord restore " + tenant.name],
      };
    case "failed":
      return {
        reason: "rejected",
        message: `Its desired state was rejected: ${tenant.lastError?.message ?? tenant.statusMessage}`,
        whatToDo: [
          "Mend the configuration and apply it, or",
          `try the same again: landlord retry ${tenant.name}, or`,
          `go back to what worked: landlord rollback ${tenant.name}`,
        ],
      };
    default:
      return tenant.observed.health === "healthy"
        ? {
            reason: "ready",
            message: `It is ready at generation ${tenant.generation}.${tenant.paused ? ` It is paused by ${pauser(tenant)}: nothing is repaired.` : ""}`,
            since: since(tenant, "Ready"),
          }
        : {
            reason: "unhealthy",
            message: tenant.paused
              ? `Its compute is ${tenant.observed.health}, and it is paused by ${pauser(tenant)}: nothing is repaired.`
              : `Its compute is ${tenant.observed.health}; it is looked at again, and repaired if it stays so.`,
            since: since(tenant, "Healthy"),
            whatToDo: tenant.paused ? [`To have it repaired: landlord resume ${tenant.name}`] : [],
          };
  }
}

function pauser({ pausedBy }: Tenant): string {
  return pausedBy ?? "somebody";
}

/** Nothing is in flight: why does nothing begin? */
function idleCause(facts: ExplainFacts): Cause {
  const { tenant, queue, now } = facts;
  if (tenant.paused) {
    return {
      reason: "paused",
      message: `It is paused by ${pauser(tenant)}: nothing is started until it is resumed.`,
      since: since(tenant, "Paused"),
      whatToDo: [`To go on: landlord resume ${tenant.name}`],
    };
  }
  const outage = outageCause(facts);
  if (outage !== null) return outage;
  const { lastError, nextAttemptAt } = tenant;
  if (lastError !== null && nextAttemptAt === null) {
    const blocked = blockedCause(facts, lastError);
    if (blocked !== null) return blocked;
  }
  if (nextAttemptAt !== null && nextAttemptAt > now) {
    return {
      reason: "backing_off",
      message: `It is backing off until ${nextAttemptAt.toISOString()} after ${attempts(tenant.attempts)} because: ${lastError?.message ?? tenant.statusMessage}`,
      nextAttemptAt,
      whatToDo: [`Not to wait: landlord retry ${tenant.name}`],
    };
  }
  return queuedCause(facts, queue);
}

function attempts(count: number): string {
  return count === 1 ? "1 attempt" : `${count} attempts`;
}

function outageCause({ tenant, engineOutage, computeOutage }: ExplainFacts): Cause | null {
  if (engineOutage !== null) {
    return {
      reason: "engine_unreachable",
      message: `The workflow engine does not answer: ${engineOutage.error ?? "no reason is known"}`,
      ...outageTimes(engineOutage),
      whatToDo: ["Mend the engine, or its address in the configuration; everything goes on by itself then."],
    };
  }
  if (computeOutage !== null) {
    return {
      reason: "compute_unreachable",
      message: `Compute provider ${tenant.computeProvider} is out of reach: ${computeOutage.error ?? "no reason is known"}`,
      ...outageTimes(computeOutage),
      whatToDo: ["Mend the provider, or the worker's way to it; everything goes on by itself then."],
    };
  }
  return null;
}

function outageTimes({ since: openedAt, nextProbeAt }: OutageFact): Partial<Cause> {
  return { ...(openedAt === null ? {} : { since: openedAt }), nextAttemptAt: nextProbeAt };
}

/** What blockedCommit left: nothing failed, something was out of reach. */
function blockedCause(facts: ExplainFacts, error: ErrorRecord): Cause | null {
  if (error.code === "no_worker") return noWorkerCause(facts, error.message);
  if (error.code === "internal")
    return {
      reason: "internal",
      message: error.message,
      whatToDo: ["Look for the tenant's id in the log of the servers."],
    };
  if (
    error.code.startsWith("engine_") ||
    error.code === "unknown_workflow_provider" ||
    error.code === "query_failed"
  ) {
    return {
      reason: "engine_refused",
      message: `The workflow engine or a worker refused: ${error.message}`,
      whatToDo: ["Mend what the message names; it is tried again every few seconds."],
    };
  }
  return null;
}

function noWorkerCause(
  { tenant, workers, workflowName, operation, queue, now }: ExplainFacts,
  detail: string,
): Cause {
  const seen = workers.map(({ lastSeenAt }) => lastSeenAt.getTime());
  const from =
    seen.length === 0 ? (operation?.createdAt ?? tenant.generationAt) : new Date(Math.max(...seen));
  const live = workers.filter(({ isLive }) => isLive);
  const unregistered = live.find(({ registeredAt }) => registeredAt === null);
  const message =
    live.length === 0
      ? `There is no worker registered for workflow ${workflowName} since ${from.toISOString()}.`
      : unregistered !== undefined
        ? `Worker ${unregistered.id} runs, and is not registered with the engine: ${unregistered.lastError ?? "it has not tried yet"}`
        : `No worker takes workflow ${workflowName}: ${detail}`;
  return {
    reason: "no_worker",
    message,
    since: from > now ? now : from,
    nextAttemptAt: queue?.dueAt ?? null,
    whatToDo: [
      tenant.observed.scopes.length === 0
        ? `Start a worker: landlord worker`
        : `Start a worker in ${tenant.observed.scopes.join(", ")}, where its compute is: landlord worker`,
    ],
  };
}

function queuedCause({ tenant, now }: ExplainFacts, queue: QueueFact | null): Cause {
  const dueAt = queue?.dueAt ?? null;
  if (queue === null || dueAt === null) {
    return {
      reason: "internal",
      message: "It is not settled, and nothing is due: this is a bug in Landlord.",
      whatToDo: [`Any write makes it due again: landlord retry ${tenant.name}`, "Please report it."],
    };
  }
  if (queue.isLeased) return { reason: "starting", message: "A server is working on it right now." };
  const waitedMs = now.getTime() - dueAt.getTime();
  const ahead = queue.ahead ?? 0;
  if (ahead === 0 && waitedMs < UNTAKEN_MS) {
    return {
      reason: "starting",
      message: "It is next: a server takes it within a second.",
      nextAttemptAt: dueAt,
    };
  }
  if (ahead === 0 && waitedMs >= UNTAKEN_MS) {
    return {
      reason: "not_reconciled",
      message: `It is next in lane ${queue.lane} and due since ${dueAt.toISOString()}, and no server takes it: none runs a reconciler, or a limit on what is in flight is reached.`,
      since: dueAt,
      whatToDo: [
        "See `landlord status` for what is in flight, and compare it with controller.max_in_flight and controller.compute_limits.",
        "At least one server needs controller.enabled.",
      ],
    };
  }
  return {
    reason: "queued",
    message: `It waits in lane ${queue.lane}${queue.owner === "" ? "" : ` of owner ${queue.owner}`}, with ${ahead} ahead of it.`,
    since: dueAt,
  };
}

/** An operation is unfinished: what does it wait for? */
function inFlightCause(facts: ExplainFacts, operation: Operation): Cause {
  const { tenant, engineOutage, queue } = facts;
  const began = operation.invokedAt ?? operation.createdAt;
  if (engineOutage !== null) return outageCause(facts) as Cause;
  if (operation.stopPhase !== null) {
    return {
      reason: "stopping_execution",
      message: `It waits for execution ${operation.executionId} of generation ${operation.generation} to stop, because it ${stopReason(operation.stopReason)}.`,
      since: operation.stopRequestedAt ?? began,
      nextAttemptAt: queue?.dueAt ?? null,
    };
  }
  if (operation.invokedAt === null) {
    const blocked = tenant.lastError === null ? null : blockedCause(facts, tenant.lastError);
    return (
      blocked ?? {
        reason: "starting",
        message: `Its ${operation.kind} is being handed to the engine.`,
        since: began,
      }
    );
  }
  // Workers need not report; where some did, their silence says something.
  const isDeserted = facts.workers.length > 0 && !facts.workers.some(({ isLive }) => isLive);
  if (isDeserted && operation.subState !== "running")
    return noWorkerCause(facts, "nobody answers the engine.");
  const error = tenant.lastError;
  switch (operation.subState) {
    case "backing-off":
    case "error":
      return {
        reason: "execution_retrying",
        message: `Its ${operation.kind} is being retried by the engine, ${attempts(operation.retryCount)} so far, because: ${error?.message ?? "no reason is known yet"}`,
        since: began,
        whatToDo: [
          `If its configuration is what is wrong, change it: landlord set ${tenant.name} --config …, or go back: landlord rollback ${tenant.name}`,
        ],
      };
    case "waiting":
      return {
        reason: "execution_waiting",
        message: `Its ${operation.kind} waits in the engine, for a worker or for compute to become healthy.`,
        since: began,
      };
    default:
      return {
        reason: "execution_running",
        message: `Its ${operation.kind} of generation ${operation.generation} runs.`,
        since: began,
      };
  }
}

function stopReason(reason: string | null): string {
  switch (reason) {
    case "superseded":
      return "is superseded by a newer desired state";
    case "start_window_passed":
      return "could not be started in time";
    case "execution_lost":
      return "is not known to the engine any more";
    default:
      return `is to stop (${reason ?? "no reason was recorded"})`;
  }
}
