/**
 * What the server and the workers of Step Functions say to each other: names, and the shapes that travel in tasks.
 * Executions in flight keep the definition that they were started with, so a changed shape is a new
 * STEP_FUNCTIONS_TASK_VERSION, and workers understand it and the one before.
 */
import { z } from "zod";

export interface StepFunctionsNaming {
  /** Put before every name, so that several installations share an account; empty for none. */
  readonly namePrefix: string;
}

/** State machines, activities and executions: at most 80 characters (AWS, "General quotas"). */
export const STEP_FUNCTIONS_NAME = /^[A-Za-z0-9_-]{1,80}$/;

/** What both server and worker call the state machine and the activity of a workflow. */
export function stepFunctionsName(naming: StepFunctionsNaming, name: string): string {
  return `${naming.namePrefix}${name}`;
}

/** Largest input or output of a state, and of an execution, in bytes of UTF-8 (AWS, "Quotas for task executions"). */
export const STEP_FUNCTIONS_PAYLOAD_LIMIT_BYTES = 256 * 1024;

export const STEP_FUNCTIONS_TASK_VERSION = 1;

/** Errors by which a worker tells the state machine what to do with a task that it did not finish. */
export const STEP_FUNCTIONS_ERRORS = {
  /** Repeating cannot mend it. */
  invalidRequest: "Landlord.InvalidRequest",
  /** Nothing is wrong: the worker stops, and another one should go on at once. */
  workerStopping: "Landlord.WorkerStopping",
  /** A question that was understood and cannot be answered. */
  queryRefused: "Landlord.QueryRefused",
  /** The task is of a newer definition than this worker understands. */
  unknownTask: "Landlord.UnknownTask",
} as const;

/** `run`: the job from its beginning. `await-healthy`: its rest, once it only waits for health. */
export const JOB_PHASES = ["run", "await-healthy"] as const;
export type JobPhase = (typeof JOB_PHASES)[number];

/** Answers of steps by name, carried from one phase to the next. */
const journalSchema = z.record(z.string(), z.unknown());

/** Input of a job's task. The state machine fills it in; `request` is what `invoke` was given. */
export const jobTaskSchema = z.object({
  version: z.literal(STEP_FUNCTIONS_TASK_VERSION),
  phase: z.enum(JOB_PHASES),
  /** The engine gives the task to another worker when it hears nothing for this long. */
  heartbeat_seconds: z.int().min(1),
  /** How often the engine has given out this task before. */
  retry_count: z.int().min(0),
  /** When the engine first scheduled this task; RFC 3339, by the engine's clock. */
  entered_at: z.iso.datetime({ offset: true }),
  journal: journalSchema.default({}),
  request: z.unknown(),
});
export type JobTask = z.infer<typeof jobTaskSchema>;

/** Output of a job's task: the result, or the news that from now on the job only waits. */
export type JobTaskOutput =
  | { readonly phase: "done"; readonly result: unknown }
  | { readonly phase: "waiting"; readonly journal: Readonly<Record<string, unknown>> };

/** Input of a question's task. */
export const queryTaskSchema = z.object({
  version: z.literal(STEP_FUNCTIONS_TASK_VERSION),
  method: z.string(),
  request: z.unknown(),
});
