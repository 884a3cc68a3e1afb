/** The server process: API and reconciler over one database. */
import type { Config } from "../config/schema.ts";
import { computeBlocks } from "../config/schema.ts";
import { UnavailableError, messageOf } from "../domain/errors.ts";
import { createApp } from "../http/app.ts";
import { createEventFeed, type EventFeed } from "../http/event-feed.ts";
import { createBackground, type Background } from "../reconciler/background.ts";
import type { Reconciler } from "../reconciler/reconciler.ts";
import { nodeRuntime } from "../reconciler/runtime.ts";
import type { Sequenced, Store } from "../store/store.ts";
import { startEventListener, type EventListener } from "../store/postgres/listener.ts";
import { createPostgresStore, type UnopenedPostgresStore } from "../store/postgres/postgres-store.ts";
import type { Logger } from "../telemetry/logger.ts";
import { createWorkflowManager, type WorkflowManager } from "../workflow/manager.ts";
import { createWorkflowRegistry } from "../workflow/registry.ts";
import { sealingProvider } from "../workflow/sealing-provider.ts";
import { createAccess, readTls } from "./access.ts";
import { computeRegistry, createComputeCatalog } from "./compute-registry.ts";
import { startController } from "./controller.ts";
import { databaseUrl } from "./database-url.ts";
import { appDependencies, closeHttp, httpSettings, listen, refuseOpenBind } from "./http.ts";
import { stopInPhases, withoutWaiting, type StopPhase, type UntilUp } from "./lifetime.ts";
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

/**
 * Puts everything together, opens the store, and begins: HTTP, then the reconciler. Waits for a database that is not there
 * yet; `signal` ends the wait. A supervisor may start it before database and engine are up.
 *
 * @throws LandlordError for what waiting cannot mend
 */
export async function startServer(
  config: Config,
  logger: Logger,
  signal: AbortSignal,
  plugins: Plugins = { compute: [], workflow: [] },
  untilUp: UntilUp = withoutWaiting,
): Promise<RunningServer> {
  refuseOpenBind(config, logger);
  // In the order of the start; a stop, and a start that fails half way, run them backwards.
  const stops: StopPhase[] = [];
  const stop = (): Promise<void> => stopInPhases([...stops].reverse(), logger);
  try {
    return { url: await startParts(config, logger, signal, stops, { plugins, untilUp }), stop };
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
  { plugins, untilUp }: { readonly plugins: Plugins; readonly untilUp: UntilUp },
): Promise<string> {
  const url = databaseUrl(config.database);
  const { store, open } = createStore(config, url, logger);
  stops.push({ name: "store", limitMs: QUIET_STOP_MS, run: () => store.close() });
  const registry = computeRegistry(plugins.compute);
  const catalog = createComputeCatalog(
    registry,
    computeBlocks(config.compute),
    config.compute.default_provider ?? null,
  );
  const { manager, stopWorkflow } = await createManager(config, logger, plugins);
  stops.push({ name: "workflow", run: stopWorkflow });
  let listener: EventListener | null = null;
  const { events, background } = createEvents(config, store, logger, () => listener?.isListening() === true);
  stops.push({ name: "background", run: () => background.stop() });
  const access = createAccess(config, store, logger);
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
      ...appDependencies({ config, store, manager, catalog, logger }, () => reconciler),
      access: access.access,
      events,
      onWrite: onEvent,
    },
    httpSettings(config, await readTls(config)),
  );
  stops.push({
    name: "http",
    limitMs: config.http.shutdown_timeout + QUIET_STOP_MS,
    run: () => closeHttp(app, config.http.shutdown_timeout),
  });
  // Watchers are sent away first: the API would wait for them.
  stops.push({ name: "events", limitMs: QUIET_STOP_MS, run: () => events.stop() });
  await app.ready();

  await untilUp("database", signal);
  await openPatiently(open, logger, signal);
  access.start();
  await events.start();
  const address = await listen(app, config);
  if (config.controller.enabled) {
    const controller = startController(
      { config, store, manager, catalog, logger },
      config.http.public_url ?? address,
      {
        onTransition: () => background.wake(),
        onSettled: (tenantId) => events.touch(tenantId),
        onAdopted: onEvent,
      },
      untilUp("engine", signal),
    );
    reconciler = controller.reconciler;
    stops.push({
      name: "sweep",
      limitMs: config.controller.workflow_trigger_timeout + QUIET_STOP_MS,
      run: () => controller.sweep.stop(),
    });
  }
  background.start();
  const onTransition = (): void => {
    reconciler?.wake();
    events.wake();
  };
  listener = startEventListener(config.database.listen_url ?? url, store.senderId, onTransition, logger);
  stops.push({ name: "listener", limitMs: QUIET_STOP_MS, run: async () => listener?.stop() });
  logger.info({ url: address, compute: catalog.names(), engine: manager.defaultProvider }, "server is up");
  return address;
}

function createEvents(
  config: Config,
  store: Store,
  logger: Logger,
  isListening: () => boolean,
): { readonly events: EventFeed; readonly background: Background } {
  const events = createEventFeed({ store, instanceId: () => store.instanceId, logger, isListening });
  const background = createBackground(
    {
      sequenceTransitions: () => sequenceAndTell(store, events),
      collectGarbage: (params) => store.collectGarbage(params),
    },
    { historyRetentionMs: config.controller.history_retention },
    nodeRuntime,
    logger,
  );
  return { events, background };
}

/** What a server numbers itself it need not read, and hears of it without LISTEN. */
async function sequenceAndTell(store: Store, feed: EventFeed): Promise<Sequenced> {
  const sequenced = await store.sequenceTransitions();
  if (sequenced.count > 0) feed.offer(sequenced.events);
  return sequenced;
}

function createStore(config: Config, url: string, logger: Logger): UnopenedPostgresStore {
  return createPostgresStore(
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
}

async function openPatiently(open: () => Promise<void>, logger: Logger, signal: AbortSignal): Promise<void> {
  for (;;) {
    try {
      return await open();
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
