/** The real reconciler and the real store, over an engine in memory: for what an engine can only be made to do there. */
import { randomUUID } from "node:crypto";
import { createMockComputeProvider } from "../../src/compute/mock/provider.ts";
import { MockWorld } from "../../src/compute/mock/world.ts";
import type { ComputeProvider } from "../../src/compute/provider.ts";
import type { JsonObject } from "../../src/domain/json.ts";
import type { Lane, Tenant } from "../../src/domain/tenant.ts";
import { statusAfterWrite } from "../../src/domain/status.ts";
import { createReconciler, type Reconciler } from "../../src/reconciler/reconciler.ts";
import { nodeRuntime } from "../../src/reconciler/runtime.ts";
import type { ReconcilerSettings } from "../../src/reconciler/settings.ts";
import type { Store } from "../../src/store/store.ts";
import { openPostgresStore } from "../../src/store/postgres/postgres-store.ts";
import { createInProcessWorkerEngine } from "../../src/worker/in-process/in-process-worker-engine.ts";
import type { WorkflowWorkerEngine } from "../../src/worker/engine.ts";
import { createMockEngine, type MockEngine } from "../../src/workflow/mock/mock-engine.ts";
import { createWorkflowManager } from "../../src/workflow/manager.ts";
import type { WorkflowProvider } from "../../src/workflow/provider.ts";
import { createWorkflowRegistry } from "../../src/workflow/registry.ts";
import { createTestDatabase, type TestDatabase } from "./database.ts";
import { eventually } from "./eventually.ts";
import { testLogger } from "./system.ts";
import { tenantWith } from "./tenants.ts";

const RECONCILER_SETTINGS: ReconcilerSettings = {
  leaseOwner: "test",
  leaseDurationMs: 2_000,
  effectTimeoutMs: 500,
  workers: 16,
  reconciliationIntervalMs: 50,
  startTimeoutMs: 60_000,
  shutdownTimeoutMs: 2_000,
  tombstoneRetentionMs: 60_000,
  workflowProvider: "mock",
  apiBaseUrl: "http://127.0.0.1:1",
  backoffInitialMs: 20,
  backoffMaxMs: 100,
  stopGraceMs: 200,
  statusPollMs: 30,
  statusPollMaxMs: 100,
  visibilityGraceMs: 100,
  operationDeadlineMs: 60_000,
  onDeadline: "keep_retrying",
  resyncIntervalMs: 300_000,
  resyncRate: 0,
  maxInFlight: 1_000,
  repairsInFlight: 10,
  lanePatienceMs: 30_000,
  completionWaitMs: 200,
  computeLimits: {},
};

export interface MockSystem {
  readonly store: Store;
  readonly engine: MockEngine;
  readonly world: MockWorld;
  readonly worker: WorkflowWorkerEngine;
  readonly database: TestDatabase;
  reconcile(
    settings?: Partial<ReconcilerSettings>,
    wrap?: (provider: WorkflowProvider) => WorkflowProvider,
  ): Reconciler;
  /** Ends the reconcilers that run, and starts one with these settings. */
  restart(settings: Partial<ReconcilerSettings>): Promise<Reconciler>;
  create(name: string, desiredConfig?: JsonObject, lane?: Lane): Promise<Tenant>;
  /** A client's write: raises the generation. */
  change(id: string, change: Partial<Pick<Tenant, "intent" | "configHash" | "desiredConfig">>): Promise<void>;
  until(id: string, wanted: (tenant: Tenant) => boolean, what: string): Promise<Tenant>;
  untilGone(id: string): Promise<void>;
  stop(): Promise<void>;
}

export async function startMockSystem(
  options: { readonly compute?: ComputeProvider; readonly boundToScope?: boolean } = {},
): Promise<MockSystem> {
  const database = await createTestDatabase();
  const store = await openPostgresStore(
    {
      url: database.url,
      maxConnections: 6,
      connectTimeoutMs: 5_000,
      statementTimeoutMs: 5_000,
      applicationName: "test",
      autoMigrate: true,
    },
    () => undefined,
  );
  const engine = createMockEngine({ maxAttempts: 3, retryDelayMs: 10 });
  const world = new MockWorld();
  const compute = options.compute ?? createMockComputeProvider({}, { world });
  const worker = createInProcessWorkerEngine(engine, {
    logger: testLogger,
    resolveByName: () => Promise.resolve(compute),
    job: {
      resolveCompute: () => Promise.resolve(compute),
      reportProgress: () => undefined,
      absenceSettleMs: 5,
      now: Date.now,
    },
  });
  await worker.register(new AbortController().signal);
  const reconcilers: Reconciler[] = [];

  const until: MockSystem["until"] = (id, wanted, what) =>
    eventually(
      async () => {
        const stored = await store.getTenant({ idOrName: id });
        return stored !== null && wanted(stored.tenant) && stored.tenant;
      },
      { what },
    );

  const system: MockSystem = {
    store,
    engine,
    world,
    worker,
    database,
    async restart(settings) {
      await Promise.all(reconcilers.splice(0).map((reconciler) => reconciler.stop()));
      return system.reconcile(settings);
    },
    reconcile(settings = {}, wrap = (provider) => provider) {
      const reconciler = createReconciler({
        store,
        manager: createWorkflowManager(createWorkflowRegistry([wrap(engine.provider)]), "mock"),
        settings: { ...RECONCILER_SETTINGS, leaseOwner: randomUUID(), ...settings },
        computeEngine: () =>
          options.boundToScope === true ? { engineConfigHash: "hash", boundToScope: true } : null,
        onTransition: () => undefined,
        logger: testLogger,
        runtime: nodeRuntime,
      });
      reconciler.start();
      reconcilers.push(reconciler);
      return reconciler;
    },
    async create(name, desiredConfig = {}, lane = "interactive") {
      const {
        createdAt: _c,
        updatedAt: _u,
        generationAt: _g,
        ...tenant
      } = tenantWith({ id: randomUUID(), name, computeProvider: "mock", desiredConfig });
      const outcome = await store.createTenant({
        tenant,
        actor: { name: "test", requestId: null },
        lane,
        idempotency: null,
      });
      if (outcome.kind !== "created") throw new Error(outcome.kind);
      return outcome.tenant;
    },
    async change(id, change) {
      await eventually(
        async () => {
          const stored = await store.getTenant({ idOrName: id });
          if (stored === null) throw new Error("gone");
          const { tenant, revision } = stored;
          const status = statusAfterWrite(tenant, change.intent ?? tenant.intent);
          const next = {
            ...tenant,
            ...change,
            status,
            generation: tenant.generation + 1,
            version: tenant.version + 1,
            attempts: 0,
            nextAttemptAt: null,
          };
          const outcome = await store.writeTenant({
            tenant: next,
            revision,
            generationRaised: true,
            transition: {
              fromStatus: tenant.status,
              toStatus: status,
              reason: "changed",
              message: "",
              generation: next.generation,
              operationId: null,
            },
            actor: { name: "test", requestId: null },
            lane: "interactive",
          });
          return outcome.kind === "written";
        },
        { what: "the write" },
      );
    },
    until,
    untilGone: async (id) => {
      await eventually(async () => (await store.getTenant({ idOrName: id })) === null, {
        what: "the tenant is gone",
      });
    },
    async stop() {
      await Promise.all(reconcilers.map((reconciler) => reconciler.stop()));
      await store.close();
      await database.drop();
    },
  };
  return system;
}
