/** The engine in memory: each method of its provider is one call to it. */
import { createInProcessWorkerEngine } from "../../../src/worker/in-process/in-process-worker-engine.ts";
import { createMockEngine, type MockWorker } from "../../../src/workflow/mock/mock-engine.ts";
import { EngineUnavailableError, type WorkflowProvider } from "../../../src/workflow/provider.ts";
import { messageOf } from "../../../src/domain/errors.ts";
import {
  CallLostError,
  Faults,
  type ConformanceSubject,
  type WorkflowHarness,
} from "../../../src/plugin/testing.ts";

function atDistance(provider: WorkflowProvider, faults: Faults): WorkflowProvider {
  const call = <T>(name: string, perform: () => Promise<T>, isEffect = false): Promise<T> =>
    faults.call(name, perform, isEffect).catch((error: unknown) => {
      if (!(error instanceof CallLostError)) throw error;
      throw new EngineUnavailableError("engine_unreachable", messageOf(error), { cause: error });
    });
  const { watchCompletion } = provider;
  return {
    name: provider.name,
    invoke: (params) => call("invoke", () => provider.invoke(params), true),
    getWorkflowStatus: (params) => call("status", () => provider.getWorkflowStatus(params)),
    stop: (params) => call("stop", () => provider.stop(params), true),
    query: (params) => call("query", () => provider.query(params)),
    ensureWorkflow: (params) => call("ensure", () => provider.ensureWorkflow(params)),
    watchCompletion:
      watchCompletion === null ? null : (params) => call("watch", () => watchCompletion(params)),
    health: (params) => call("health", () => provider.health(params)),
    close: () => Promise.resolve(),
  };
}

/** `wrap` stands between the engine's provider and its user. */
export function openMockEngineHarness(
  wrap: (provider: WorkflowProvider) => WorkflowProvider = (provider) => provider,
): WorkflowHarness {
  const engine = createMockEngine({ retryDelayMs: 50 });
  return {
    open: (faults) => Promise.resolve(wrap(atDistance(engine.provider, faults))),
    openUnreachable: () =>
      Promise.resolve(wrap(atDistance(engine.provider, new Faults({ kind: "crash", after: 0 })))),
    async startWorker(context) {
      let die: (reason: Error) => void = () => undefined;
      const death = new Promise<never>((_, reject) => (die = reject));
      death.catch(() => undefined);
      const mortal = {
        attachWorker: (worker: MockWorker) =>
          engine.attachWorker({
            runJob: (request, control) => Promise.race([worker.runJob(request, control), death]),
            answerQuery: (method, request, signal) =>
              Promise.race([worker.answerQuery(method, request, signal), death]),
          }),
        detachWorker: () => engine.detachWorker(),
      };
      const worker = createInProcessWorkerEngine(mortal, context);
      await worker.start();
      await worker.register(new AbortController().signal);
      return {
        engine: worker,
        kill() {
          engine.detachWorker();
          die(new Error("the worker died"));
          return Promise.resolve();
        },
      };
    },
    jobTimeoutMs: 5_000,
    takeOverTimeoutMs: 5_000,
    close: () => Promise.resolve(),
  };
}

export const mockWorkflow: ConformanceSubject<WorkflowHarness> = {
  name: "mock",
  open: () => Promise.resolve(openMockEngineHarness()),
};
