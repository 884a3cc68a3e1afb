/** Times of a run: those of a real system, an order of magnitude shorter, in the same proportions. */
import type { ReconcilerSettings } from "../packages/landlord/src/reconciler/settings.ts";
import type { EngineSettings } from "./engine.ts";
import type { Plan } from "./plan.ts";

/** The clock of the database when a run begins. */
export const EPOCH_MS = Date.UTC(2030, 0, 1);

export const ENGINE_SETTINGS: EngineSettings = {
  maxAttempts: 8,
  retryInitialMs: 200,
  retryMaxMs: 4_000,
  heartbeatMs: 700,
  // Longer than a start window and the error of a worker's clock together.
  retentionMs: 60_000,
  stopDelayMs: 20,
};

export function reconcilerSettings(leaseOwner: string, plan: Plan): ReconcilerSettings {
  return {
    leaseOwner,
    leaseDurationMs: 6_000,
    effectTimeoutMs: 2_000,
    workers: 8,
    reconciliationIntervalMs: 2_000,
    startTimeoutMs: 20_000,
    shutdownTimeoutMs: 2_000,
    completionWaitMs: 300,
    tombstoneRetentionMs: 600_000,
    workflowProvider: "simulated",
    apiBaseUrl: "http://landlord.invalid",
    backoffInitialMs: 300,
    backoffMaxMs: 8_000,
    stopGraceMs: 2_000,
    statusPollMs: 500,
    statusPollMaxMs: 4_000,
    visibilityGraceMs: 1_500,
    operationDeadlineMs: 30_000,
    onDeadline: plan.onDeadline,
    resyncIntervalMs: 8_000,
    resyncRate: 4,
    maxInFlight: plan.maxInFlight,
    repairsInFlight: 2,
    lanePatienceMs: 5_000,
    computeLimits: {},
  };
}

/** Longer than a run: what is kept for days is not forgotten in minutes. */
export const HISTORY_RETENTION_MS = 24 * 3_600_000;
export const STATEMENT_TIMEOUT_MS = 3_000;
/** A call of a worker to its host. */
export const HOST_TIMEOUT_MS = 6_000;
/** A call of a worker to the engine. */
export const ENGINE_TIMEOUT_MS = 3_000;
/** A request of a client. */
export const REQUEST_TIMEOUT_MS = 5_000;
export const ABSENCE_SETTLE_MS = 400;
/** Fences of what was destroyed are kept so long; tombstones for as long as a run lasts. */
export const FENCE_RETENTION_MS = 45_000;

/** The orphan sweep: how often, and after which time it removes what belongs to nobody. */
export const SWEEP_INTERVAL_MS = 10_000;
export const ORPHAN_GRACE_MS = 15_000;
