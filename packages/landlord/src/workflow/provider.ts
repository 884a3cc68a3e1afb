/** The port to a workflow engine, seen from the server: start, watch and stop executions, ask read-only questions. */
import type { JobResult, QueryMethod } from "../contract/job.ts";
import type { JobPayload, QueryPayload } from "../contract/sealed.ts";
import type { Json } from "../domain/json.ts";
import { LandlordError, UnavailableError } from "../domain/errors.ts";
import type { ErrorRecord, SubState } from "../domain/tenant.ts";

/** An execution as the server knows it. */
export interface ExecutionRef {
  /** Minted by the ledger; the engine's idempotency key. */
  readonly executionId: string;
  /** The engine's own address of it, from `invoke` or `stop`; null when no answer was ever recorded. */
  readonly handle: string | null;
  readonly workflowName: string;
}

export interface Execution {
  readonly executionId: string;
  readonly handle: string;
  /** The engine had this id already. Whether it is running the same request, only its result can tell. */
  readonly alreadyExisted: boolean;
}

/** `unknown`: the engine answered and has no such execution. An engine that does not answer is an error instead. */
export type ExecutionState = "unknown" | "running" | "succeeded" | "failed";

export interface WorkflowStatus {
  readonly executionId: string;
  readonly state: ExecutionState;
  /** Null only when the state is `unknown`. */
  readonly subState: SubState | null;
  readonly retryCount: number;
  readonly nextRetryAt: Date | null;
  /** The last failure, of an attempt or of the whole execution. */
  readonly error: ErrorRecord | null;
  /** Present when `succeeded` and the answer had the shape of a job result. */
  readonly output: JobResult | null;
}

export interface CallOptions {
  /** Aborts the call; it may still have taken effect. */
  readonly signal: AbortSignal;
}

/**
 * A workflow engine. Every call may be repeated. Failures to reach the engine are EngineUnavailableError;
 * a refusal that repeating cannot mend is EngineRejectedError.
 */
export interface WorkflowProvider {
  readonly name: string;
  /** Starts an execution, or finds the one that already has this id. */
  invoke(
    params: { readonly workflowName: string; readonly request: JobPayload } & CallOptions,
  ): Promise<Execution>;
  /** Statuses in the order asked; at most 1,000 at once. */
  getWorkflowStatus(
    params: { readonly executions: readonly ExecutionRef[] } & CallOptions,
  ): Promise<readonly WorkflowStatus[]>;
  /**
   * Asks an execution to end, and returns without waiting for it. An id that the engine does not know is occupied,
   * so that a late invoke finds it taken. `force` ends it without its cooperation.
   */
  stop(
    params: {
      readonly execution: ExecutionRef;
      readonly reason: string;
      readonly force: boolean;
    } & CallOptions,
  ): Promise<Execution>;
  /**
   * A read-only question, answered by a worker, or by one in `scope`. Throws NoWorkerError when none can, and
   * QueryFailedError when one took it and failed.
   */
  query(
    params: {
      readonly method: QueryMethod;
      readonly request: QueryPayload;
      readonly scope?: string | null;
    } & CallOptions,
  ): Promise<Json>;
  /** Creates or updates the engine's definition of the workflow, where the engine keeps one. */
  ensureWorkflow(params: { readonly workflowName: string } & CallOptions): Promise<void>;
  /** Resolves when the execution ended; null where the engine cannot push. */
  readonly watchCompletion:
    ((params: { readonly execution: ExecutionRef } & CallOptions) => Promise<WorkflowStatus>) | null;
  /** Resolves when the engine is reachable and able to take work. */
  health(params: CallOptions): Promise<void>;
  /** Releases connections. */
  close(): Promise<void>;
}

/** The engine did not answer, or said that it cannot serve now. */
export class EngineUnavailableError extends UnavailableError {}

/** The engine refused the request itself. */
export class EngineRejectedError extends LandlordError {}

/** A worker took the question and could not answer it: its compute provider is out of reach, or misconfigured. */
export class QueryFailedError extends LandlordError {
  constructor(message: string, cause?: unknown) {
    super("query_failed", message, { cause });
  }
}

/** No worker is registered, or none answered in time. */
export class NoWorkerError extends UnavailableError {
  constructor(message: string, cause?: unknown) {
    super("no_worker", message, { cause });
  }
}
