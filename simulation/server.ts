/** A server: the real reconciler, its chores, and the real code of clients' writes, over simulated ports. */
import type { ComputeDescription } from "../packages/landlord/src/compute/provider.ts";
import type { decide } from "../packages/landlord/src/domain/decide.ts";
import type { JsonObject } from "../packages/landlord/src/domain/json.ts";
import type { Tenant } from "../packages/landlord/src/domain/tenant.ts";
import type { ComputeCatalog, HttpDependencies } from "../packages/landlord/src/http/dependencies.ts";
import { etagOf, notFound, type WriteResult } from "../packages/landlord/src/http/change.ts";
import {
  forceDeleteTenant,
  pauseTenant,
  restoreTenant,
  resumeTenant,
  retryTenant,
  rollbackTenant,
} from "../packages/landlord/src/http/tenant-verbs.ts";
import {
  applyTenant,
  createTenant,
  patchTenant,
  removeTenant,
  updateTenant,
} from "../packages/landlord/src/http/tenant-writes.ts";
import { ANONYMOUS } from "../packages/landlord/src/domain/principal.ts";
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
    tombstoneRetentionMs: settings.tombstoneRetentionMs,
    fleet: unasked("fleet"),
    compute: unasked("compute"),
    engine: unasked("engine"),
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

/** What only people's questions need, which nobody asks here. */
function unasked(name: string): never {
  return new Proxy(
    {},
    {
      get(_, key) {
        throw new Error(`${name}.${String(key)} is not simulated`);
      },
    },
  ) as never;
}

const ENGINE_CONFIG_HASH = "engine-config";
const ACTOR = { name: "client", requestId: null };

async function perform(action: Action, http: HttpDependencies): Promise<Tenant> {
  const { tenantName: name, config } = action;
  const ifMatch = action.isConditional && action.kind !== "create" ? await etag(name, http) : undefined;
  const lane = "interactive" as const;
  const context = { actor: ACTOR, principal: ANONYMOUS, ifMatch, ifPlan: undefined, isDryRun: false, lane };
  switch (action.kind) {
    case "create": {
      const body = { name, compute_config: config, labels: { owner: name } };
      return written(await createTenant(body, { ...context, idempotencyKey: action.id }, http));
    }
    case "apply": {
      const body = { compute_config: config, labels: { owner: name } };
      return written(await applyTenant(name, body, { ...context, ifNoneMatch: undefined }, http));
    }
    case "update":
      return written(await updateTenant(name, { compute_config: config }, context, http));
    case "describe":
      return written(await patchTenant(name, { labels: { changed_by: action.id } }, context, http));
    case "archive":
      return written(await removeTenant(name, "archived", context, http));
    case "delete":
      return written(await removeTenant(name, "deleted", context, http));
    case "force_delete":
      return written(await forceDeleteTenant(name, context, http));
    case "pause":
      return written(await pauseTenant(name, context, http));
    case "resume":
      return written(await resumeTenant(name, context, http));
    case "retry":
      return written(await retryTenant(name, context, http));
    case "restore":
      return written(await restoreTenant(name, context, http));
    case "rollback":
      return written(await rollbackTenant(name, null, context, http));
  }
}

function written(result: { readonly tenant: Tenant } | Extract<WriteResult, { kind: "planned" }>): Tenant {
  if (!("tenant" in result)) throw new Error("nobody asked for a plan");
  return result.tenant;
}

/** What the client read before it wrote. */
async function etag(tenantName: string, { store }: HttpDependencies): Promise<string> {
  const stored = await store.getTenant({ idOrName: tenantName });
  if (stored === null) throw notFound(tenantName);
  return etagOf(stored.tenant);
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
