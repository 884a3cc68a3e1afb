/** The server process: API and reconciler over one database. */
import { hostname } from "node:os";
import { randomUUID } from "node:crypto";
import type { AddressInfo } from "node:net";
import type { Config } from "../config/schema.ts";
import { computeBlocks } from "../config/schema.ts";
import { WORKFLOW_NAME } from "../contract/job.ts";
import { LandlordError, UnavailableError, messageOf } from "../domain/errors.ts";
import { createApp, type App } from "../http/app.ts";
import type { ComputeCatalog, HttpSettings, TlsSettings } from "../http/dependencies.ts";
import { createEventFeed } from "../http/event-feed.ts";
import { recently } from "../http/recently.ts";
import { engineBreakerKey, isEngineBreaker } from "../reconciler/engine-breaker.ts";
import { createBackground } from "../reconciler/background.ts";
import { createReconciler, type Reconciler } from "../reconciler/reconciler.ts";
import { nodeRuntime } from "../reconciler/runtime.ts";
import { createSweep, type Sweep } from "../reconciler/sweep.ts";
import type { ServerStore, Store } from "../store/store.ts";
import { startEventListener } from "../store/postgres/listener.ts";
import { openPostgresStore } from "../store/postgres/postgres-store.ts";
import type { Logger } from "../telemetry/logger.ts";
import { createWorkflowManager, type WorkflowManager } from "../workflow/manager.ts";
import { createWorkflowRegistry } from "../workflow/registry.ts";
import { sealingProvider } from "../workflow/sealing-provider.ts";
import { readTls, startAccess } from "./access.ts";
import { createComputeQuestions } from "./compute-questions.ts";
import { computeRegistry, createComputeCatalog } from "./compute-registry.ts";
import { databaseUrl } from "./database-url.ts";
import { executionLink } from "./execution-link.ts";
import { stopInPhases, type StopPhase } from "./lifetime.ts";
import { startMockEngine } from "./mock-workflow.ts";
import type { Plugins } from "./plugins.ts";
import { createWorkflowProviders, payloadCipherOf } from "./workflow-engines.ts";

export interface RunningServer {
  /** http://host:port as it is really bound. */
  readonly url: string;
  stop(): Promise<void>;
}

/** Well below the 15 s after which existing clients give up: a silent database is answered with 503 in time. */
const STATEMENT_TIMEOUT_MS = 8_000;
const CONNECT_RETRY_MS = 1_000;
/** What has nothing to wait for but an answer of the database. */
const QUIET_STOP_MS = 5_000;
const BREAKERS_MAX_AGE_MS = 1_000;
const READINESS_TIMEOUT_MS = 2_000;
const VISIBILITY_GRACE_MS = 10_000;

/**
 * Starts in phases: database, engine, HTTP, reconciler. Waits for a database that is not there yet; `signal` ends
 * the wait.
 *
 * @throws LandlordError for what waiting cannot mend
 */
