/** The worker process: an engine's worker over the compute providers. It has no database and no HTTP API. */
import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { resolve as resolvePath } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { withoutPackage, type WorkerConfig } from "../config/schema.ts";
import { messageOf } from "../domain/errors.ts";
import type { ComputeRegistry } from "../compute/registry.ts";
import { createComputeResolver } from "../worker/compute-resolver.ts";
import type { WorkflowWorkerEngine } from "../worker/engine.ts";
import { createLandlordApi, type LandlordApi } from "../worker/landlord-api.ts";
import { createProgressReporter } from "../worker/progress.ts";
import { serveOwnScopes } from "../worker/own-scopes.ts";
import { startSelfReport, type SelfReport } from "../worker/self-report.ts";
import { VERSION } from "./version.ts";
import type { WorkerContext } from "../worker/worker-context.ts";
import type { Logger } from "../telemetry/logger.ts";
import { environment } from "../config/environment.ts";
import { computeRegistry } from "./compute-registry.ts";
import { withoutWaiting, type UntilUp } from "./lifetime.ts";
import type { Plugins } from "./plugins.ts";
import { createWorkerEngine, payloadCipherOf } from "./workflow-engines.ts";

const API_TIMEOUT_MS = 5_000;
const REFUSED_INTERVAL_MS = 60_000;
/** How long a start waits for the API to say which scopes are the worker's own. */
const FIRST_LOOK_MS = 3_000;
/** After which a worker that could not register yet tells the API of itself all the same. */
const REPORT_LATEST_MS = 1_000;

export interface RunningWorker {
  readonly engine: WorkflowWorkerEngine;
  stop(): Promise<void>;
}

/** Everything that a job needs, from configuration alone. */
export function createWorkerContext(
  config: WorkerConfig,
  api: LandlordApi | null,
  logger: Logger,
  registry: ComputeRegistry,
): WorkerContext {
  const overrides = Object.fromEntries(
    Object.entries(config.worker.compute_overrides).flatMap(([name, block]) =>
      block === undefined ? [] : [[name, withoutPackage(block)] as const],
    ),
  );
  const resolver = createComputeResolver(
    registry,
    api,
    {
      cacheTtlMs: config.worker.compute_cache_ttl,
      overrides,
      context: { dataDir: resolvePath(config.data_dir), environment: environment() },
    },
    logger,
    () => performance.now(),
  );
  return {
    logger,
    payloads: { cipher: payloadCipherOf(config), required: config.workflow.require_encryption },
    resolveByName: (name) => resolver.resolve(name, null),
    job: {
      resolveCompute: (request) => resolver.resolveForRequest(request),
      reportProgress: createProgressReporter(config.worker.progress ? api : null, logger),
      absenceSettleMs: config.worker.absence_settle,
      now: Date.now,
    },
  };
}

/** Every call would say the same: people are told once a minute. */
function loudly(logger: Logger): (message: string) => void {
  let nextAtMs = 0;
  return (message) => {
    if (performance.now() < nextAtMs) return;
    nextAtMs = performance.now() + REFUSED_INTERVAL_MS;
    logger.error({}, message);
  };
}

/** Starts to serve, and then registers; `signal` ends the attempts to register. */
export async function startWorker(
  config: WorkerConfig,
  logger: Logger,
  signal: AbortSignal,
  plugins: Plugins = { compute: [], workflow: [] },
  untilUp: UntilUp = withoutWaiting,
): Promise<RunningWorker> {
  const registry = computeRegistry(plugins.compute);
  const api =
    config.worker.api_url === undefined
      ? null
      : createLandlordApi({
          baseUrl: config.worker.api_url,
          token: config.worker.api_token ?? null,
          timeoutMs: API_TIMEOUT_MS,
          onRefused: loudly(logger),
        });
  const context = createWorkerContext(config, api, logger, registry);
  const engine = await createWorkerEngine(config, plugins.workflow, context);
  await engine.start();
  await untilUp("api", signal);
  const bound = registry.names().filter((name) => registry.get(name).boundToScope === true);
  const ownScopes = serveOwnScopes(
    engine,
    { providers: bound, resolve: (name) => context.resolveByName(name) },
    logger,
  );
  let report: SelfReport | null = null;
  const beginReport = (): void => {
    clearTimeout(reportTimer);
    if (api === null || report !== null) return;
    const self = {
      id: `${hostname()}-${process.pid}-${randomUUID().slice(0, 8)}`,
      version: VERSION,
      computeProviders: registry.names(),
      scopes: () => ownScopes.scopes(),
    };
    report = startSelfReport(engine, api, self, logger);
  };
  // It has more to say then; but one that cannot register tells that, too.
  const reportTimer = setTimeout(beginReport, REPORT_LATEST_MS);
  const stop = async (): Promise<void> => {
    clearTimeout(reportTimer);
    ownScopes.stop();
    await report?.stop();
    await engine.stop();
  };
  const isRestate = config.worker.engine === "restate";
  try {
    // Registered with all of its services at once: a worker that comes back would otherwise take some of them away.
    await Promise.race([ownScopes.firstLook, delay(FIRST_LOOK_MS, undefined, { ref: false })]);
    await untilUp("engine", signal);
    if (!isRestate || config.workflow.restate.worker_register_on_startup) await engine.register(signal);
  } catch (error) {
    logger.error({ error: messageOf(error) }, "worker could not register");
    await stop();
    throw error;
  }
  beginReport();
  return { engine, stop };
}
