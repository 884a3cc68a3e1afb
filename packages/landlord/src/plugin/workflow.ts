/**
 * `landlord/workflow`: what an author of a workflow engine imports, and what the package has to export. Both sides of
 * the engine are in one package: the provider for servers, and the worker engine.
 */
import type { z } from "zod";
import type { JsonObject } from "../domain/json.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { WorkflowWorkerEngine } from "../worker/engine.ts";
import type { WorkerContext } from "../worker/worker-context.ts";
import type { WorkflowProvider } from "../workflow/provider.ts";

/** Raised when one of the two ports changes in a way that an engine notices. */
export const WORKFLOW_PORT_VERSION = 1;

/** The default export of a package that brings a workflow engine. */
export interface WorkflowPlugin {
  readonly kind: "workflow";
  /** The WORKFLOW_PORT_VERSION that the package was written for, as a number of its own. */
  readonly portVersion: number;
  /** What `controller.workflow_provider` and `worker.engine` say. */
  readonly name: string;
  /** The engine's block of the configuration (`workflow.<name>`): a strict object, every key with a description. */
  readonly configSchema: z.ZodType<JsonObject>;
  /** The server's side. */
  createProvider(config: JsonObject, context: { readonly logger: Logger }): Promise<WorkflowProvider>;
  /** The worker's side, not started yet. */
  createWorker(
    config: JsonObject,
    context: WorkerContext,
    options: { readonly drainTimeoutMs: number },
  ): Promise<WorkflowWorkerEngine>;
}

export {
  nameInScope,
  provisionRequestSchema,
  QUERY_METHODS,
  QUERY_SERVICE_NAME,
  queryRequestSchema,
  VOID_REQUEST,
  VOID_RESULT,
  WORKFLOW_NAME,
  type JobResult,
  type ProvisionRequest,
  type QueryMethod,
  type QueryRequest,
} from "../contract/job.ts";
export type { Json, JsonObject } from "../domain/json.ts";
export type { Logger } from "../telemetry/logger.ts";
export type { WorkerEngineStatus, WorkflowWorkerEngine } from "../worker/engine.ts";
export { runJob, type JobDependencies } from "../worker/job.ts";
export { answerPayload, InvalidPayloadError, openJob, type OpenedJob } from "../worker/payloads.ts";
export type { JobPayload, QueryPayload } from "../contract/sealed.ts";
export { answerQuery } from "../worker/queries.ts";
export type { DurableSteps } from "../worker/steps.ts";
export type { WorkerContext } from "../worker/worker-context.ts";
export {
  EngineRejectedError,
  EngineUnavailableError,
  NoWorkerError,
  QueryFailedError,
  type CallOptions,
  type Execution,
  type ExecutionRef,
  type ExecutionState,
  type WorkflowProvider,
  type WorkflowStatus,
} from "../workflow/provider.ts";
