/** A server: the real reconciler, its chores, and the real code of clients' writes, over simulated ports. */
import type { ComputeDescription } from "../packages/landlord/src/compute/provider.ts";
import type { decide } from "../packages/landlord/src/domain/decide.ts";
import type { JsonObject } from "../packages/landlord/src/domain/json.ts";
import type { Tenant } from "../packages/landlord/src/domain/tenant.ts";
import type { ComputeCatalog, HttpDependencies } from "../packages/landlord/src/http/dependencies.ts";
import {
  createTenant,
  etagOf,
  notFound,
  patchTenant,
  removeTenant,
  updateTenant,
} from "../packages/landlord/src/http/tenant-writes.ts";
import { createBackground } from "../packages/landlord/src/reconciler/background.ts";
import { createReconciler } from "../packages/landlord/src/reconciler/reconciler.ts";
import type { Runtime } from "../packages/landlord/src/reconciler/runtime.ts";
import { createSweep } from "../packages/landlord/src/reconciler/sweep.ts";
import type { ReconcilerSettings } from "../packages/landlord/src/reconciler/settings.ts";
import type { Store } from "../packages/landlord/src/store/store.ts";
import type { Logger } from "../packages/landlord/src/telemetry/logger.ts";
import { createWorkflowManager } from "../packages/landlord/src/workflow/manager.ts";
import type { WorkflowProvider } from "../packages/landlord/src/workflow/provider.ts";
import { createWorkflowRegistry } from "../packages/landlord/src/workflow/registry.ts";
import { COMPUTE_NAME } from "./compute.ts";
import type { Action } from "./plan.ts";
import { HISTORY_RETENTION_MS, ORPHAN_GRACE_MS, SWEEP_INTERVAL_MS } from "./settings.ts";

export interface SimulatedServer {
  /** Performs a client's request. Throws what the API would answer. */
  handle(action: Action): Promise<Tenant>;
}

export interface ServerDependencies {
  readonly store: Store;
  readonly provider: WorkflowProvider;
  readonly runtime: Runtime;
  readonly settings: ReconcilerSettings;
  readonly decide: typeof decide;
  readonly boundToScope: boolean;
  readonly removeOrphans: boolean;
  readonly logger: Logger;
}

/** Starts it; it ends with its life. */
export function startSimulatedServer(dependencies: ServerDependencies): SimulatedServer {
  const { store, provider, runtime, settings, logger, boundToScope } = dependencies;
  const manager = createWorkflowManager(createWorkflowRegistry([provider]), provider.name);
  const background = createBackground(store, { historyRetentionMs: HISTORY_RETENTION_MS }, runtime, logger);
  const reconciler = createReconciler({
    store,
    manager,
    settings,
    computeEngine: () => ({ engineConfigHash: ENGINE_CONFIG_HASH, boundToScope }),
    onTransition: () => background.wake(),
    decide: dependencies.decide,
    runtime,
    logger,
  });
  const sweep = createSweep({
    store,
    engine: provider,
    computeProviders: [{ name: COMPUTE_NAME, boundToScope }],
    settings: {
      intervalMs: SWEEP_INTERVAL_MS,
      orphanGraceMs: ORPHAN_GRACE_MS,
      removeOrphans: dependencies.removeOrphans,
      queryTimeoutMs: settings.effectTimeoutMs,
    },
    onAdopted: () => reconciler.wake(),
    runtime,
    logger,
  });
  background.start();
  reconciler.start();
  sweep.start();
  const http: HttpDependencies = {
    // Identities come from the seed too.
    store: {
      ...store,
      createTenant: (params) =>
        store.createTenant({ ...params, tenant: { ...params.tenant, id: runtime.newId() } }),
    },
    catalog: catalogOf(boundToScope),
    conditions: settings,
    idempotencyRetentionMs: 86_400_000,
    openBreakers: () => store.listBreakers(),
    onWrite() {
      reconciler.wake();
      background.wake();
    },
    readiness: () => Promise.resolve({}),
    logger,
  };
  return { handle: (action) => perform(action, http) };
}

const ENGINE_CONFIG_HASH = "engine-config";
const ACTOR = { name: "client", requestId: null };

async function perform(action: Action, http: HttpDependencies): Promise<Tenant> {
  const { tenantName, config } = action;
  const ifMatch = action.isConditional && action.kind !== "create" ? await etag(tenantName, http) : undefined;
  const context = { actor: ACTOR, ifMatch, lane: "interactive" } as const;
  switch (action.kind) {
    case "create": {
      const labels = { owner: tenantName };
      const body = { name: tenantName, compute_config: config, labels };
      return (await createTenant(body, { ...context, idempotencyKey: action.id }, http)).tenant;
    }
    case "update":
      return (await updateTenant(tenantName, { compute_config: config }, context, http)).tenant;
    case "describe":
      return (await patchTenant(tenantName, { labels: { changed_by: action.id } }, context, http)).tenant;
    case "archive":
      return (await removeTenant(tenantName, "archived", context, http)).tenant;
    case "delete":
      return (await removeTenant(tenantName, "deleted", context, http)).tenant;
    case "pause":
      return setPaused(tenantName, true, http);
    case "resume":
      return setPaused(tenantName, false, http);
  }
}

/** What the client read before it wrote. */
async function etag(tenantName: string, { store }: HttpDependencies): Promise<string> {
  const stored = await store.getTenant({ idOrName: tenantName });
  if (stored === null) throw notFound(tenantName);
  return etagOf(stored.tenant);
}

/** There is no request for it yet; the reconciler honours it all the same. */
async function setPaused(tenantName: string, paused: boolean, http: HttpDependencies): Promise<Tenant> {
  const stored = await http.store.getTenant({ idOrName: tenantName });
  if (stored === null) throw notFound(tenantName);
  const { tenant, revision } = stored;
  const next: Tenant = { ...tenant, paused, version: tenant.version + 1 };
  const outcome = await http.store.writeTenant({
    tenant: next,
    revision,
    generationRaised: false,
    transition: {
      fromStatus: tenant.status,
      toStatus: tenant.status,
      reason: paused ? "paused" : "resumed",
      message: "",
      generation: tenant.generation,
      operationId: null,
    },
    actor: ACTOR,
    lane: "interactive",
  });
  http.onWrite();
  if (outcome.kind !== "written") return setPaused(tenantName, paused, http);
  return outcome.tenant;
}

function catalogOf(boundToScope: boolean): ComputeCatalog {
  const description: ComputeDescription = {
    name: COMPUTE_NAME,
    configSchema: {},
    configDefaults: null,
    immutableKeys: [],
    validateConfig: (_config: JsonObject) => [],
  };
  const engine = { description, engineConfig: {}, engineConfigHash: ENGINE_CONFIG_HASH, boundToScope };
  return {
    names: () => [COMPUTE_NAME],
    get: (name) => (name === COMPUTE_NAME ? engine : null),
    defaultProvider: COMPUTE_NAME,
  };
}
