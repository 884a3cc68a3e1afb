/** The simulated engine behind the WorkflowProvider port. */
import { WORKFLOW_NAME, type QueryMethod, type QueryRequest } from "../packages/landlord/src/contract/job.ts";
import type { Json } from "../packages/landlord/src/domain/json.ts";
import { EngineUnavailableError, NoWorkerError, type WorkflowProvider } from "../packages/landlord/src/workflow/provider.ts";
import type { SimulatedEngine } from "./engine.ts";

export const ENGINE_NAME = "simulated";

/** How a call gets to the engine, and its answer back. What `perform` throws is thrown to the caller. */
export type EngineCall = <T>(name: string, signal: AbortSignal, perform: () => T | Promise<T>) => Promise<T>;

/** A question to a worker that serves this workflow's queries. */
export type Ask = (worker: string, method: QueryMethod, request: QueryRequest, signal: AbortSignal) => Promise<Json>;

export function createSimulatedProvider(engine: SimulatedEngine, call: EngineCall, ask: Ask): WorkflowProvider {
  return {
    name: ENGINE_NAME,
    invoke: ({ workflowName, request, signal }) =>
      call("invoke", signal, () => {
        if (!engine.isServed(workflowName)) {
          throw new NoWorkerError(`No worker has registered ${workflowName} at the engine yet.`);
        }
        return engine.invoke(workflowName, request);
      }),
    getWorkflowStatus: ({ executions, signal }) =>
      call("status", signal, () => executions.map(({ executionId }) => engine.statusOf(executionId))),
    stop: ({ execution, force, signal }) =>
      call("stop", signal, () => engine.stop(execution.executionId, force)),
    query: ({ method, request, signal }) =>
      call("query", signal, () => {
        const [worker] = engine.workers(WORKFLOW_NAME);
        if (worker === undefined) throw new NoWorkerError("No worker has registered at the engine yet.");
        return ask(worker, method, request, signal);
      }),
    ensureWorkflow: ({ signal }) => call("ensure", signal, () => undefined),
    watchCompletion: ({ execution, signal }) => call("watch", signal, () => engine.watch(execution.executionId)),
    health: ({ signal }) => call("health", signal, () => undefined),
    close: () => Promise.resolve(),
  };
}

export function engineUnavailable(reason: string): EngineUnavailableError {
  return new EngineUnavailableError("engine_unreachable", `The workflow engine did not answer: ${reason}.`);
}
