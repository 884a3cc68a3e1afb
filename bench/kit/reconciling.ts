/** The real reconciler in this process, over an engine that answers every question at once and runs nothing. */
import { createReconciler, type Reconciler } from "../../packages/landlord/src/reconciler/reconciler.ts";
import { nodeRuntime } from "../../packages/landlord/src/reconciler/runtime.ts";
import type { ReconcilerSettings } from "../../packages/landlord/src/reconciler/settings.ts";
import type { Store } from "../../packages/landlord/src/store/store.ts";
import { createLogger } from "../../packages/landlord/src/telemetry/logger.ts";
import { createWorkflowManager } from "../../packages/landlord/src/workflow/manager.ts";
import type { WorkflowProvider } from "../../packages/landlord/src/workflow/provider.ts";
import { createWorkflowRegistry } from "../../packages/landlord/src/workflow/registry.ts";
import { STEADY } from "./steady-compute.ts";

/** As the configuration's defaults have them, but looks go as fast as they can. */
const SETTINGS: ReconcilerSettings = {
  leaseOwner: "bench",
  leaseDurationMs: 30_000,
  effectTimeoutMs: 5_000,
  workers: 64,
  reconciliationIntervalMs: 1_000,
  startTimeoutMs: 300_000,
  shutdownTimeoutMs: 30_000,
  tombstoneRetentionMs: 86_400_000,
  workflowProvider: "steady",
  apiBaseUrl: "http://127.0.0.1:1",
  backoffInitialMs: 1_000,
  backoffMaxMs: 300_000,
  stopGraceMs: 5_000,
  statusPollMs: 1_000,
  statusPollMaxMs: 30_000,
  visibilityGraceMs: 10_000,
  operationDeadlineMs: 1_800_000,
  onDeadline: "keep_retrying",
  resyncIntervalMs: 60_000,
  resyncRate: 1_000_000,
  maxInFlight: 1_000,
  repairsInFlight: 10,
  lanePatienceMs: 30_000,
  computeLimits: {},
  completionWaitMs: 1_000,
};

const SEEN = {
  presence: STEADY.presence,
  generation: STEADY.generation,
  config_hash: STEADY.configHash,
  health: STEADY.health,
  message: STEADY.message,
  config: STEADY.config,
  resource_ids: {},
  endpoints: [],
  scope: STEADY.scope,
} as const;

const refused = (): Promise<never> => Promise.reject(new Error("this engine only answers questions"));

const engine: WorkflowProvider = {
  name: "steady",
  query: ({ request }) => {
    if (!("tenants" in request)) return refused();
    return Promise.resolve({ observations: request.tenants.map(() => SEEN) });
  },
  invoke: refused,
  getWorkflowStatus: refused,
  stop: refused,
  ensureWorkflow: () => Promise.resolve(),
  watchCompletion: null,
  health: () => Promise.resolve(),
  close: () => Promise.resolve(),
};

/** A reconciler that runs. */
export function startReconciler(store: Store, settings: Partial<ReconcilerSettings>): Reconciler {
  const reconciler = createReconciler({
    store,
    manager: createWorkflowManager(createWorkflowRegistry([engine]), "steady"),
    settings: { ...SETTINGS, ...settings },
    computeEngine: () => null,
    onTransition: () => undefined,
    logger: createLogger({ level: "warn", format: "pretty" }),
    runtime: nodeRuntime,
  });
  reconciler.start();
  return reconciler;
}
