/**
 * Statuses of many executions within the API's limits. DescribeExecution and GetExecutionHistory are about one execution
 * each and allow a few dozen calls in a second; ListExecutions tells which of thousands are running, but no result.
 * So a large batch lists first, describes what is not running, and reads the history of the oldest that are.
 */
import type { DescribeExecutionOutput } from "@aws-sdk/client-sfn";
import {
  EngineRejectedError,
  type EngineUnavailableError,
  type ExecutionRef,
  type WorkflowStatus,
} from "../provider.ts";
import { parseJobResult } from "../job-report.ts";
import { STEP_FUNCTIONS_SUB_STATES } from "../sub-state.ts";
import type { StepFunctionsArns } from "./arns.ts";
import { awsErrorName, isThrottled, type StepFunctionsClient } from "./client.ts";
import { executionFailureText } from "./failure-text.ts";
import { progressOf } from "./history.ts";

const STATUS_BATCH_LIMIT = 1_000;
/** Up to this many executions of a batch are described without listing first. */
const DESCRIBED_DIRECTLY = 16;
const CALLS_AT_ONCE = 16;
/** AWS's largest page. */
const LIST_PAGE_SIZE = 1_000;
const LIST_PAGES = 5;
/** Histories read for one batch, the oldest executions first: they are the ones that wait or are retried. */
const HISTORIES_PER_BATCH = 100;
/** More than an execution can have (definition.ts), so that one page is all. */
const HISTORY_PAGE_SIZE = 1_000;

export interface StatusReaderParts {
  readonly client: StepFunctionsClient;
  readonly arns: StepFunctionsArns;
}

/** The execution's ARN, from its handle or computed. */
export function executionArn(arns: StepFunctionsArns, execution: ExecutionRef): string {
  const arn = arns.execution(execution.workflowName, execution.executionId);
  if (execution.handle === null || execution.handle === arn) return arn;
  throw new EngineRejectedError(
    "invalid_handle",
    `"${execution.handle}" is not where execution ${execution.executionId} is: ${arn}. Were account, region or name prefix changed while it ran?`,
  );
}

/** What is known of one execution before its history is read. */
interface Look {
  readonly status: WorkflowStatus;
  /** Null unless it is running and its history may say more. */
  readonly runningSince: Date | null;
}

export async function readStatuses(
  parts: StatusReaderParts,
  executions: readonly ExecutionRef[],
  signal: AbortSignal,
): Promise<readonly WorkflowStatus[]> {
  if (executions.length > STATUS_BATCH_LIMIT) {
    throw new EngineRejectedError(
      "batch_too_large",
      `At most ${STATUS_BATCH_LIMIT} statuses can be asked for at once.`,
    );
  }
  const wanted = executions.map((execution) => ({ execution, arn: executionArn(parts.arns, execution) }));
  const running =
    wanted.length <= DESCRIBED_DIRECTLY
      ? new Map<string, Date>()
      : await listRunning(parts, new Set(executions.map(({ workflowName }) => workflowName)), signal);
  const throttle = createThrottle();
  const looks = await mapBounded(wanted, CALLS_AT_ONCE, async ({ execution, arn }): Promise<Look> => {
    const since = running.get(arn);
    if (since !== undefined)
      return { status: runningStatus(execution.executionId, "RUNNING"), runningSince: since };
    return throttle.run(
      () => describe(parts.client, execution.executionId, arn, signal),
      (error) => ({ status: deferredStatus(execution.executionId, error), runningSince: null }),
    );
  });
  throttle.throwIfNothingWasAnswered();
  return addProgress(
    parts.client,
    looks.map((look, index) => ({ ...look, arn: wanted[index]?.arn ?? "" })),
    signal,
  );
}

/**
 * After a throttled call the rest of the batch is not asked. What was answered is still used, so that every batch
 * gets some executions done and the next one has fewer to ask for; failing all of it would repeat for ever.
 */
function createThrottle(): {
  run<T>(call: () => Promise<T>, deferred: (error: EngineUnavailableError) => T): Promise<T>;
  throwIfNothingWasAnswered(): void;
} {
  let refusal: EngineUnavailableError | null = null;
  let answered = 0;
  return {
    async run(call, deferred) {
      if (refusal !== null) return deferred(refusal);
      try {
        const answer = await call();
        answered += 1;
        return answer;
      } catch (error) {
        if (!isThrottled(error)) throw error;
        refusal = error as EngineUnavailableError;
        return deferred(refusal);
      }
    },
    throwIfNothingWasAnswered() {
      if (refusal !== null && answered === 0) throw refusal;
    },
  };
}

