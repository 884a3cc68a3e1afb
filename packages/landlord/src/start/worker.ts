/** The worker process: an engine's worker over the compute providers. It has no database and no HTTP API. */
import { resolve as resolvePath } from "node:path";
import type { WorkerConfig } from "../config/schema.ts";
import { messageOf } from "../domain/errors.ts";
import type { ComputeRegistry } from "../compute/registry.ts";
import { createComputeResolver } from "../worker/compute-resolver.ts";
import type { WorkflowWorkerEngine } from "../worker/engine.ts";
import { createLandlordApi, type LandlordApi } from "../worker/landlord-api.ts";
import { createProgressReporter } from "../worker/progress.ts";
import { createRestateWorkerEngine } from "../worker/restate/restate-worker-engine.ts";
import type { WorkerContext } from "../worker/worker-context.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { JsonObject } from "../domain/json.ts";
import { LandlordError } from "../domain/errors.ts";
import { builtInCompute } from "./compute-registry.ts";

const API_TIMEOUT_MS = 5_000;

export interface RunningWorker {
  readonly engine: WorkflowWorkerEngine;
  stop(): Promise<void>;
}

/** Everything that a job needs, from configuration alone. */
export function createWorkerContext(
  config: WorkerConfig,
  api: LandlordApi | null,
  logger: Logger,
  registry: ComputeRegistry = builtInCompute(),
): WorkerContext {
  const overrides = Object.fromEntries(
    Object.entries(config.worker.compute_overrides).filter(
      (entry): entry is [string, JsonObject] => entry[1] !== undefined,
    ),
  );
  const resolver = createComputeResolver(
    registry,
    api,
    {
      cacheTtlMs: config.worker.compute_cache_ttl,
      overrides,
      context: { dataDir: resolvePath(config.data_dir) },
    },
    logger,
    () => performance.now(),
  );
  return {
    logger,
    resolveByName: (name) => resolver.resolve(name, null),
    job: {
      resolveCompute: (request) => resolver.resolveForRequest(request),
      reportProgress: createProgressReporter(config.worker.progress ? api : null, logger),
      absenceSettleMs: config.worker.absence_settle,
      now: Date.now,
    },
  };
}

/** Starts to serve, and then registers; `signal` ends the attempts to register. */
export async function startWorker(
  config: WorkerConfig,
  logger: Logger,
  signal: AbortSignal,
): Promise<RunningWorker> {
  if (config.worker.engine !== "restate") {
    throw new LandlordError(
      "no_worker_for_engine",
      `The engine "${config.worker.engine}" runs its worker inside the server; there is no worker process for it.`,
    );
  }
  const { restate } = config.workflow;
  const api =
    config.worker.api_url === undefined
      ? null
      : createLandlordApi({
          baseUrl: config.worker.api_url,
          token: config.worker.api_token ?? null,
          timeoutMs: API_TIMEOUT_MS,
        });
  const engine = createRestateWorkerEngine(
    {
      namespace: restate.worker_namespace,
      servicePrefix: restate.worker_service_prefix,
      listenHost: restate.worker_listen_host,
      listenPort: restate.worker_listen_port,
      advertisedUrl: restate.worker_advertised_url ?? null,
      adminUrl: restate.worker_admin_endpoint ?? restate.admin_endpoint,
      authToken: restate.auth_token ?? null,
      requestTimeoutMs: restate.request_timeout,
      identityKeys: restate.worker_identity_keys,
      failFast: restate.worker_fail_fast,
      drainTimeoutMs: config.worker.shutdown_timeout,
    },
    createWorkerContext(config, api, logger),
  );
  await engine.start();
  try {
    if (restate.worker_register_on_startup) await engine.register(signal);
  } catch (error) {
    logger.error({ error: messageOf(error) }, "worker could not register");
    await engine.stop();
    throw error;
  }
  return { engine, stop: () => engine.stop() };
}
