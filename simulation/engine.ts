/**
 * A workflow engine: remembers executions and their journals, sends them to workers, repeats what failed with backoff,
 * and gives what a worker left to another. An execution that sleeps is suspended: it goes on anywhere, from its journal.
 * It ends when it is stopped, also while an effect of it still runs in a worker. What it remembers of an execution that
 * has ended, it forgets after its retention.
 */
import { VOID_RESULT, type JobResult, type ProvisionRequest } from "../packages/landlord/src/contract/job.ts";
import type { ErrorRecord } from "../packages/landlord/src/domain/tenant.ts";
import type { Execution, WorkflowStatus } from "../packages/landlord/src/workflow/provider.ts";

export interface EngineSettings {
  readonly maxAttempts: number;
  readonly retryInitialMs: number;
  readonly retryMaxMs: number;
  /** How often it looks whether the worker of a running attempt is still there. */
  readonly heartbeatMs: number;
  readonly retentionMs: number;
  /** Between the call that ends an execution and its end. */
  readonly stopDelayMs: number;
}

/** One attempt as a worker gets it. */
export interface Attempt {
  readonly executionId: string;
  readonly number: number;
  readonly request: ProvisionRequest;
  readonly journal: ReadonlyMap<string, unknown>;
}

/** Between the engine and its workers. */
export interface WorkerLink {
  /** Sends an attempt; false when the worker cannot be reached. */
  send(worker: string, attempt: Attempt): void;
  cancel(worker: string, executionId: string): void;
  /** The worker can be reached, and has this attempt or is yet to get it. */
  isWorkingOn(worker: string, executionId: string, attempt: number): boolean;
  /** One of these for an execution. */
  choose(workers: readonly string[], executionId: string): string;
  /** How long an execution that was just taken is not shown yet. */
  visibilityLagMs(): number;
  /** Runs `effect` later, but not while the engine is down. */
  after(delayMs: number, effect: () => void): void;
  monotonicMs(): number;
}

export interface EngineWatcher {
  /** A request was taken under an id that the engine did not know. */
  accepted(execution: ExecutionView): void;
  /** A step was remembered. */
  remembered(execution: ExecutionView, step: string, answer: unknown): void;
}

export interface ExecutionView {
  readonly executionId: string;
  readonly request: ProvisionRequest | null;
  readonly state: WorkflowStatus["state"];
  readonly journal: ReadonlyMap<string, unknown>;
}

interface Sleep {
  readonly wakeMs: number;
}

interface MutableExecution {
  readonly executionId: string;
  /** Null for one whose id was occupied by a stop. */
  readonly request: ProvisionRequest | null;
  readonly workflowName: string;
  readonly journal: Map<string, unknown>;
  readonly visibleFromMs: number;
  status: WorkflowStatus;
  /** Of the attempt that is running, or the last one. Answers of any other are refused. */
  attempt: number;
  worker: string | null;
  isStopping: boolean;
  isWaiting: boolean;
  readonly watchers: ((status: WorkflowStatus) => void)[];
}

export interface SimulatedEngine {
  invoke(workflowName: string, request: ProvisionRequest): Execution;
  /** As it is. */
  statusOf(executionId: string): WorkflowStatus;
  /** As it is shown: one that was just taken may be unknown for a moment. */
  shownStatusOf(executionId: string): WorkflowStatus;
  stop(executionId: string, force: boolean): Execution;
  /** Resolves when the execution has ended. */
  watch(executionId: string): Promise<WorkflowStatus>;
  register(worker: string, workflowNames: readonly string[]): void;
  /** It is given nothing new. */
  unregister(worker: string): void;
  isServed(workflowName: string): boolean;
  workers(workflowName: string): readonly string[];
  /** From workers. False: this attempt is over, and its worker has to leave it. */
  remember(executionId: string, attempt: number, step: string, answer: unknown): boolean;
  suspend(
    executionId: string,
    attempt: number,
    step: string,
    durationMs: number,
    isWaiting: boolean,
  ): boolean;
  complete(executionId: string, attempt: number, result: JobResult | null): boolean;
  fail(executionId: string, attempt: number, message: string): boolean;
  /** It is back after an outage: every attempt that was running is repeated. */
  resume(): void;
  /** Loses everything that it remembered. */
  wipe(): void;
  executions(): readonly ExecutionView[];
}

