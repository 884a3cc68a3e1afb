/** The simulated engine behind the WorkflowProvider port. */
import {
  nameInScope,
  WORKFLOW_NAME,
  type QueryMethod,
  type QueryRequest,
} from "../packages/landlord/src/contract/job.ts";
import { isSealed, type Sealed } from "../packages/landlord/src/contract/sealed.ts";
import type { Json } from "../packages/landlord/src/domain/json.ts";
import {
  EngineUnavailableError,
  NoWorkerError,
  type WorkflowProvider,
} from "../packages/landlord/src/workflow/provider.ts";
import type { SimulatedEngine } from "./engine.ts";

const ENGINE_NAME = "simulated";

/** How a call gets to the engine, and its answer back. What `perform` throws is thrown to the caller. */
export type EngineCall = <T>(name: string, signal: AbortSignal, perform: () => T | Promise<T>) => Promise<T>;

/** A question to one of these workers. */
export type Ask = (
  workers: readonly string[],
  method: QueryMethod,
  request: QueryRequest,
  signal: AbortSignal,
) => Promise<Json>;

export function createSimulatedProvider(
  engine: SimulatedEngine,
  call: EngineCall,
  ask: Ask,
): WorkflowProvider {
  return {
    name: ENGINE_NAME,
    invoke: ({ workflowName, request, signal }) =>
      call("invoke", signal, () => {
        if (!engine.isServed(workflowName)) {
          throw new NoWorkerError(`No worker has registered ${workflowName} at the engine yet.`);
        }
        return engine.invoke(workflowName, inTheClear(request));
      }),
    getWorkflowStatus: ({ executions, signal }) =>
      call("status", signal, () => executions.map(({ executionId }) => engine.shownStatusOf(executionId))),
    stop: ({ execution, force, signal }) =>
      call("stop", signal, () => engine.stop(execution.executionId, force)),
    query: ({ method, request, scope, signal }) =>
      call("query", signal, () => {
        // A worker that serves a scope's workflow answers its questions, too.
        const workers = engine.workers(nameInScope(WORKFLOW_NAME, scope ?? null));
        if (workers.length === 0) throw new NoWorkerError("No worker that could answer has registered yet.");
        return ask(workers, method, inTheClear(request), signal);
      }),
    ensureWorkflow: ({ signal }) => call("ensure", signal, () => undefined),
    watchCompletion: ({ execution, signal }) =>
      call("watch", signal, () => engine.watch(execution.executionId)),
    health: ({ signal }) => call("health", signal, () => undefined),
    close: () => Promise.resolve(),
  };
}

/** No key is configured here. */
function inTheClear<Payload extends object>(payload: Payload): Exclude<Payload, Sealed> {
  if (isSealed(payload)) throw new Error("a payload is encrypted, and no worker of the simulation has a key");
  return payload as Exclude<Payload, Sealed>;
}

export function engineUnavailable(reason: string): EngineUnavailableError {
  return new EngineUnavailableError("engine_unreachable", `The workflow engine did not answer: ${reason}.`);
}
