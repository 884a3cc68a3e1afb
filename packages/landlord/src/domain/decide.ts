/**
 * What to do with one tenant, from facts alone.
 *
 * decide() is pure: no I/O, no clock, no randomness. It returns one decision; the reconciler performs it, commits
 * it behind its fence, and asks again with the new facts. Any decision may therefore be repeated after a crash,
 * and every one that has an effect is preceded by the one that recorded its intent:
 *
 *   start   writes the ledger row       → invoke  calls the engine with the id in that row
 *   stop    writes the stop phase       → the engine call of that phase, repeated until the execution has ended
 *   finish  closes the row and moves the tenant on, in one transaction
 *
 * The present state is re-read each time, so a lost event, a lost answer or a second server changes nothing but
 * the moment at which the same decision is taken.
 */
import { backoffMs } from "./backoff.ts";
import { decideObserved } from "./drift.ts";
import { nextOperation, isSettled } from "./status.ts";
import { failedChange, followingStatus, settledStatus, unchanged } from "./tenant-change.ts";
import type {
  DecideSettings,
  Decision,
  ExecutionFact,
  Facts,
  JobReport,
  OperationOutcome,
} from "./decision.ts";
import type { ErrorRecord, Observed, Operation } from "./tenant.ts";

export type * from "./decision.ts";

/** Takes the next decision for a tenant. Total: every combination of facts has an answer. */
export function decide(facts: Facts, settings: DecideSettings): Decision {
  const { operation } = facts;
  return operation === null ? decideIdle(facts) : decideInFlight({ ...facts, operation }, settings);
}

function decideIdle({ tenant, observation, now }: Facts): Decision {
  if (tenant.intent !== "deleted" && isSettled(tenant))
    return observation === null ? { kind: "settle" } : decideObserved(tenant, observation);
  if (tenant.paused) return { kind: "settle" };
  if (tenant.nextAttemptAt !== null && tenant.nextAttemptAt > now) {
    return { kind: "wait", dueAt: tenant.nextAttemptAt, reason: "backing_off", progress: null };
  }
  const next = nextOperation(tenant);
  return { kind: "start", operation: next.kind, status: next.status };
}

type InFlight = Facts & { readonly operation: Operation };

function decideInFlight(facts: InFlight, settings: DecideSettings): Decision {
  const { operation, execution, now } = facts;
  const since = operation.stopRequestedAt ?? operation.invokedAt;
  if (since === null) return decideBeforeInvoke(facts);
  if (execution === null || execution.state === "unreachable") {
    return {
      kind: "wait",
      dueAt: after(now, settings.statusPollMs),
      reason: "engine_unreachable",
      progress: null,
    };
  }
  if (execution.state === "succeeded" || execution.state === "failed")
    return finish(facts, execution, settings);
  if (operation.stopPhase !== null) return continueStop(facts, since, execution, settings);
  if (execution.state === "unknown") return decideUnknown(facts, since, settings);
  const reason = reasonToStop(facts, execution);
  if (reason !== null) return { kind: "stop", phase: "occupy_or_cancel", reason };
  return {
    kind: "wait",
    dueAt: after(now, pollIntervalMs(since, now, settings)),
    reason: "in_progress",
    progress: execution,
  };
}

/**
 * The ledger has the intent, but no answer of the engine was recorded; the call may have been made all the same.
 * So an operation that is no longer wanted is stopped like a running one: its id gets occupied.
 */
function decideBeforeInvoke({ tenant, operation, now }: InFlight): Decision {
  if (operation.generation !== tenant.generation) {
    return { kind: "stop", phase: "occupy_or_cancel", reason: "superseded" };
  }
  if (now >= operation.startBefore)
    return { kind: "stop", phase: "occupy_or_cancel", reason: "start_window_passed" };
  return { kind: "invoke" };
}

/** An id that the engine does not know may still be submitted late. It is occupied before a new attempt begins. */
function decideUnknown({ now }: InFlight, invokedAt: Date, settings: DecideSettings): Decision {
  const visibleBy = after(invokedAt, settings.visibilityGraceMs);
  return now < visibleBy
    ? { kind: "wait", dueAt: visibleBy, reason: "awaiting_engine", progress: null }
    : { kind: "stop", phase: "occupy_or_cancel", reason: "execution_lost" };
}

