/** A worker inside the server's process, for the mock engine. */
import { setTimeout as delay } from "node:timers/promises";
import type { JobResult, QueryMethod } from "../../contract/job.ts";
import type { JobPayload, QueryPayload } from "../../contract/sealed.ts";
import type { Json } from "../../domain/json.ts";
import type { WorkflowWorkerEngine } from "../engine.ts";
import { runJob } from "../job.ts";
import { answerPayload, openJob } from "../payloads.ts";
import type { WorkerContext } from "../worker-context.ts";

/** What the engine in memory offers a worker; workflow/mock has the other side. */
export interface InProcessEngine {
  attachWorker(worker: {
    runJob(
      request: JobPayload,
      control: {
        readonly signal: AbortSignal;
        announceWaiting(): void;
        readonly journal: Map<string, unknown>;
      },
    ): Promise<JobResult>;
    answerQuery(method: QueryMethod, request: QueryPayload, signal: AbortSignal): Promise<Json>;
  }): void;
  detachWorker(): void;
}

export function createInProcessWorkerEngine(
  engine: InProcessEngine,
  context: WorkerContext,
): WorkflowWorkerEngine {
  let attachedAt: Date | null = null;
  let jobsInFlight = 0;
  return {
    name: "mock",
    start: () => Promise.resolve(),
    register() {
      engine.attachWorker({
        async runJob(request, control) {
          jobsInFlight += 1;
          try {
            return await openJob(request, context).run(runJob, {
              async run<T>(name: string, effect: (signal: AbortSignal) => Promise<T>): Promise<T> {
                control.signal.throwIfAborted();
                if (control.journal.has(name)) return control.journal.get(name) as T;
                const answer = await effect(control.signal);
                control.journal.set(name, answer);
                return answer;
              },
              async sleep(durationMs) {
                await delay(durationMs, undefined, { signal: control.signal });
              },
              idempotencyKey: (name) => `${request.execution_id}/${name}`,
              announceWaiting: () => control.announceWaiting(),
            });
          } finally {
            jobsInFlight -= 1;
          }
        },
        answerQuery: (method, request, signal) => answerPayload(method, request, context, signal),
      });
      attachedAt = new Date();
      return Promise.resolve();
    },
    // It sees what the server's own process sees: there is one scope.
    serveScopes: () => Promise.resolve(),
    stop() {
      engine.detachWorker();
      return Promise.resolve();
    },
    status: () => ({
      listenAddress: null,
      registeredAt: attachedAt,
      lastRegistrationError: null,
      jobsInFlight,
    }),
  };
}
