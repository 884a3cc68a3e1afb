/** The simulation's engine, its virtual time driven by the clock of this machine, and faster. */
import { setTimeout as delay } from "node:timers/promises";
import {
  createSimulatedProvider,
  engineUnavailable,
  type EngineCall,
} from "../../../../../simulation/engine-provider.ts";
import { createSimulatedEngine, type SimulatedEngine } from "../../../../../simulation/engine.ts";
import { createRandom } from "../../../../../simulation/random.ts";
import { createScheduler, type Scheduler } from "../../../../../simulation/scheduler.ts";
import { ENGINE_SETTINGS } from "../../../../../simulation/settings.ts";
import {
  createSimulatedWorker,
  type EngineLink,
  type SimulatedWorker,
} from "../../../../../simulation/worker.ts";
import { WORKFLOW_NAME } from "../../../src/contract/job.ts";
import { messageOf } from "../../../src/domain/errors.ts";
import {
  CallLostError,
  Faults,
  type ConformanceSubject,
  type WorkflowHarness,
} from "../../../src/plugin/testing.ts";
import type { WorkflowWorkerEngine } from "../../../src/worker/engine.ts";
import { answerQuery } from "../../../src/worker/queries.ts";
import type { WorkerContext } from "../../../src/worker/worker-context.ts";
import { NoWorkerError, type WorkflowProvider } from "../../../src/workflow/provider.ts";

const TICK_MS = 5;
/** Milliseconds of virtual time in one of this machine. */
const SPEED = 5;
const LATENCY_MS = 1;

interface Part {
  readonly worker: SimulatedWorker;
  readonly context: WorkerContext;
  isAlive: boolean;
}

/** An engine and its workers in one virtual time. */
class SimulatedWorld {
  readonly scheduler: Scheduler = createScheduler(createRandom(1));
  readonly workers = new Map<string, Part>();
  readonly engine: SimulatedEngine;
  #isRunning = true;
  readonly #clock: Promise<void>;
  #workers = 0;

  constructor() {
    const random = createRandom(2);
    const reach = (name: string, effect: (part: Part) => void): void => {
      this.scheduler.after(LATENCY_MS, 0, () => {
        const part = this.workers.get(name);
        if (part?.isAlive === true) effect(part);
      });
    };
    this.engine = createSimulatedEngine(
      {
        ...ENGINE_SETTINGS,
        maxAttempts: 1_000,
        retryInitialMs: 100,
        retryMaxMs: 500,
        retentionMs: 3_600_000,
      },
      {
        send: (name, attempt) => reach(name, ({ worker }) => worker.take(attempt)),
        cancel: (name, executionId) => reach(name, ({ worker }) => worker.cancel(executionId)),
        isWorkingOn: (name, executionId, attempt) => {
          const part = this.workers.get(name);
          return part?.isAlive === true && part.worker.has(executionId, attempt);
        },
        choose: (workers) => random.pick(workers),
        visibilityLagMs: () => 0,
        after: (delayMs, effect) => void this.scheduler.after(delayMs, 0, effect),
        monotonicMs: () => this.scheduler.nowMs,
      },
      { accepted: () => undefined, remembered: () => undefined },
    );
    this.#clock = this.#run();
  }

  async #run(): Promise<void> {
    const startMs = performance.now();
    while (this.#isRunning) {
      await this.scheduler.run((performance.now() - startMs) * SPEED);
      await delay(TICK_MS);
    }
  }

  async close(): Promise<void> {
    this.#isRunning = false;
    await this.#clock;
  }

  provider(faults: Faults): WorkflowProvider {
    const call: EngineCall = (name, _signal, perform) =>
      faults
        .call(name, async () => perform(), name === "invoke" || name === "stop")
        .catch((error: unknown) => {
          throw error instanceof CallLostError ? engineUnavailable(messageOf(error)) : error;
        });
    return createSimulatedProvider(this.engine, call, async ([name = ""], method, request, signal) => {
      const part = this.workers.get(name);
      if (part?.isAlive !== true) throw new NoWorkerError(`${name} does not answer.`);
      return answerQuery(method, request, await part.context.resolveByName(request.compute_provider), signal);
    });
  }

  startWorker(context: WorkerContext): { readonly engine: WorkflowWorkerEngine; kill(): Promise<void> } {
    const name = `worker-${++this.#workers}`;
    const { engine, scheduler } = this;
    /** A dead worker is heard of no more; a living one is answered at once. */
    const word = (tell: () => boolean): Promise<boolean> =>
      this.workers.get(name)?.isAlive === true ? Promise.resolve(tell()) : new Promise(() => undefined);
    const link: EngineLink = {
      remember: ({ executionId, number }, step, answer) =>
        word(() => engine.remember(executionId, number, step, answer)),
      suspend: ({ executionId, number }, step, durationMs, isWaiting) =>
        word(() => engine.suspend(executionId, number, step, durationMs, isWaiting)),
      complete: ({ executionId, number }, result) => word(() => engine.complete(executionId, number, result)),
      fail: ({ executionId, number }, message) => word(() => engine.fail(executionId, number, message)),
      monotonicMs: () => scheduler.nowMs,
    };
    const part: Part = { worker: createSimulatedWorker(link, context.job), context, isAlive: true };
    this.workers.set(name, part);
    let registeredAt: Date | null = null;
    const register = (): void => {
      engine.register(name, [WORKFLOW_NAME]);
      registeredAt = new Date();
    };
    register();
    return {
      engine: {
        name: "simulated",
        start: () => Promise.resolve(),
        register: () => Promise.resolve(register()),
        serveScopes: () => Promise.resolve(),
        async stop() {
          engine.unregister(name);
          while (part.worker.jobsInFlight > 0) await delay(TICK_MS);
        },
        status: () => ({
          listenAddress: null,
          registeredAt,
          lastRegistrationError: null,
          jobsInFlight: part.worker.jobsInFlight,
        }),
      },
      kill: () => {
        part.isAlive = false;
        engine.unregister(name);
        return Promise.resolve();
      },
    };
  }
}

function openSimulatedHarness(): WorkflowHarness {
  const world = new SimulatedWorld();
  return {
    open: (faults) => Promise.resolve(world.provider(faults)),
    openUnreachable: () => Promise.resolve(world.provider(new Faults({ kind: "crash", after: 0 }))),
    startWorker: (context) => Promise.resolve(world.startWorker(context)),
    jobTimeoutMs: 15_000,
    takeOverTimeoutMs: 30_000,
    close: () => world.close(),
  };
}

export const simulatedWorkflow: ConformanceSubject<WorkflowHarness> = {
  name: "simulated",
  open: () => Promise.resolve(openSimulatedHarness()),
};
