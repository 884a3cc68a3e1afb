/**
 * DurableSteps on a task of Step Functions. The engine remembers nothing of a running task, so what a step answered
 * lives as long as the task; only at the border between the two phases of a job the answers travel with it. A step that
 * throws fails the task, and the engine gives it out again from its beginning, which a job bears (worker/job.ts).
 */
import type { JobPhase } from "../../contract/step-functions-names.ts";
import type { DurableSteps } from "../steps.ts";
import { pause } from "./pause.ts";

/** Thrown out of a job that from now on only waits: its rest is a task of its own. */
export class PhaseEnded extends Error {
  override readonly name = "PhaseEnded";
}

/** Thrown out of a job whose worker stops: another worker goes on. */
export class HandedBack extends Error {
  override readonly name = "HandedBack";
}

export interface TaskSteps extends DurableSteps {
  /** What the steps answered so far, to carry into the next phase; empty when it would be too large. */
  journal(): Readonly<Record<string, unknown>>;
}

/** Of what is carried; the step's answers are short, and a job is correct without them. */
const JOURNAL_LIMIT_BYTES = 32 * 1024;

export function createTaskSteps(settings: {
  readonly executionId: string;
  readonly phase: JobPhase;
  /** Answers from the phase before. */
  readonly journal: Readonly<Record<string, unknown>>;
  /** Aborted when the task is lost; its reason is thrown. */
  readonly signal: AbortSignal;
  /** Aborted when the worker stops: a job that only pauses need not be waited for. */
  readonly stopping: AbortSignal;
}): TaskSteps {
  const { executionId, signal, stopping } = settings;
  const answers = new Map(Object.entries(settings.journal));
  let onlyWaits = false;
  return {
    async run<T>(name: string, effect: (signal: AbortSignal) => Promise<T>): Promise<T> {
      signal.throwIfAborted();
      if (answers.has(name)) return answers.get(name) as T;
      const answer = await effect(signal);
      answers.set(name, answer);
      return answer;
    },
    async sleep(durationMs) {
      if (onlyWaits) throw new PhaseEnded();
      await pause(durationMs, AbortSignal.any([signal, stopping]));
      signal.throwIfAborted();
      if (stopping.aborted) throw new HandedBack();
    },
    idempotencyKey: (name) => `${executionId}/${name}`,
    announceWaiting() {
      onlyWaits = settings.phase === "run";
    },
    journal() {
      const text = JSON.stringify(Object.fromEntries(answers));
      return Buffer.byteLength(text) <= JOURNAL_LIMIT_BYTES
        ? (JSON.parse(text) as Record<string, unknown>)
        : {};
    },
  };
}
