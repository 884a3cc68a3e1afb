/**
 * A question to a worker, as an execution of a small state machine of its own: activities cannot be asked from outside,
 * and Express workflows, which answer at once, cannot have activities.
 */
import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { DescribeExecutionOutput } from "@aws-sdk/client-sfn";
import type { QueryMethod } from "../../contract/job.ts";
import type { QueryPayload } from "../../contract/sealed.ts";
import {
  STEP_FUNCTIONS_ERRORS,
  STEP_FUNCTIONS_PAYLOAD_LIMIT_BYTES,
  STEP_FUNCTIONS_TASK_VERSION,
} from "../../contract/step-functions-names.ts";
import type { LandlordError } from "../../domain/errors.ts";
import { canonicalJson, type Json } from "../../domain/json.ts";
import { EngineRejectedError, NoWorkerError, QueryFailedError } from "../provider.ts";
import { awsErrorName, type StepFunctionsClient } from "./client.ts";
import { failureText } from "./failure-text.ts";

export interface QueryParts {
  readonly client: StepFunctionsClient;
  readonly timeoutMs: number;
  executionArn(executionId: string): string;
  /** Starts an execution of the query's state machine, which is made if it is not there. */
  start(executionId: string, input: string): Promise<unknown>;
}

const FIRST_LOOK_MS = 50;
const LOOK_GROWTH = 1.5;
const LONGEST_LOOK_MS = 1_000;

/**
 * @throws NoWorkerError when no worker answered in time
 * @throws QueryFailedError when a worker refused; EngineRejectedError when the question is too large
 */
export async function ask(
  parts: QueryParts,
  method: QueryMethod,
  request: QueryPayload,
  signal: AbortSignal,
): Promise<Json> {
  const input = canonicalJson({
    version: STEP_FUNCTIONS_TASK_VERSION,
    method,
    request: request as unknown as Json,
  });
  if (Buffer.byteLength(input) > STEP_FUNCTIONS_PAYLOAD_LIMIT_BYTES) {
    throw new EngineRejectedError(
      "query_too_large",
      `A question to a worker may have ${STEP_FUNCTIONS_PAYLOAD_LIMIT_BYTES} bytes on Step Functions: ask for fewer tenants at once.`,
    );
  }
  const executionId = randomUUID();
  const executionArn = parts.executionArn(executionId);
  const deadlineMs = performance.now() + parts.timeoutMs;
  await parts.start(executionId, input);
  for (let waitMs = FIRST_LOOK_MS; ; waitMs = Math.min(waitMs * LOOK_GROWTH, LONGEST_LOOK_MS)) {
    await delay(waitMs, undefined, { signal }).catch(() => undefined);
    if (signal.aborted || performance.now() >= deadlineMs) break;
    const found = await describe(parts.client, executionArn, signal);
    switch (found?.status) {
      case "SUCCEEDED":
        return JSON.parse(found.output ?? "null") as Json;
      case "FAILED":
      case "TIMED_OUT":
      case "ABORTED":
        throw refusal(found.error ?? found.status, found.cause ?? "");
      default:
        // Running, or not visible yet: reads of Step Functions are eventually consistent.
        break;
    }
  }
  await withdraw(parts.client, executionArn);
  throw new NoWorkerError(
    `No worker answered within ${parts.timeoutMs / 1_000} s. Start one with \`landlord worker\`.`,
  );
}

async function describe(
  client: StepFunctionsClient,
  executionArn: string,
  signal: AbortSignal,
): Promise<DescribeExecutionOutput | null> {
  try {
    return await client.call((sfn, options) => sfn.describeExecution({ executionArn }, options), signal);
  } catch (error) {
    if (awsErrorName(error) === "ExecutionDoesNotExist") return null;
    throw error;
  }
}

function refusal(error: string, cause: string): LandlordError {
  return error === STEP_FUNCTIONS_ERRORS.queryRefused
    ? new QueryFailedError(failureText(error, cause))
    : new NoWorkerError(`No worker answered: ${failureText(error, cause)}`);
}

/** Nobody waits for the answer any more, so no worker should begin to look for it. */
async function withdraw(client: StepFunctionsClient, executionArn: string): Promise<void> {
  try {
    await client.call(
      (sfn, options) => sfn.stopExecution({ executionArn, cause: "Nobody waits any more." }, options),
      // The caller's own time is over; the call has the client's limit.
      new AbortController().signal,
    );
  } catch {
    // The state machine's own time limit ends it.
  }
}
