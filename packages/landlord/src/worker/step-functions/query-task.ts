/** One task of the query's activity: a read-only question, answered from compute, once. */
import type { SFN } from "@aws-sdk/client-sfn";
import { QUERY_METHODS, type QueryMethod } from "../../contract/job.ts";
import {
  queryTaskSchema,
  STEP_FUNCTIONS_ERRORS,
  STEP_FUNCTIONS_PAYLOAD_LIMIT_BYTES,
} from "../../contract/step-functions-names.ts";
import { LandlordError, messageOf } from "../../domain/errors.ts";
import { answerPayload } from "../payloads.ts";
import type { WorkerContext } from "../worker-context.ts";
import type { ActivityTask } from "./job-task.ts";

const CAUSE_LIMIT = 4_000;

/** Never rejects. Whoever asked has a time limit of its own, so an answer that does not get through is not repeated. */
export async function runQueryTask(
  task: ActivityTask,
  parts: {
    readonly sfn: SFN;
    readonly context: WorkerContext;
    readonly requestTimeoutMs: number;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  const { context, sfn } = parts;
  const taskToken = task.token;
  try {
    let output: string;
    try {
      output = await answer(task.input, context, parts.signal);
    } catch (error) {
      await sfn.sendTaskFailure(
        {
          taskToken,
          error: parts.signal.aborted
            ? STEP_FUNCTIONS_ERRORS.workerStopping
            : STEP_FUNCTIONS_ERRORS.queryRefused,
          cause: messageOf(error).slice(0, CAUSE_LIMIT),
        },
        { abortSignal: AbortSignal.timeout(parts.requestTimeoutMs) },
      );
      return;
    }
    await sfn.sendTaskSuccess(
      { taskToken, output },
      { abortSignal: AbortSignal.timeout(parts.requestTimeoutMs) },
    );
  } catch (error) {
    context.logger.warn({ error: messageOf(error) }, "a question's answer was not delivered");
  }
}

async function answer(input: string, context: WorkerContext, signal: AbortSignal): Promise<string> {
  const task = queryTaskSchema.parse(JSON.parse(input));
  const method = QUERY_METHODS.find((each): each is QueryMethod => each === task.method);
  if (method === undefined) {
    throw new LandlordError("invalid_query", `This worker does not know the question "${task.method}".`);
  }
  const output = JSON.stringify(await answerPayload(method, task.request, context, signal));
  const size = Buffer.byteLength(output);
  if (size <= STEP_FUNCTIONS_PAYLOAD_LIMIT_BYTES) return output;
  throw new LandlordError(
    "answer_too_large",
    `The answer has ${size} bytes, and Step Functions carries ${STEP_FUNCTIONS_PAYLOAD_LIMIT_BYTES}: ask for fewer tenants, or fewer bytes of logs.`,
  );
}
