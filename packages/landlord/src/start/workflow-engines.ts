/** The workflow engines that a configuration names: their providers for a server, and a worker's engine. */
import { engineBlockOf, withoutPackage, type Config, type WorkerConfig } from "../config/schema.ts";
import { environment } from "../config/environment.ts";
import { createPayloadCipher, type PayloadCipher } from "../contract/payload-cipher.ts";
import { LandlordError, messageOf } from "../domain/errors.ts";
import { isJsonObject, type JsonObject } from "../domain/json.ts";
import type { WorkflowPlugin } from "../plugin/workflow.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { WorkflowWorkerEngine } from "../worker/engine.ts";
import { createRestateWorkerEngine } from "../worker/restate/restate-worker-engine.ts";
import { createStepFunctionsWorkerEngine } from "../worker/step-functions/step-functions-worker-engine.ts";
import type { WorkerContext } from "../worker/worker-context.ts";
import type { WorkflowProvider } from "../workflow/provider.ts";
import { createRestateProvider } from "../workflow/restate/restate-provider.ts";
import { createStepFunctionsProvider } from "../workflow/step-functions/step-functions-provider.ts";

/** Long polls for jobs that one worker keeps open; AWS advises 100 for an activity, over all workers. */
const JOB_POLLERS = 8;
/** Questions at once. */
const QUERY_POLLERS = 4;

type StepFunctionsConfig = NonNullable<WorkerConfig["workflow"]["step_functions"]>;

/**
 * A provider for each engine that is configured, whether new operations start there or not: what was started on an
 * engine ends on it. The mock engine is not among them, it is one with its worker.
 */
export async function createWorkflowProviders(
  config: Config,
  plugins: readonly WorkflowPlugin[],
  logger: Logger,
): Promise<readonly WorkflowProvider[]> {
  const { restate, step_functions: stepFunctions } = config.workflow;
  const providers: WorkflowProvider[] = [
    createRestateProvider({
      ingressUrl: restate.endpoint,
      adminUrl: restate.admin_endpoint,
      authToken: restate.auth_token ?? null,
      requestTimeoutMs: restate.request_timeout,
      queryTimeoutMs: restate.request_timeout,
      namespace: restate.worker_namespace,
      servicePrefix: restate.worker_service_prefix,
    }),
  ];
  // An engine that is only left for what still runs there must not keep a server from starting.
  const add = async (name: string, create: () => Promise<WorkflowProvider>): Promise<void> => {
    try {
      providers.push(await create());
    } catch (error) {
      if (name === config.controller.workflow_provider) throw error;
      logger.error({ engine: name, error: messageOf(error) }, "workflow engine left out: it cannot be used");
    }
  };
  if (stepFunctions !== undefined) {
    await add("step-functions", () => {
      const provider = createStepFunctionsProvider({
        ...stepFunctionsClient(stepFunctions),
        roleArn: stepFunctions.role_arn,
        queryTimeoutMs: stepFunctions.query_timeout,
        heartbeatSeconds: Math.round(stepFunctions.heartbeat / 1_000),
        tags: stepFunctions.tags,
      });
      return Promise.resolve(provider);
    });
  }
  for (const plugin of plugins) {
    const block = pluginBlock(config, plugin);
    if (block !== null) await add(plugin.name, () => plugin.createProvider(block, { logger }));
  }
  return providers;
}

/** Null when no key is configured. */
export function payloadCipherOf({ workflow }: Pick<WorkerConfig, "workflow">): PayloadCipher | null {
  const single = workflow.encryption_key === undefined ? [] : [workflow.encryption_key];
  const keys = workflow.encryption_keys ?? single;
  return keys.length === 0 ? null : createPayloadCipher(keys);
}

/** The worker's side of the engine that `worker.engine` names; not started yet. */
export async function createWorkerEngine(
  config: WorkerConfig,
  plugins: readonly WorkflowPlugin[],
  context: WorkerContext,
): Promise<WorkflowWorkerEngine> {
  const { engine } = config.worker;
  const { restate, step_functions: stepFunctions } = config.workflow;
  const drainTimeoutMs = config.worker.shutdown_timeout;
  if (engine === "restate") {
    return createRestateWorkerEngine(
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
        drainTimeoutMs,
        resultRetentionMs: restate.result_retention,
      },
      context,
    );
  }
  if (engine === "step-functions" && stepFunctions !== undefined) {
    return createStepFunctionsWorkerEngine(
      {
        ...stepFunctionsClient(stepFunctions),
        concurrency: stepFunctions.worker_concurrency,
        pollers: Math.min(stepFunctions.worker_concurrency, JOB_POLLERS),
        queryPollers: QUERY_POLLERS,
        failFast: stepFunctions.worker_fail_fast,
        drainTimeoutMs,
        workerName: null,
      },
      context,
    );
  }
  const plugin = plugins.find(({ name }) => name === engine);
  const block = plugin === undefined ? null : pluginBlock(config, plugin);
  if (plugin !== undefined && block !== null) return plugin.createWorker(block, context, { drainTimeoutMs });
  throw new LandlordError(
    "no_worker_for_engine",
    engine === "mock"
      ? "The mock engine runs its worker inside the server; there is no worker process for it."
      : `The engine ${engine} is not configured: add the block workflow.${engineBlockOf(engine)}.`,
  );
}

function stepFunctionsClient(config: StepFunctionsConfig) {
  const role = config.assume_role;
  return {
    region: regionOf(config),
    endpoint: config.endpoint ?? null,
    assumeRole:
      role === undefined
        ? null
        : { roleArn: role.role_arn, externalId: role.external_id ?? null, sessionName: role.session_name },
    namePrefix: config.name_prefix,
    requestTimeoutMs: config.request_timeout,
  };
}

/** In the order of the AWS SDK, which cannot be asked before it is loaded. */
function regionOf({ region }: StepFunctionsConfig): string {
  const env = environment();
  const found = region ?? (env["AWS_REGION"] || env["AWS_DEFAULT_REGION"]);
  if (found === undefined || found === "") {
    throw new LandlordError(
      "no_aws_region",
      "Step Functions needs a region: set workflow.step_functions.region, or AWS_REGION.",
    );
  }
  return found;
}

/** The block of a package's engine; null where it is not configured. */
function pluginBlock(config: WorkerConfig, plugin: WorkflowPlugin): JsonObject | null {
  const blocks: Readonly<Record<string, unknown>> = { ...config.workflow };
  const block = blocks[plugin.name];
  return isJsonObject(block) ? withoutPackage(block) : null;
}
