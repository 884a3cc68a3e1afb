/** The engine in memory with its worker in the same process: for tests and benchmarks. */
import type { Config } from "../config/schema.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { WorkflowProvider } from "../workflow/provider.ts";
import { createMockEngine } from "../workflow/mock/mock-engine.ts";
import { createInProcessWorkerEngine } from "../worker/in-process/in-process-worker-engine.ts";
import { computeBlocks } from "../config/schema.ts";
import type { ComputeProviderFactory } from "../compute/provider.ts";
import { computeRegistry } from "./compute-registry.ts";
import { createWorkerContext } from "./worker.ts";

export async function startMockEngine(
  config: Config,
  logger: Logger,
  computePlugins: readonly ComputeProviderFactory[],
): Promise<{ readonly provider: WorkflowProvider; stop: () => Promise<void> }> {
  const engine = createMockEngine({ latencyMs: config.workflow.mock.latency_ms });
  // The worker shares the process, so it takes the engine configurations from here and not over HTTP.
  const overrides = Object.fromEntries(computeBlocks(config.compute));
  const context = createWorkerContext(
    { ...config, worker: { ...config.worker, compute_overrides: overrides } },
    null,
    logger,
    computeRegistry(computePlugins),
  );
  const worker = createInProcessWorkerEngine(engine, context);
  await worker.register(new AbortController().signal);
  return { provider: engine.provider, stop: () => worker.stop() };
}