/** Why a running execution should end early, or null. */
function reasonToStop({ tenant, operation }: InFlight, execution: ExecutionFact): string | null {
  if (operation.generation === tenant.generation) return null;
  if (tenant.intent !== "present" && operation.kind !== "delete") return "superseded";
  // Work that makes progress is finished; work that only waits would make a mended tenant wait with it.
  return execution.subState === "running" ? null : "superseded";
}

function continueStop(
  { operation, now }: InFlight,
  requestedAt: Date,
  execution: ExecutionFact,
  settings: DecideSettings,
): Decision {
  // Written with the phase, so it is there.
  const reason = String(operation.stopReason);
  if (execution.state === "unknown") return { kind: "stop", phase: "occupy_or_cancel", reason };
  const killAt = after(requestedAt, settings.stopGraceMs);
  if (now >= killAt) return { kind: "stop", phase: "kill", reason };
  const pollAt = after(now, settings.statusPollMs);
  return { kind: "wait", dueAt: pollAt < killAt ? pollAt : killAt, reason: "stopping", progress: execution };
}

/** Polling slows with the age of the execution: a long job is asked rarely, a short one at once. */
function pollIntervalMs(invokedAt: Date, now: Date, settings: DecideSettings): number {
  const ageMs = now.getTime() - invokedAt.getTime();
  return Math.min(Math.max(ageMs / 4, settings.statusPollMs), settings.statusPollMaxMs);
}

function finish(facts: InFlight, execution: ExecutionFact, settings: DecideSettings): Decision {
  if (execution.state === "failed") {
    const error = execution.error ?? {
      code: "execution_failed",
      message: "The execution failed without a reason.",
    };
    return failedAttempt(
      facts,
      settings,
      facts.operation.stopPhase === null ? "failed" : "superseded",
      error,
      null,
    );
  }
  const { report } = execution;
  if (report === null) {
    return failedAttempt(
      facts,
      settings,
      "ignored",
      {
        code: "invalid_result",
        message: "The job's result could not be understood; do server and workers run compatible versions?",
      },
      null,
    );
  }
  switch (report.outcome) {
    case "void":
      return repeat(facts, facts.operation.stopReason === "execution_lost" ? "lost" : "superseded");
    case "expired":
      // Once, it is the engine's lateness. Every time, it is a clock: then it must not repeat at full speed.
      return failedAttempt(
        facts,
        settings,
        "expired",
        {
          code: "start_window_passed",
          message:
            "The job began after its start window. If this repeats, compare the clocks of worker and database.",
        },
        null,
      );
    case "succeeded":
    case "rejected":
    case "gave_up":
      return finishReported(facts, report, settings);
  }
}

function finishReported(facts: InFlight, report: JobReport, settings: DecideSettings): Decision {
  const { tenant, operation } = facts;
  const echoed =
    report.tenantId === tenant.id &&
    report.generation === operation.generation &&
    report.configHash === operation.configHash;
  if (!echoed) {
    return failedAttempt(
      facts,
      settings,
      "ignored",
      {
        code: "result_mismatch",
        message:
          "The execution answered for another tenant, generation or configuration; its result was not used.",
      },
      null,
    );
  }
  if (report.outcome === "succeeded") return reached(facts, report, settings);
  const error = report.error ?? { code: report.outcome, message: "The job gave no reason." };
  if (report.staleGeneration !== null) {
    return recoverGeneration(facts, settings, report.staleGeneration, error, report.scope);
  }
  const current = operation.generation === tenant.generation;
  if (report.outcome === "rejected" && current && tenant.intent === "present") {
    return {
      kind: "finish",
      outcome: "rejected",
      error,
      change: {
        ...unchanged(tenant),
        ...failedChange(error),
        observed: withScope(tenant.observed, report.scope),
      },
    };
  }
  return failedAttempt(
    facts,
    settings,
    report.outcome === "rejected" ? "rejected" : "failed",
    error,
    report.scope,
  );
}

