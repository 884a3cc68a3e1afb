/** The reconciler and the sweep of a server, from its configuration. */
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import type { Config } from "../config/schema.ts";
import type { ComputeCatalog } from "../http/dependencies.ts";
import { createReconciler, type Reconciler, type ReconcilerDependencies } from "../reconciler/reconciler.ts";
import { nodeRuntime } from "../reconciler/runtime.ts";
import { createSweep, type Sweep, type SweepDependencies } from "../reconciler/sweep.ts";
import type { Store } from "../store/store.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { WorkflowManager } from "../workflow/manager.ts";

const VISIBILITY_GRACE_MS = 10_000;
const LANE_PATIENCE_MS = 30_000;
const COMPLETION_WAIT_MS = 1_000;

export interface ControllerParts {
  readonly config: Config;
  readonly store: Store;
  readonly manager: WorkflowManager;
  readonly catalog: ComputeCatalog;
  readonly logger: Logger;
}

export type ControllerHooks = Required<Pick<ReconcilerDependencies, "onTransition" | "onSettled">> &
  Pick<SweepDependencies, "onAdopted">;

/**
 * What is wrong with the configuration is thrown at once; the work begins when the engine is up.
 *
 * @param apiBaseUrl at which workers reach this server
 */
export function startController(
  parts: ControllerParts,
  apiBaseUrl: string,
  hooks: ControllerHooks,
  engineUp: Promise<void>,
): { readonly reconciler: Reconciler; readonly sweep: Sweep } {
  const reconciler = openReconciler(parts, apiBaseUrl, hooks);
  const sweep = openSweep(parts, hooks);
  // One that was stopped meanwhile does nothing.
  void engineUp.then(() => {
    reconciler.start();
    sweep.start();
  });
  return { reconciler, sweep };
}

function openReconciler(
  { config, store, manager, catalog, logger }: ControllerParts,
  apiBaseUrl: string,
  { onTransition, onSettled }: ControllerHooks,
): Reconciler {
  return createReconciler({
    store,
    manager,
    settings: reconcilerSettings(config, apiBaseUrl),
    computeEngine(name) {
      const known = catalog.get(name);
      if (known === null) return null;
      const { engineConfigHash, boundToScope } = known;
      return { engineConfigHash, boundToScope };
    },
    onTransition,
    onSettled,
    runtime: nodeRuntime,
    logger,
  });
}

function openSweep(
  { config, store, manager, catalog, logger }: ControllerParts,
  { onAdopted }: ControllerHooks,
): Sweep {
  const { controller } = config;
  return createSweep({
    store,
    engine: manager.provider(null),
    computeProviders: catalog
      .names()
      .map((name) => ({ name, boundToScope: catalog.get(name)?.boundToScope ?? false })),
    settings: {
      intervalMs: controller.sweep_interval,
      orphanGraceMs: controller.orphan_grace,
      removeOrphans: controller.remove_orphans,
      queryTimeoutMs: controller.workflow_trigger_timeout,
    },
    onAdopted,
    runtime: nodeRuntime,
    logger,
  });
}

function reconcilerSettings(
  config: Config,
  apiBaseUrl: string,
): Parameters<typeof createReconciler>[0]["settings"] {
  const { controller } = config;
  return {
    leaseOwner: `${hostname()}/${process.pid}/${randomUUID().slice(0, 8)}`,
    leaseDurationMs: controller.lease_duration,
    effectTimeoutMs: controller.workflow_trigger_timeout,
    workers: controller.workers,
    reconciliationIntervalMs: controller.reconciliation_interval,
    startTimeoutMs: controller.start_timeout,
    shutdownTimeoutMs: controller.shutdown_timeout,
    tombstoneRetentionMs: controller.tombstone_retention,
    workflowProvider: controller.workflow_provider,
    resyncIntervalMs: controller.resync_interval,
    resyncRate: controller.resync_rate,
    maxInFlight: controller.max_in_flight,
    repairsInFlight: controller.max_repairs_in_flight,
    lanePatienceMs: LANE_PATIENCE_MS,
    completionWaitMs: Math.min(COMPLETION_WAIT_MS, controller.lease_duration / 4),
    computeLimits: Object.fromEntries(
      Object.entries(controller.compute_limits).map(([name, limits]) => [
        name,
        {
          maxInFlight: limits.max_in_flight ?? null,
          startsPerSecond: limits.starts_per_second ?? null,
        },
      ]),
    ),
    apiBaseUrl,
    backoffInitialMs: controller.backoff_initial,
    backoffMaxMs: controller.backoff_max,
    stopGraceMs: controller.stop_grace,
    statusPollMs: controller.status_poll_interval,
    statusPollMaxMs: controller.status_poll_max_interval,
    visibilityGraceMs: VISIBILITY_GRACE_MS,
    operationDeadlineMs: controller.operation_deadline,
    onDeadline: controller.on_deadline,
  };
}
