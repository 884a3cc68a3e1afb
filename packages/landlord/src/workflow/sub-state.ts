/** The one table from an engine's words to ours. The tenant's status is never derived from these. */
import type { SubState } from "../domain/tenant.ts";

/** `sys_invocation.status` of Restate 1.7; `completed` is split by its result. */
export const RESTATE_SUB_STATES: Readonly<Record<string, SubState>> = {
  scheduled: "running",
  pending: "running",
  ready: "running",
  running: "running",
  // Restate suspends an execution only while it sleeps or waits: in our jobs, for health.
  suspended: "waiting",
  "backing-off": "backing-off",
  paused: "error",
  "completed:success": "succeeded",
  "completed:failure": "failed",
};

/** Status of an execution of Step Functions; `RUNNING` is split by what its history says (step-functions/history.ts). */
export const STEP_FUNCTIONS_SUB_STATES: Readonly<Record<string, SubState>> = {
  RUNNING: "running",
  "RUNNING:awaiting-health": "waiting",
  // No worker has taken the task: nothing has begun yet.
  "RUNNING:awaiting-worker": "waiting",
  "RUNNING:retrying": "backing-off",
  PENDING_REDRIVE: "error",
  SUCCEEDED: "succeeded",
  FAILED: "failed",
  TIMED_OUT: "failed",
  ABORTED: "failed",
};

/** Statuses of the older surface (see manager.ts). */
export const LEGACY_STATES: Readonly<Record<SubState, LegacyState>> = {
  running: "running",
  waiting: "running",
  "backing-off": "running",
  error: "running",
  succeeded: "succeeded",
  failed: "failed",
};

export type LegacyState = "pending" | "running" | "succeeded" | "failed";
