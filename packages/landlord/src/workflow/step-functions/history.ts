/** How far a running execution is, from its history: AWS tells retries, errors and the present state nowhere else. */
import type { HistoryEvent } from "@aws-sdk/client-sfn";
import { STEP_FUNCTIONS_ERRORS } from "../../contract/step-functions-names.ts";
import type { WorkflowStatus } from "../provider.ts";
import { STEP_FUNCTIONS_SUB_STATES } from "../sub-state.ts";
import { RETRY_DELAY, WAITING_STATE } from "./definition.ts";
import { failureText } from "./failure-text.ts";

export type Progress = Pick<WorkflowStatus, "subState" | "retryCount" | "nextRetryAt" | "error">;

/** A task that no worker took for this long is said to wait for one. */
const WORKER_EXPECTED_WITHIN_MS = 5_000;

interface Attempt {
  readonly at: Date;
  readonly error: string;
  readonly message: string;
}

/**
 * `events` is the whole history, newest first. `nextRetryAt` is the latest moment of the next attempt: the engine draws
 * the real one from the time before it.
 */
export function progressOf(events: readonly HistoryEvent[], now: Date): Progress {
  const entered = events.findIndex(({ type }) => type === "TaskStateEntered");
  const failures = events.flatMap(failedAttempt);
  const failuresHere = events.slice(0, Math.max(entered, 0)).flatMap(failedAttempt);
  const newest = events.find(({ type }) => type?.startsWith("Activity") === true);
  const base: Progress = {
    subState: subState("RUNNING"),
    retryCount: failures.length,
    nextRetryAt: null,
    error:
      failures[0] === undefined
        ? null
        : { code: "attempt_failed", message: failureText(failures[0].error, failures[0].message) },
  };
  const last = newest === undefined ? undefined : failedAttempt(newest)[0];
  if (last !== undefined) {
    const nextRetryAt = new Date(last.at.getTime() + longestDelayMs(failuresHere.length));
    return { ...base, subState: subState("RUNNING:retrying"), nextRetryAt };
  }
  if (newest?.type === "ActivityScheduled" && isOverdue(newest, now)) {
    return {
      ...base,
      subState: subState("RUNNING:awaiting-worker"),
      error: base.error ?? {
        code: "no_worker",
        message: "No worker has taken the job yet. Start one with `landlord worker`.",
      },
    };
  }
  const waits = events[entered]?.stateEnteredEventDetails?.name === WAITING_STATE;
  return waits ? { ...base, subState: subState("RUNNING:awaiting-health") } : base;
}

function subState(key: string): Progress["subState"] {
  return STEP_FUNCTIONS_SUB_STATES[key] ?? "running";
}

/** None for events that are no failure, and for a task that a stopping worker handed back. */
function failedAttempt(event: HistoryEvent): readonly Attempt[] {
  const details =
    event.activityFailedEventDetails ??
    event.activityTimedOutEventDetails ??
    event.activityScheduleFailedEventDetails;
  if (details === undefined || details.error === STEP_FUNCTIONS_ERRORS.workerStopping) return [];
  return [
    { at: event.timestamp ?? new Date(0), error: details.error ?? "unknown", message: details.cause ?? "" },
  ];
}

function longestDelayMs(failures: number): number {
  const grown = RETRY_DELAY.initialSeconds * RETRY_DELAY.growth ** Math.max(0, failures - 1);
  return Math.min(grown, RETRY_DELAY.maxSeconds) * 1_000;
}

function isOverdue(scheduled: HistoryEvent, now: Date): boolean {
  const at = scheduled.timestamp?.getTime() ?? now.getTime();
  return now.getTime() - at >= WORKER_EXPECTED_WITHIN_MS;
}
