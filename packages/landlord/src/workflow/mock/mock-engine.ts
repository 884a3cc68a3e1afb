/**
 * An engine in memory, for unit tests, simulation and benchmarks: it proves nothing about a real one. Executions are
 * idempotent by id, retried with backoff, and stop like Restate's: an unknown id gets occupied, a running one is
 * cancelled. Forgets ended executions beyond a bound.
 */
import { setTimeout as delay } from "node:timers/promises";
import { VOID_RESULT, type JobResult, type QueryMethod } from "../../contract/job.ts";
import type { JobPayload, QueryPayload } from "../../contract/sealed.ts";
import type { Json } from "../../domain/json.ts";
import { messageOf } from "../../domain/errors.ts";
import {
  EngineUnavailableError,
  NoWorkerError,
  QueryFailedError,
  type WorkflowProvider,
  type WorkflowStatus,
} from "../provider.ts";

/** How the engine runs a job at the worker that attached itself. */
export interface MockJobControl {
  readonly signal: AbortSignal;
  announceWaiting(): void;
  /** Remembers step answers over attempts of one execution. */
  readonly journal: Map<string, unknown>;
}

export interface MockWorker {
  runJob(request: JobPayload, control: MockJobControl): Promise<JobResult>;
  answerQuery(method: QueryMethod, request: QueryPayload, signal: AbortSignal): Promise<Json>;
}

export interface MockEngineSettings {
  readonly latencyMs: number;
  readonly maxAttempts: number;
  readonly retryDelayMs: number;
}

export interface MockEngine {
  readonly provider: WorkflowProvider;
  attachWorker(worker: MockWorker): void;
  detachWorker(): void;
  /** While down, every call fails as unavailable. */
  setDown(down: boolean): void;
  /** Forgets everything, like an engine whose disk was lost. */
  wipe(): void;
  /** Requests received for an execution id, duplicates included. */
  invocationsOf(executionId: string): number;
}

interface MockExecution {
  status: WorkflowStatus;
  readonly abort: AbortController;
  readonly ended: Promise<void>;
  invocations: number;
}

const EXECUTIONS_LIMIT = 10_000;
const DEFAULTS: MockEngineSettings = { latencyMs: 0, maxAttempts: 20, retryDelayMs: 20 };

export function createMockEngine(options: Partial<MockEngineSettings> = {}): MockEngine {
  const settings = { ...DEFAULTS, ...options };
  const executions = new Map<string, MockExecution>();
  let worker: MockWorker | null = null;
  let down = false;

  async function answered(): Promise<void> {
    if (settings.latencyMs > 0) await delay(settings.latencyMs);
    if (down) throw new EngineUnavailableError("engine_unreachable", "The mock engine is down.");
  }

  function begin(executionId: string, run: (execution: MockExecution) => Promise<void>): MockExecution {
    let end!: () => void;
    const execution: MockExecution = {
      status: statusOf(executionId, "running"),
      abort: new AbortController(),
      ended: new Promise((resolve) => (end = resolve)),
      invocations: 1,
    };
    executions.set(executionId, execution);
    if (executions.size > EXECUTIONS_LIMIT) forgetOldest();
    void run(execution).finally(end);
    return execution;
  }

  function forgetOldest(): void {
    for (const [executionId, { status }] of executions) {
      if (status.state === "running") continue;
      executions.delete(executionId);
      return;
    }
  }

  async function runAttempts(execution: MockExecution, request: JobPayload): Promise<void> {
    const { executionId } = execution.status;
    const journal = new Map<string, unknown>();
    for (let attempt = 1; ; attempt++) {
      if (execution.abort.signal.aborted) break;
      try {
        if (worker === null) throw new NoWorkerError("no worker is attached");
        const output = await worker.runJob(request, {
          signal: execution.abort.signal,
          journal,
          announceWaiting: () => {
            if (execution.status.state === "running")
              execution.status = { ...execution.status, subState: "waiting" };
          },
        });
        if (execution.abort.signal.aborted) break;
        execution.status = { ...statusOf(executionId, "succeeded"), output };
        return;
      } catch (error) {
        if (execution.abort.signal.aborted) break;
        const failure = { code: "attempt_failed", message: messageOf(error) };
        if (attempt >= settings.maxAttempts) {
          execution.status = {
            ...statusOf(executionId, "failed"),
            error: { ...failure, code: "execution_failed" },
          };
          return;
        }
        execution.status = {
          ...statusOf(executionId, "running"),
          subState: "backing-off",
          retryCount: attempt,
          error: failure,
        };
        await delay(settings.retryDelayMs, undefined, { signal: execution.abort.signal }).catch(
          () => undefined,
        );
      }
    }
    execution.status = {
      ...statusOf(executionId, "failed"),
      error: { code: "execution_failed", message: "Cancelled" },
    };
  }

  const provider: WorkflowProvider = {
    name: "mock",
    async invoke({ request }) {
      await answered();
      const existing = executions.get(request.execution_id);
      if (existing !== undefined) existing.invocations += 1;
      else begin(request.execution_id, (execution) => runAttempts(execution, request));
      return {
        executionId: request.execution_id,
        handle: request.execution_id,
        alreadyExisted: existing !== undefined,
      };
    },
    async getWorkflowStatus({ executions: wanted }) {
      await answered();
      return wanted.map(
        ({ executionId }) => executions.get(executionId)?.status ?? statusOf(executionId, "unknown"),
      );
    },
    async stop({ execution: { executionId } }) {
      await answered();
      const existing = executions.get(executionId);
      if (existing === undefined) {
        begin(executionId, (execution) => {
          execution.status = { ...statusOf(executionId, "succeeded"), output: VOID_RESULT };
          return Promise.resolve();
        });
      } else {
        existing.abort.abort();
      }
      return { executionId, handle: executionId, alreadyExisted: existing !== undefined };
    },
    async query({ method, request, signal }) {
      await answered();
      if (worker === null) throw new NoWorkerError("No worker is attached to the mock engine.");
      return worker.answerQuery(method, request, signal).catch((error: unknown) => {
        throw new QueryFailedError(messageOf(error), error);
      });
    },
    ensureWorkflow: () => answered(),
    async watchCompletion({ execution: { executionId } }) {
      await answered();
      await executions.get(executionId)?.ended;
      return executions.get(executionId)?.status ?? statusOf(executionId, "unknown");
    },
    health: () => answered(),
    close: () => Promise.resolve(),
  };

  return {
    provider,
    attachWorker: (attached) => (worker = attached),
    detachWorker: () => (worker = null),
    setDown: (value) => (down = value),
    wipe: () => executions.clear(),
    invocationsOf: (executionId) => executions.get(executionId)?.invocations ?? 0,
  };
}

function statusOf(executionId: string, state: WorkflowStatus["state"]): WorkflowStatus {
  return {
    executionId,
    state,
    subState: state === "unknown" ? null : state,
    retryCount: 0,
    nextRetryAt: null,
    error: null,
    output: null,
  };
}
