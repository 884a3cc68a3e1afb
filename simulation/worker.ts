/** A worker's side of the simulated engine: runs attempts of jobs with the real job executor. */
import type { JobResult, ProvisionRequest } from "../packages/landlord/src/contract/job.ts";
import { messageOf } from "../packages/landlord/src/domain/errors.ts";
import { runJob, type JobDependencies } from "../packages/landlord/src/worker/job.ts";
import type { DurableSteps } from "../packages/landlord/src/worker/steps.ts";
import { hasSlept, type Attempt } from "./engine.ts";

/** What the engine answers to a worker; false ends the attempt. Rejects when the call did not come through. */
export interface EngineLink {
  remember(attempt: Attempt, step: string, answer: unknown): Promise<boolean>;
  suspend(attempt: Attempt, step: string, durationMs: number, isWaiting: boolean): Promise<boolean>;
  complete(attempt: Attempt, result: JobResult): Promise<boolean>;
  fail(attempt: Attempt, message: string): Promise<boolean>;
  /** The engine's clock, by which sleeps are measured. */
  monotonicMs(): number;
}

export interface SimulatedWorker {
  /** Takes an attempt. One that it has already is not taken again. */
  take(attempt: Attempt): void;
  cancel(executionId: string): void;
  has(executionId: string, attempt: number): boolean;
  readonly jobsInFlight: number;
}

/** Wraps what runs one attempt: the real job executor unless something is planted. */
export type RunJob = (
  request: ProvisionRequest,
  steps: DurableSteps,
  dependencies: JobDependencies,
) => Promise<JobResult>;

interface Running {
  readonly attempt: number;
  readonly abort: AbortController;
}

/** Waited for by an attempt that is over: what it would have done next never happens. */
const NEVER = new Promise<never>(() => undefined);

export function createSimulatedWorker(
  link: EngineLink,
  dependencies: JobDependencies,
  run: RunJob = runJob,
): SimulatedWorker {
  const running = new Map<string, Running>();

  function forget({ executionId, number }: Attempt): void {
    if (running.get(executionId)?.attempt === number) running.delete(executionId);
  }

  function leave(attempt: Attempt): void {
    const own = running.get(attempt.executionId);
    if (own?.attempt === attempt.number) own.abort.abort();
    forget(attempt);
  }

  /** The engine's word on an attempt; when there is none, the connection is broken and the attempt is over. */
  async function orLeave(attempt: Attempt, word: Promise<boolean>): Promise<boolean> {
    const goesOn = await word.catch(() => false);
    if (!goesOn) leave(attempt);
    return goesOn;
  }

  function stepsOf(attempt: Attempt, signal: AbortSignal): DurableSteps {
    const { journal, executionId } = attempt;
    let sleeps = 0;
    let isWaiting = false;
    return {
      async run<T>(name: string, effect: (signal: AbortSignal) => Promise<T>): Promise<T> {
        if (journal.has(name)) return journal.get(name) as T;
        const answer = await effect(signal);
        if (!(await orLeave(attempt, link.remember(attempt, name, answer)))) await NEVER;
        return answer;
      },
      async sleep(durationMs) {
        const step = `sleep-${++sleeps}`;
        if (hasSlept(journal.get(step), link.monotonicMs())) return;
        await orLeave(attempt, link.suspend(attempt, step, durationMs, isWaiting));
        // Another attempt goes on from here, in this worker or in another.
        forget(attempt);
        await NEVER;
      },
      idempotencyKey: (name) => `${executionId}/${name}`,
      announceWaiting: () => (isWaiting = true),
    };
  }

  async function work(attempt: Attempt, abort: AbortController): Promise<void> {
    const { request } = attempt;
    let word: Promise<boolean>;
    try {
      word = link.complete(attempt, await run(request, stepsOf(attempt, abort.signal), dependencies));
    } catch (error) {
      word = link.fail(attempt, messageOf(error));
    }
    await orLeave(attempt, word);
    forget(attempt);
  }

  return {
    take(attempt) {
      const own = running.get(attempt.executionId);
      if (own !== undefined && own.attempt >= attempt.number) return;
      own?.abort.abort();
      const abort = new AbortController();
      running.set(attempt.executionId, { attempt: attempt.number, abort });
      void work(attempt, abort);
    },
    cancel(executionId) {
      running.get(executionId)?.abort.abort();
      running.delete(executionId);
    },
    has: (executionId, attempt) => running.get(executionId)?.attempt === attempt,
    get jobsInFlight() {
      return running.size;
    },
  };
}