/** The operation did what it was for. Whether the tenant is where its clients want it is another question. */
function reached(facts: InFlight, report: JobReport, settings: DecideSettings): Decision {
  const { tenant, operation } = facts;
  const removed = operation.kind === "delete";
  const proven = removed
    ? report.health === "absent" && report.absentObservations >= 2
    : report.health === "healthy";
  if (!proven) {
    return failedAttempt(
      facts,
      settings,
      "failed",
      {
        code: "unproven_success",
        message: removed
          ? "The job reported success without having seen the compute absent twice."
          : "The job reported success without having seen the compute healthy.",
      },
      report.scope,
    );
  }
  const current = operation.generation === tenant.generation;
  if (removed && current && tenant.intent === "deleted") return { kind: "remove" };
  const observed: Observed = removed
    ? { config: null, resourceIds: {}, endpoints: [], health: "absent", scopes: [] }
    : {
        config: report.observedConfig,
        resourceIds: report.resourceIds,
        endpoints: report.endpoints,
        health: report.health,
        scopes: withScope(tenant.observed, report.scope).scopes,
      };
  return {
    kind: "finish",
    outcome: "succeeded",
    error: null,
    change: {
      ...unchanged(tenant),
      ...(current ? settledStatus(removed) : followingStatus(tenant, removed)),
      observed,
      observedGeneration: Math.max(operation.generation, tenant.observedGeneration),
      attempts: 0,
      nextAttemptAt: null,
      lastError: null,
    },
  };
}

/** Ends an operation that did not succeed. The next attempt comes after a backoff, or at once for a newer generation. */
function failedAttempt(
  facts: InFlight,
  settings: DecideSettings,
  outcome: OperationOutcome,
  error: ErrorRecord,
  scope: string | null,
): Decision {
  const { tenant, operation, now, jitter } = facts;
  const observed = withScope(tenant.observed, scope);
  if (operation.generation !== tenant.generation) {
    return {
      kind: "finish",
      outcome,
      error,
      change: { ...unchanged(tenant), reason: "superseded", observed },
    };
  }
  const overdue = now.getTime() - tenant.generationAt.getTime() >= settings.operationDeadlineMs;
  if (overdue && settings.onDeadline === "fail" && tenant.intent === "present") {
    const late = {
      code: "deadline_exceeded",
      message: `Gave up at the operation deadline. Last error: ${error.message}`,
    };
    return {
      kind: "finish",
      outcome,
      error,
      change: { ...unchanged(tenant), ...failedChange(late), observed },
    };
  }
  const attempts = tenant.attempts + 1;
  const delayMs = attemptDelayMs(attempts, jitter, settings);
  return {
    kind: "finish",
    outcome,
    error,
    change: {
      ...unchanged(tenant),
      reason: error.code,
      message: `Attempt ${attempts} failed: ${error.message}`,
      observed,
      attempts,
      nextAttemptAt: after(now, delayMs),
      lastError: error,
    },
  };
}

/** The execution touched nothing: the next attempt may begin at once, and is no failure of the tenant. */
function repeat({ tenant }: InFlight, outcome: OperationOutcome): Decision {
  return { kind: "finish", outcome, error: null, change: { ...unchanged(tenant), reason: outcome } };
}

/**
 * Reality is ahead of the database: it was restored from an older backup. Raising the generation above what
 * serves makes the desired state win again, and never lets an old one through.
 */
function recoverGeneration(
  { tenant, now, jitter }: InFlight,
  settings: DecideSettings,
  staleGeneration: number,
  error: ErrorRecord,
  scope: string | null,
): Decision {
  const generation = Math.max(staleGeneration, tenant.generation) + 1;
  // Two databases that believe to own one tenant would raise it against each other: not at full speed.
  const attempts = tenant.attempts + 1;
  return {
    kind: "finish",
    outcome: "stale",
    error,
    change: {
      ...unchanged(tenant),
      generation,
      reason: "generation_recovered",
      message: `Compute was found at generation ${staleGeneration}; the desired state continues as ${generation}.`,
      observed: withScope(tenant.observed, scope),
      attempts,
      nextAttemptAt: after(now, attemptDelayMs(attempts, jitter, settings)),
    },
  };
}

function attemptDelayMs(attempts: number, jitter: number, settings: DecideSettings): number {
  return backoffMs(attempts, jitter, { initialMs: settings.backoffInitialMs, maxMs: settings.backoffMaxMs });
}

function withScope(observed: Observed, scope: string | null): Observed {
  if (scope === null || observed.scopes.includes(scope)) return observed;
  return { ...observed, scopes: [...observed.scopes, scope] };
}

function after(time: Date, durationMs: number): Date {
  return new Date(time.getTime() + durationMs);
}
