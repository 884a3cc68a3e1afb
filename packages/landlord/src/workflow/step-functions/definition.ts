/**
 * The state machines, as Amazon States Language, from one definition in code.
 *
 *   Void? ── {"void": true} ─> Void                       an id that a stop has occupied: ends at once
 *     └─> Run ─> Waiting? ── phase "waiting" ─> AwaitHealthy ─> Done
 *          │        └─> Done                        │
 *          └──────── retries used up ───────────────┴─> Failed
 *
 * `Run` and `AwaitHealthy` are tasks of one activity. A job that begins to wait for health hands its task back, and the
 * state that the execution is in then tells the server that it only waits.
 *
 * Events in the history of one execution, of which AWS allows 25,000: an attempt is three (scheduled, started, ended),
 * and a task state has at most 1 + ATTEMPTS.failed + ATTEMPTS.timedOut + ATTEMPTS.handedBack = 52 attempts. Two task
 * states are 2 × (3 × 52 + 2) = 316; the other states and the frame of the execution add 9 at most: 325.
 */
import { VOID_RESULT } from "../../contract/job.ts";
import {
  STEP_FUNCTIONS_ERRORS,
  STEP_FUNCTIONS_TASK_VERSION,
  type JobPhase,
} from "../../contract/step-functions-names.ts";
import type { Json, JsonObject } from "../../domain/json.ts";

/** Raised with every change of a definition: a server never puts back an older one (see ensure.ts). */
const DEFINITION_VERSION = 1;

/** The state in which a job only waits for health. */
export const WAITING_STATE = "AwaitHealthy";

/** Retries of a task state, each kind counted by itself. */
const ATTEMPTS = { failed: 26, timedOut: 5, handedBack: 20 } as const;

/** With full jitter half of the delay on average: 26 retries are about two minutes, and never more than four. */
export const RETRY_DELAY = { initialSeconds: 1, growth: 2, maxSeconds: 10 } as const;

/** A worker that heartbeats and never ends is not waited for any longer. */
const TASK_LIMIT_SECONDS = 12 * 3_600;
const EXECUTION_LIMIT_SECONDS = 24 * 3_600;

const BACKOFF = {
  IntervalSeconds: RETRY_DELAY.initialSeconds,
  BackoffRate: RETRY_DELAY.growth,
  MaxDelaySeconds: RETRY_DELAY.maxSeconds,
  JitterStrategy: "FULL",
} as const;

const RETRY: Json = [
  { ErrorEquals: [STEP_FUNCTIONS_ERRORS.invalidRequest], MaxAttempts: 0 },
  {
    ErrorEquals: [STEP_FUNCTIONS_ERRORS.workerStopping],
    IntervalSeconds: 1,
    BackoffRate: 1,
    JitterStrategy: "FULL",
    MaxAttempts: ATTEMPTS.handedBack,
  },
  {
    ErrorEquals: ["States.HeartbeatTimeout", "States.Timeout"],
    ...BACKOFF,
    MaxAttempts: ATTEMPTS.timedOut,
  },
  { ErrorEquals: ["States.ALL"], ...BACKOFF, MaxAttempts: ATTEMPTS.failed },
];

export interface JobDefinitionSettings {
  readonly activityArn: string;
  readonly heartbeatSeconds: number;
}

/** The state machine of tenant jobs. */
export function jobDefinition(settings: JobDefinitionSettings): JsonObject {
  return {
    Comment: comment("tenant jobs"),
    TimeoutSeconds: EXECUTION_LIMIT_SECONDS,
    StartAt: "Void?",
    States: {
      "Void?": {
        Type: "Choice",
        Choices: [
          {
            And: [
              { Variable: "$.void", IsPresent: true },
              { Variable: "$.void", BooleanEquals: true },
            ],
            Next: "Void",
          },
        ],
        Default: "Run",
      },
      Void: { Type: "Pass", Result: VOID_RESULT as unknown as Json, End: true },
      Run: task(settings, "run", "Waiting?"),
      "Waiting?": {
        Type: "Choice",
        Choices: [{ Variable: "$.run.phase", StringEquals: "waiting", Next: WAITING_STATE }],
        Default: "Done",
      },
      [WAITING_STATE]: task(settings, "await-healthy", "Done"),
      Done: { Type: "Succeed", InputPath: "$.run.result" },
      // A timeout may come without a cause; the whole error as text is always there.
      Failed: { Type: "Fail", ErrorPath: "$.Error", CausePath: "States.JsonToString($)" },
    },
  };
}

function task(settings: JobDefinitionSettings, phase: JobPhase, next: string): JsonObject {
  return {
    Type: "Task",
    Resource: settings.activityArn,
    Parameters: {
      version: STEP_FUNCTIONS_TASK_VERSION,
      phase,
      heartbeat_seconds: settings.heartbeatSeconds,
      "retry_count.$": "$$.State.RetryCount",
      "entered_at.$": "$$.State.EnteredTime",
      "request.$": "$.request",
      ...(phase === "await-healthy" ? { "journal.$": "$.run.journal" } : {}),
    },
    ResultPath: "$.run",
    HeartbeatSeconds: settings.heartbeatSeconds,
    TimeoutSeconds: TASK_LIMIT_SECONDS,
    Retry: RETRY,
    Catch: [{ ErrorEquals: ["States.ALL"], Next: "Failed" }],
    Next: next,
  };
}

/** The state machine of read-only questions: one task, no retry; whoever wants to know asks again. */
export function queryDefinition(settings: {
  readonly activityArn: string;
  readonly timeoutSeconds: number;
}): JsonObject {
  return {
    Comment: comment("questions to workers"),
    TimeoutSeconds: settings.timeoutSeconds,
    StartAt: "Answer",
    States: {
      Answer: {
        Type: "Task",
        Resource: settings.activityArn,
        TimeoutSeconds: settings.timeoutSeconds,
        End: true,
      },
    },
  };
}

function comment(what: string): string {
  return `Landlord: ${what}, definition ${DEFINITION_VERSION}`;
}

/** The version that a definition carries; 0 for one that is not ours. */
export function definitionVersion(definition: Json): number {
  const text =
    typeof definition === "object" && definition !== null && "Comment" in definition
      ? definition.Comment
      : null;
  const version = typeof text === "string" ? /^Landlord: .*, definition (\d+)$/.exec(text)?.[1] : undefined;
  return version === undefined ? 0 : Number(version);
}