export async function startServer(
  config: Config,
  logger: Logger,
  signal: AbortSignal,
  plugins: Plugins = { compute: [], workflow: [] },
): Promise<RunningServer> {
  refuseOpenBind(config, logger);
  // In the order of the start; a stop, and a start that fails half way, run them backwards.
  const stops: StopPhase[] = [];
  const stop = (): Promise<void> => stopInPhases([...stops].reverse(), logger);
  try {
    return { url: await startParts(config, logger, signal, stops, plugins), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function startParts(
  config: Config,
  logger: Logger,
  signal: AbortSignal,
  stops: StopPhase[],
  plugins: Plugins,
): Promise<string> {
  const url = databaseUrl(config.database);
  const store = await openStore(config, url, logger, signal);
  stops.push({ name: "store", limitMs: QUIET_STOP_MS, run: () => store.close() });
  const registry = computeRegistry(plugins.compute);
  const catalog = createComputeCatalog(
    registry,
    computeBlocks(config.compute),
    config.compute.default_provider ?? null,
  );
  const { manager, stopWorkflow } = await createManager(config, logger, plugins);
  stops.push({ name: "workflow", run: stopWorkflow });
  const events = createEventFeed({ store, instanceId: store.instanceId, logger });
  const background = createBackground(
    { ...store, sequenceTransitions: () => sequenceAndTell(store, () => events.wake()) },
    { historyRetentionMs: config.controller.history_retention },
    nodeRuntime,
    logger,
  );
  stops.push({ name: "background", run: () => background.stop() });
  const access = startAccess(config, store, logger);
  stops.push({ name: "access", limitMs: QUIET_STOP_MS, run: () => access.stop() });
  let reconciler: Reconciler | null = null;
  stops.push({
    name: "reconciler",
    limitMs: config.controller.shutdown_timeout + QUIET_STOP_MS,
    run: async () => reconciler?.stop(),
  });
  const onEvent = (): void => {
    reconciler?.wake();
    background.wake();
  };

  const app = await createApp(
    {
      store,
      access: access.access,
      events,
      catalog,
      conditions: { operationDeadlineMs: config.controller.operation_deadline },
      idempotencyRetentionMs: config.http.idempotency_retention,
      openBreakers: recently(
        // The row of an engine that was left after a switch says nothing about the others.
        async () =>
          (await store.listBreakers()).filter(
            ({ key }) =>
              !isEngineBreaker(key) || key === engineBreakerKey(config.controller.workflow_provider),
          ),
        BREAKERS_MAX_AGE_MS,
        performance.now.bind(performance),
      ),
      fleet: store,
      compute: createComputeQuestions(manager.provider(null), store.instanceId, catalog),
      engine: {
        name: manager.defaultProvider,
        names: manager.providerNames,
        workflowName: WORKFLOW_NAME,
        linkTo: (operation) => executionLink(config, operation),
      },
      tombstoneRetentionMs: config.controller.tombstone_retention,
      onWrite: onEvent,
      readiness: () => readiness(store, manager, config, () => reconciler),
      logger,
    },
    httpSettings(config, await readTls(config)),
  );
  stops.push({
    name: "http",
    limitMs: config.http.shutdown_timeout + QUIET_STOP_MS,
    run: () => closeHttp(app, config.http.shutdown_timeout),
  });
  await events.start();
  // Watchers are sent away first: the API would wait for them.
  stops.push({ name: "events", limitMs: QUIET_STOP_MS, run: () => events.stop() });
  const address = await listen(app, config);
  if (config.controller.enabled) {
    const parts = { config, store, manager, catalog, logger };
    reconciler = startReconciler(parts, config.http.public_url ?? address, () => background.wake());
    const sweep = startSweep(parts, onEvent);
    stops.push({
      name: "sweep",
      limitMs: config.controller.workflow_trigger_timeout + QUIET_STOP_MS,
      run: () => sweep.stop(),
    });
  }
  background.start();
  const onTransition = (): void => {
    reconciler?.wake();
    events.wake();
  };
  const listener = startEventListener(config.database.listen_url ?? url, onTransition, logger);
  stops.push({ name: "listener", limitMs: QUIET_STOP_MS, run: () => listener.stop() });
  logger.info({ url: address, compute: catalog.names(), engine: manager.defaultProvider }, "server is up");
  return address;
}

/** Without LISTEN, a server's own events come at once all the same. */
async function sequenceAndTell(store: Store, onSequenced: () => void): Promise<number> {
  const sequenced = await store.sequenceTransitions();
  if (sequenced > 0) onSequenced();
  return sequenced;
}

function httpSettings({ auth, http }: Config, tls: TlsSettings | null): HttpSettings {
  return {
    bodyLimitBytes: http.body_limit_bytes,
    maxRequestsInFlight: http.max_requests_in_flight,
    maxConnections: http.max_connections,
    maxWatchers: http.max_watchers,
    eventHeartbeatMs: http.event_heartbeat,
    eventBufferBytes: http.event_buffer_bytes,
    readTimeoutMs: http.read_timeout,
    writeTimeoutMs: http.write_timeout,
    idleTimeoutMs: http.idle_timeout,
    // A web page has no token to send; without authentication it needs none.
    loopbackOnly: !auth.enabled,
    trustedProxies: http.trusted_proxies,
    tls,
  };
}

interface ControllerParts {
  readonly config: Config;
  readonly store: Store;
  readonly manager: WorkflowManager;
  readonly catalog: ComputeCatalog;
  readonly logger: Logger;
}

function startReconciler(
  { config, store, manager, catalog, logger }: ControllerParts,
  apiBaseUrl: string,
  onTransition: () => void,
): Reconciler {
  const reconciler = createReconciler({
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
    runtime: nodeRuntime,
    logger,
  });
  reconciler.start();
  return reconciler;
}

function startSweep(
  { config, store, manager, catalog, logger }: ControllerParts,
  onAdopted: () => void,
): Sweep {
  const { controller } = config;
  const sweep = createSweep({
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
  sweep.start();
  return sweep;
}

/** Without authentication whoever reaches the port may run commands. */
function refuseOpenBind(config: Config, logger: Logger): void {
  const { host, tls } = config.http;
  if (host === "localhost" || host === "::1" || host.startsWith("127.")) return;
  if (config.auth.enabled) {
    if (tls !== undefined) return;
    logger.warn(
      { host },
      "THE API LISTENS BEYOND LOOPBACK WITHOUT TLS: tokens cross the network in the clear unless a proxy in front ends TLS. Set http.tls, or bind to the proxy's side only",
    );
    return;
  }
  throw new LandlordError(
    "open_bind_refused",
    `http.host is ${host}: without authentication the API listens on loopback only. Set auth.enabled and auth.admin_token (or auth.oidc), or set http.host to 127.0.0.1.`,
  );
}

async function openStore(
  config: Config,
  url: string,
  logger: Logger,
  signal: AbortSignal,
): Promise<ServerStore> {
  for (;;) {
    try {
      return await openPostgresStore(
        {
          url,
          maxConnections: config.database.max_connections,
          connectTimeoutMs: config.database.connect_timeout,
          statementTimeoutMs: STATEMENT_TIMEOUT_MS,
          applicationName: "landlord",
          autoMigrate: config.database.auto_migrate,
        },
        (error) => logger.debug({ error: error.message }, "idle database connection lost"),
      );
    } catch (error) {
      if (!(error instanceof UnavailableError) || signal.aborted) throw error;
      const cause = error.cause === undefined ? error.message : messageOf(error.cause);
      logger.warn(
        { error: cause, retry_in_ms: CONNECT_RETRY_MS },
        "the database is not reachable yet; retrying",
      );
      await new Promise((resolve) => setTimeout(resolve, CONNECT_RETRY_MS));
    }
  }
}

async function createManager(
  config: Config,
  logger: Logger,
  plugins: Plugins,
): Promise<{ readonly manager: WorkflowManager; stopWorkflow: () => Promise<void> }> {
  const providers = [...(await createWorkflowProviders(config, plugins.workflow, logger))];
  let stopMock: (() => Promise<void>) | null = null;
  if (config.controller.workflow_provider === "mock") {
    const mock = await startMockEngine(config, logger, plugins.compute);
    providers.push(mock.provider);
    stopMock = mock.stop;
  }
  const cipher = payloadCipherOf(config);
  const sealing = providers.map((provider) => sealingProvider(provider, cipher));
  return {
    manager: createWorkflowManager(createWorkflowRegistry(sealing), config.controller.workflow_provider),
    async stopWorkflow() {
      await stopMock?.();
      await Promise.all(providers.map((provider) => provider.close()));
    },
  };
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

async function readiness(
  store: Store,
  manager: WorkflowManager,
  config: Config,
  reconciler: () => Reconciler | null,
): Promise<Readonly<Record<string, string | null>>> {
  const signal = AbortSignal.timeout(READINESS_TIMEOUT_MS);
  const [database, workflow] = await Promise.all([
    problemOf(withTimeout(store.ping(), READINESS_TIMEOUT_MS)),
    problemOf(manager.provider(null).health({ signal })),
  ]);
  const controller = config.controller.enabled ? (reconciler()?.problem() ?? null) : null;
  return { database, controller, workflow };
}

function problemOf(check: Promise<void>): Promise<string | null> {
  return check.then(
    () => null,
    (error: unknown) => messageOf(error),
  );
}

function withTimeout(check: Promise<void>, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    check.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

async function listen(app: App, config: Config): Promise<string> {
  try {
    await app.listen({ host: config.http.host, port: config.http.port });
  } catch (error) {
    throw new LandlordError(
      "listen_failed",
      `The API cannot listen on ${config.http.host}:${config.http.port}: ${messageOf(error)}. Choose another with --port or http.port.`,
      { cause: error },
    );
  }
  const address = app.server.address() as AddressInfo;
  const scheme = config.http.tls === undefined ? "http" : "https";
  return `${scheme}://${address.family === "IPv6" ? `[${address.address}]` : address.address}:${address.port}`;
}

async function closeHttp(app: App, timeoutMs: number): Promise<void> {
  const timer = setTimeout(() => app.server.closeAllConnections(), timeoutMs);
  await app.close();
  clearTimeout(timer);
}