/** Start times of the running executions, the newest first; what is beyond the pages is described instead. */
async function listRunning(
  { client, arns }: StatusReaderParts,
  workflowNames: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, Date>> {
  const running = new Map<string, Date>();
  for (const workflowName of workflowNames) {
    const stateMachineArn = arns.stateMachine(workflowName);
    let nextToken: string | undefined;
    for (let page = 1; page <= LIST_PAGES; page++) {
      const token = nextToken;
      let answer;
      try {
        answer = await client.call(
          (sfn, options) =>
            sfn.listExecutions(
              {
                stateMachineArn,
                statusFilter: "RUNNING",
                maxResults: LIST_PAGE_SIZE,
                ...(token === undefined ? {} : { nextToken: token }),
              },
              options,
            ),
          signal,
        );
      } catch (error) {
        // An engine that lost its data has no executions either.
        if (awsErrorName(error) === "StateMachineDoesNotExist") break;
        throw error;
      }
      for (const { executionArn: arn, startDate } of answer.executions ?? []) {
        if (arn !== undefined && startDate !== undefined) running.set(arn, startDate);
      }
      nextToken = answer.nextToken;
      if (nextToken === undefined) break;
    }
  }
  return running;
}

async function describe(
  client: StepFunctionsClient,
  executionId: string,
  arn: string,
  signal: AbortSignal,
): Promise<Look> {
  try {
    const found = await client.call(
      (sfn, options) => sfn.describeExecution({ executionArn: arn }, options),
      signal,
    );
    return found.status === "RUNNING"
      ? { status: runningStatus(executionId, "RUNNING"), runningSince: found.startDate ?? new Date(0) }
      : { status: endedStatus(executionId, found), runningSince: null };
  } catch (error) {
    if (awsErrorName(error) === "ExecutionDoesNotExist")
      return { status: unknownStatus(executionId), runningSince: null };
    throw error;
  }
}

async function addProgress(
  client: StepFunctionsClient,
  looks: readonly (Look & { readonly arn: string })[],
  signal: AbortSignal,
): Promise<readonly WorkflowStatus[]> {
  const oldest = looks
    .filter(({ runningSince }) => runningSince !== null)
    .sort((a, b) => (a.runningSince?.getTime() ?? 0) - (b.runningSince?.getTime() ?? 0))
    .slice(0, HISTORIES_PER_BATCH);
  const throttle = createThrottle();
  const statuses = new Map(
    await mapBounded(oldest, CALLS_AT_ONCE, async ({ arn, status }): Promise<[string, WorkflowStatus]> => [
      arn,
      // A history that may not be read now is worth less than the rest of the batch.
      await throttle.run(
        () => withHistory(client, arn, status, signal),
        () => status,
      ),
    ]),
  );
  return looks.map(({ arn, status }) => statuses.get(arn) ?? status);
}

async function withHistory(
  client: StepFunctionsClient,
  arn: string,
  status: WorkflowStatus,
  signal: AbortSignal,
): Promise<WorkflowStatus> {
  try {
    const { events } = await client.call(
      (sfn, options) =>
        sfn.getExecutionHistory(
          {
            executionArn: arn,
            reverseOrder: true,
            maxResults: HISTORY_PAGE_SIZE,
            includeExecutionData: false,
          },
          options,
        ),
      signal,
    );
    return { ...status, ...progressOf(events ?? [], new Date()) };
  } catch (error) {
    // It was there a moment ago: the next look tells.
    if (awsErrorName(error) === "ExecutionDoesNotExist") return status;
    throw error;
  }
}

function endedStatus(executionId: string, found: DescribeExecutionOutput): WorkflowStatus {
  const subState = STEP_FUNCTIONS_SUB_STATES[found.status ?? ""];
  if (subState === "succeeded") {
    return {
      ...runningStatus(executionId, "SUCCEEDED"),
      state: "succeeded",
      output: parseJobResult(parsed(found.output)),
    };
  }
  // A status that is new to us is not taken for an end.
  if (subState !== "failed") return runningStatus(executionId, found.status ?? "");
  return {
    ...runningStatus(executionId, found.status ?? "FAILED"),
    state: "failed",
    error: { code: "execution_failed", message: endMessage(found) },
  };
}

function endMessage(found: DescribeExecutionOutput): string {
  switch (found.status) {
    case "ABORTED":
      return found.cause === undefined || found.cause === "" ? "Cancelled." : `Cancelled: ${found.cause}`;
    case "TIMED_OUT":
      return "The execution took longer than its state machine allows.";
    default:
      return executionFailureText(found.error, found.cause);
  }
}

function runningStatus(executionId: string, key: string): WorkflowStatus {
  return {
    executionId,
    state: "running",
    subState: STEP_FUNCTIONS_SUB_STATES[key] ?? "running",
    retryCount: 0,
    nextRetryAt: null,
    error: null,
    output: null,
  };
}

/** Not asked because of throttling. Taken for running until it can be asked: that ends nothing and starts nothing. */
function deferredStatus(executionId: string, error: EngineUnavailableError): WorkflowStatus {
  return {
    ...runningStatus(executionId, "RUNNING"),
    error: { code: error.code, message: error.message },
  };
}

function unknownStatus(executionId: string): WorkflowStatus {
  return { ...runningStatus(executionId, "RUNNING"), state: "unknown", subState: null };
}

function parsed(output: string | undefined): unknown {
  try {
    return JSON.parse(output ?? "null") as unknown;
  } catch {
    // No job result; parseJobResult says so.
    return null;
  }
}

async function mapBounded<T, R>(
  items: readonly T[],
  limit: number,
  map: (item: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = new Array<R>(items.length);
  let next = 0;
  const lanes = Array.from({ length: Math.min(limit, items.length) }, async () => {
    for (let index = next++; index < items.length; index = next++) {
      results[index] = await map(items[index] as T);
    }
  });
  await Promise.all(lanes);
  return results;
}