export function createSimulatedEngine(
  settings: EngineSettings,
  link: WorkerLink,
  watcher: EngineWatcher,
): SimulatedEngine {
  const executions = new Map<string, MutableExecution>();
  const services = new Map<string, Set<string>>();

  const isPresent = (execution: MutableExecution): boolean =>
    executions.get(execution.executionId) === execution && execution.status.state === "running";

  const current = (executionId: string, attempt: number): MutableExecution | null => {
    const execution = executions.get(executionId);
    if (execution === undefined || !isPresent(execution)) return null;
    return execution.attempt === attempt && execution.worker !== null ? execution : null;
  };

  function accept(
    executionId: string,
    workflowName: string,
    request: ProvisionRequest | null,
    status: WorkflowStatus,
  ): MutableExecution {
    const execution: MutableExecution = {
      executionId,
      request,
      workflowName,
      journal: new Map(),
      visibleFromMs: link.monotonicMs() + link.visibilityLagMs(),
      status,
      attempt: 0,
      worker: null,
      isStopping: false,
      isWaiting: false,
      watchers: [],
    };
    executions.set(executionId, execution);
    if (request !== null) watcher.accepted(viewOf(execution));
    return execution;
  }

  function end(execution: MutableExecution, status: WorkflowStatus): void {
    execution.status = status;
    execution.worker = null;
    for (const notify of execution.watchers) notify(status);
    execution.watchers.length = 0;
    forgetLater(execution);
  }

  function forgetLater(execution: MutableExecution): void {
    link.after(settings.retentionMs, () => {
      if (executions.get(execution.executionId) === execution) executions.delete(execution.executionId);
    });
  }

  function dispatch(execution: MutableExecution): void {
    if (!isPresent(execution) || execution.worker !== null || execution.request === null) return;
    if (execution.isStopping) return end(execution, cancelled(execution.executionId));
    const eligible = [...(services.get(execution.workflowName) ?? [])];
    if (eligible.length === 0) return link.after(settings.retryMaxMs, () => dispatch(execution));
    const worker = link.choose(eligible, execution.executionId);
    execution.attempt += 1;
    execution.worker = worker;
    execution.status = { ...execution.status, subState: "running", nextRetryAt: null };
    const { executionId, request, journal, attempt: number } = execution;
    link.send(worker, { executionId, request, journal: new Map(journal), number });
    watchOver(execution, worker, number);
  }

  function watchOver(execution: MutableExecution, worker: string, attempt: number): void {
    link.after(settings.heartbeatMs, () => {
      if (current(execution.executionId, attempt) !== execution) return;
      if (link.isWorkingOn(worker, execution.executionId, attempt)) watchOver(execution, worker, attempt);
      else retry(execution, "The worker went away.");
    });
  }

  function retry(execution: MutableExecution, message: string): void {
    execution.worker = null;
    const { executionId, status } = execution;
    if (execution.isStopping) return end(execution, cancelled(executionId));
    const retryCount = status.retryCount + 1;
    const error: ErrorRecord = { code: "attempt_failed", message };
    if (retryCount >= settings.maxAttempts) {
      end(execution, {
        ...statusOf(executionId, "failed"),
        retryCount,
        error: { ...error, code: "execution_failed" },
      });
      return;
    }
    const delayMs = Math.min(settings.retryInitialMs * 2 ** (retryCount - 1), settings.retryMaxMs);
    const nextRetryAt = new Date(link.monotonicMs() + delayMs);
    execution.status = { ...status, subState: "backing-off", retryCount, error, nextRetryAt };
    link.after(delayMs, () => dispatch(execution));
  }

  return {
    invoke(workflowName, request) {
      const { execution_id: executionId } = request;
      const alreadyExisted = executions.has(executionId);
      if (!alreadyExisted)
        dispatch(accept(executionId, workflowName, request, statusOf(executionId, "running")));
      return { executionId, handle: `handle-${executionId}`, alreadyExisted };
    },
    statusOf: (executionId) => executions.get(executionId)?.status ?? statusOf(executionId, "unknown"),
    shownStatusOf(executionId) {
      const execution = executions.get(executionId);
      const isShown = execution !== undefined && link.monotonicMs() >= execution.visibleFromMs;
      return isShown ? execution.status : statusOf(executionId, "unknown");
    },
    stop(executionId, force) {
      const existing = executions.get(executionId);
      if (existing === undefined) {
        const status = { ...statusOf(executionId, "succeeded"), output: VOID_RESULT };
        forgetLater(accept(executionId, "", null, status));
      } else if (isPresent(existing)) {
        existing.isStopping = true;
        const { worker } = existing;
        if (worker !== null) link.cancel(worker, executionId);
        // One that waits to be repeated hears of a cancellation with its next attempt only.
        const isDeaf = existing.status.subState === "backing-off" && !force;
        if (!isDeaf) {
          link.after(force ? 0 : settings.stopDelayMs, () => {
            // What is killed says nothing any more.
            if (isPresent(existing))
              end(existing, { ...cancelled(executionId), ...(force ? { error: null } : {}) });
          });
        }
      }
      return { executionId, handle: `handle-${executionId}`, alreadyExisted: existing !== undefined };
    },
    watch(executionId) {
      const execution = executions.get(executionId);
      if (execution === undefined) return Promise.resolve(statusOf(executionId, "unknown"));
      if (execution.status.state !== "running") return Promise.resolve(execution.status);
      return new Promise((resolve) => execution.watchers.push(resolve));
    },
    register(worker, workflowNames) {
      for (const name of workflowNames) {
        const workers = services.get(name) ?? new Set();
        workers.add(worker);
        services.set(name, workers);
      }
    },
    unregister(worker) {
      for (const [name, workers] of services)
        if (workers.delete(worker) && workers.size === 0) services.delete(name);
    },
    isServed: (workflowName) => services.has(workflowName),
    workers: (workflowName) => [...(services.get(workflowName) ?? [])],
    remember(executionId, attempt, step, answer) {
      const execution = current(executionId, attempt);
      if (execution === null) return false;
      execution.journal.set(step, answer);
      watcher.remembered(viewOf(execution), step, answer);
      return true;
    },
    suspend(executionId, attempt, step, durationMs, isWaiting) {
      const execution = current(executionId, attempt);
      if (execution === null) return false;
      const known = execution.journal.get(step) as Sleep | undefined;
      const wakeMs = known?.wakeMs ?? link.monotonicMs() + durationMs;
      execution.journal.set(step, { wakeMs } satisfies Sleep);
      execution.worker = null;
      execution.isWaiting ||= isWaiting;
      execution.status = { ...execution.status, subState: execution.isWaiting ? "waiting" : "running" };
      link.after(wakeMs - link.monotonicMs(), () => dispatch(execution));
      return true;
    },
    complete(executionId, attempt, result) {
      const execution = current(executionId, attempt);
      if (execution === null) return false;
      end(execution, { ...statusOf(executionId, "succeeded"), output: result });
      return true;
    },
    fail(executionId, attempt, message) {
      const execution = current(executionId, attempt);
      if (execution === null) return false;
      retry(execution, message);
      return true;
    },
    resume() {
      for (const execution of executions.values()) {
        if (isPresent(execution) && execution.worker !== null) retry(execution, "The engine was restarted.");
      }
    },
    wipe() {
      executions.clear();
      services.clear();
    },
    executions: () => [...executions.values()].map(viewOf),
  };
}

/** The sleep of this step is over. */
export function hasSlept(answer: unknown, nowMs: number): boolean {
  return answer !== undefined && nowMs >= (answer as Sleep).wakeMs;
}

function viewOf({ executionId, request, status, journal }: MutableExecution): ExecutionView {
  return { executionId, request, state: status.state, journal };
}

function cancelled(executionId: string): WorkflowStatus {
  return { ...statusOf(executionId, "failed"), error: { code: "execution_failed", message: "Cancelled" } };
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
