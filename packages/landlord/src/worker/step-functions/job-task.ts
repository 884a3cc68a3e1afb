/** One task of the job's activity: runs the job while heartbeating, and tells the engine how it went. */
import type { SFN } from "@aws-sdk/client-sfn";
import {
  jobTaskSchema,
  STEP_FUNCTIONS_ERRORS,
  type JobTask,
  type JobTaskOutput,
} from "../../contract/step-functions-names.ts";
import { LandlordError, messageOf } from "../../domain/errors.ts";
import { runJob } from "../job.ts";
import { InvalidPayloadError, openJob, type OpenedJob } from "../payloads.ts";
import type { WorkerContext } from "../worker-context.ts";
import { isLostTask } from "./client.ts";
import { keepAlive, TaskLost } from "./heartbeat.ts";
import { pause } from "./pause.ts";
import { createTaskSteps, HandedBack, PhaseEnded } from "./steps.ts";

export interface ActivityTask {
  readonly token: string;
  readonly input: string;
}

export interface TaskParts {
  readonly sfn: SFN;
  readonly context: WorkerContext;
  readonly requestTimeoutMs: number;
  /** Aborted when the worker begins to stop: jobs that only pause are handed back. */
  readonly stopping: AbortSignal;
  /** Aborted when the worker's time to stop is over: every job is handed back. */
  readonly leaving: AbortSignal;
}

/** What to tell the engine; null when it does not want to hear of the task any more. */
type Answer =
  | { readonly kind: "success"; readonly output: JobTaskOutput }
  | { readonly kind: "failure"; readonly error: string; readonly cause: string }
  | null;

const CAUSE_LIMIT = 4_000;
const ERROR_NAME_LIMIT = 256;
const FIRST_RETRY_MS = 200;
const LONGEST_RETRY_MS = 5_000;
/** Of a task that was handed over with words that this worker does not understand. */
const ANSWER_LIMIT_MS = 60_000;

/**
 * Resolves when the job has really ended, also the step of a task that was lost meanwhile. Never rejects.
 */
export async function runJobTask(task: ActivityTask, parts: TaskParts): Promise<void> {
  const { logger } = parts.context;
  const understood = parseTask(task.input, parts.context);
  if (understood.kind === "failure") {
    logger.warn({ error: understood.error, cause: understood.cause }, "task refused");
    await deliver(task, understood, parts, AbortSignal.timeout(ANSWER_LIMIT_MS));
    return;
  }
  const { jobTask, opened } = understood;
  const { request } = opened;
  const fields = {
    execution_id: request.execution_id,
    tenant_id: request.tenant_id,
    operation: request.operation,
    phase: jobTask.phase,
  };
  const log = logger.child(fields);
  log.debug({ retry_count: jobTask.retry_count }, "job runs");
  const abort = new AbortController();
  const ended = new AbortController();
  const leave = (): void => abort.abort(new HandedBack());
  parts.leaving.addEventListener("abort", leave, { once: true });
  const beating = keepAlive({
    timeoutMs: jobTask.heartbeat_seconds * 1_000,
    ended: ended.signal,
    logger: log,
    beat: (abortSignal) => parts.sfn.sendTaskHeartbeat({ taskToken: task.token }, { abortSignal }),
    onLost: (reason) => {
      log.warn({ reason: reason.message }, "task lost; its result will not be used");
      abort.abort(reason);
    },
  });
  const job = runPhase(jobTask, opened, parts, abort.signal);
  // A step may ignore its signal: what the engine is told must not wait for it.
  const answer = await Promise.race([job, endOf(abort.signal)]);
  if (answer !== null) await deliver(task, answer, parts, lostSignal(abort.signal));
  ended.abort();
  parts.leaving.removeEventListener("abort", leave);
  await Promise.all([beating, job]);
}

function parseTask(
  input: string,
  context: WorkerContext,
):
  | { readonly kind: "task"; readonly jobTask: JobTask; readonly opened: OpenedJob }
  | (Answer & { readonly kind: "failure" }) {
  let value: unknown;
  try {
    value = JSON.parse(input);
  } catch (error) {
    return { kind: "failure", error: STEP_FUNCTIONS_ERRORS.unknownTask, cause: messageOf(error) };
  }
  const jobTask = jobTaskSchema.safeParse(value);
  if (!jobTask.success) {
    return {
      kind: "failure",
      error: STEP_FUNCTIONS_ERRORS.unknownTask,
      cause: `This worker does not understand the task; is it older than the server? ${jobTask.error.message}`,
    };
  }
  try {
    return { kind: "task", jobTask: jobTask.data, opened: openJob(jobTask.data.request, context) };
  } catch (error) {
    // A worker that has the key may be the next to get it.
    const code = error instanceof LandlordError ? error.code : STEP_FUNCTIONS_ERRORS.unknownTask;
    return {
      kind: "failure",
      error: error instanceof InvalidPayloadError ? STEP_FUNCTIONS_ERRORS.invalidRequest : code,
      cause: messageOf(error),
    };
  }
}

async function runPhase(
  task: JobTask,
  opened: OpenedJob,
  parts: TaskParts,
  signal: AbortSignal,
): Promise<Answer> {
  const steps = createTaskSteps({
    executionId: opened.request.execution_id,
    phase: task.phase,
    journal: task.journal,
    signal,
    stopping: parts.stopping,
  });
  const dependencies = { ...parts.context.job, now: () => begunAtMs(task, parts) };
  try {
    const result = await opened.run(runJob, steps, dependencies);
    return { kind: "success", output: { phase: "done", result } };
  } catch (error) {
    if (error instanceof PhaseEnded) {
      return { kind: "success", output: { phase: "waiting", journal: steps.journal() } };
    }
    return failureOf(signal.aborted ? signal.reason : error);
  }
}

/**
 * A job that began in time goes on later, and the engine does not remember that it began. That it gives the task out
 * again tells as much: then the job counts as begun when the engine first scheduled it.
 */
function begunAtMs(task: JobTask, parts: TaskParts): number {
  return task.retry_count === 0 ? parts.context.job.now() : Date.parse(task.entered_at);
}

function failureOf(error: unknown): Answer {
  if (error instanceof TaskLost) return null;
  if (error instanceof HandedBack) {
    return {
      kind: "failure",
      error: STEP_FUNCTIONS_ERRORS.workerStopping,
      cause: "The worker stops; another one goes on.",
    };
  }
  const code = error instanceof LandlordError ? error.code : "attempt_failed";
  return { kind: "failure", error: code, cause: messageOf(error) };
}

/** Resolves with what to tell the engine as soon as the task ends from outside; never before. */
function endOf(signal: AbortSignal): Promise<Answer> {
  return new Promise((resolve) => {
    const end = (): void => resolve(failureOf(signal.reason));
    if (signal.aborted) end();
    else signal.addEventListener("abort", end, { once: true });
  });
}

/** Aborts when the task is lost, but not when it is handed back: that must still be said. */
function lostSignal(signal: AbortSignal): AbortSignal {
  const lost = new AbortController();
  const check = (): void => {
    if (signal.reason instanceof TaskLost) lost.abort(signal.reason);
  };
  if (signal.aborted) {
    // Nothing beats any more for a job that is handed back: its last word has a limit of its own.
    check();
    return AbortSignal.any([lost.signal, AbortSignal.timeout(ANSWER_LIMIT_MS)]);
  }
  signal.addEventListener("abort", check, { once: true });
  return lost.signal;
}

/** Repeats until the engine has heard it, does not want to hear it, or `lost` aborts. */
async function deliver(
  task: ActivityTask,
  answer: NonNullable<Answer>,
  parts: TaskParts,
  lost: AbortSignal,
): Promise<void> {
  const { logger } = parts.context;
  for (let delayMs = FIRST_RETRY_MS; !lost.aborted; delayMs = Math.min(delayMs * 2, LONGEST_RETRY_MS)) {
    try {
      const abortSignal = AbortSignal.any([lost, AbortSignal.timeout(parts.requestTimeoutMs)]);
      await send(task, answer, parts.sfn, abortSignal);
      return;
    } catch (error) {
      if (isLostTask(error)) {
        logger.warn({ error: messageOf(error) }, "the engine did not want the task's result any more");
        return;
      }
      logger.warn({ error: messageOf(error), retry_in_ms: delayMs }, "task's result not delivered; retrying");
      await pause(delayMs, lost);
    }
  }
}

async function send(
  task: ActivityTask,
  answer: NonNullable<Answer>,
  sfn: SFN,
  abortSignal: AbortSignal,
): Promise<void> {
  const taskToken = task.token;
  switch (answer.kind) {
    case "success":
      await sfn.sendTaskSuccess({ taskToken, output: JSON.stringify(answer.output) }, { abortSignal });
      return;
    case "failure":
      await sfn.sendTaskFailure(
        {
          taskToken,
          error: answer.error.slice(0, ERROR_NAME_LIMIT),
          cause: answer.cause.slice(0, CAUSE_LIMIT),
        },
        { abortSignal },
      );
  }
}

/** Gives a task back that arrived when the worker had begun to stop. */
export async function handBack(task: ActivityTask, parts: TaskParts): Promise<void> {
  const answer = failureOf(new HandedBack());
  if (answer !== null) await deliver(task, answer, parts, AbortSignal.timeout(parts.requestTimeoutMs));
}
