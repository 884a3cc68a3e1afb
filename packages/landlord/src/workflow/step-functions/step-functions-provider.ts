/**
 * AWS Step Functions as workflow engine. An execution is named by the execution id, so Step Functions itself makes
 * `invoke` idempotent: while it runs a second start with the same input is the same execution, and for 90 days after
 * its end the name is taken.
 */
import { nameInScope, QUERY_SERVICE_NAME, VOID_REQUEST } from "../../contract/job.ts";
import {
  STEP_FUNCTIONS_PAYLOAD_LIMIT_BYTES,
  type StepFunctionsNaming,
} from "../../contract/step-functions-names.ts";
import { canonicalJson, type Json } from "../../domain/json.ts";
import {
  EngineRejectedError,
  EngineUnavailableError,
  type Execution,
  type ExecutionRef,
  type WorkflowProvider,
} from "../provider.ts";
import { createArns } from "./arns.ts";
import { awsErrorName, createStepFunctionsClient, type StepFunctionsConnection } from "./client.ts";
import { jobDefinition, queryDefinition } from "./definition.ts";
import { ensureActivity, ensureStateMachine } from "./ensure.ts";
import { ask } from "./query.ts";
import { executionArn, readStatuses } from "./statuses.ts";

export interface StepFunctionsProviderSettings extends StepFunctionsConnection, StepFunctionsNaming {
  /** Execution role of the state machines; of the account that they are in. */
  readonly roleArn: string;
  /** How long a read-only question may take. */
  readonly queryTimeoutMs: number;
  /** A worker that is not heard of for this long has lost its job to another; at least 1. */
  readonly heartbeatSeconds: number;
  /** Given to activities and state machines when they are made. */
  readonly tags?: Readonly<Record<string, string>>;
}

/**
 * Request and result travel together in one state of at most 256 KiB, and a result may have 64 KiB (contract/job.ts)
 * and what is carried to the waiting phase 32 KiB; the rest is for the request.
 */
const INPUT_LIMIT_BYTES = STEP_FUNCTIONS_PAYLOAD_LIMIT_BYTES - 100 * 1024;
const STOP_TEXT_LIMIT = 1_000;

interface Started {
  readonly execution: Execution;
  /** False when the name is taken by another input, or by an execution that has ended. */
  readonly sameInput: boolean;
}

/** @throws EngineRejectedError when the role's ARN or the name prefix cannot be used */
export function createStepFunctionsProvider(settings: StepFunctionsProviderSettings): WorkflowProvider {
  const client = createStepFunctionsClient(settings);
  const arns = createArns(settings);
  const ensureSettings = { client, roleArn: settings.roleArn, tags: settings.tags ?? {} };
  const timeoutSeconds = Math.ceil(settings.queryTimeoutMs / 1_000);

  const ensured = new Set<string>();

  async function ensure(workflowName: string, signal: AbortSignal): Promise<void> {
    const activityArn = await ensureActivity(ensureSettings, arns.name(workflowName), signal);
    const definition = isForQueries(workflowName)
      ? queryDefinition({ activityArn, timeoutSeconds })
      : jobDefinition({ activityArn, heartbeatSeconds: settings.heartbeatSeconds });
    const wanted = { arn: arns.stateMachine(workflowName), name: arns.name(workflowName), definition };
    await ensureStateMachine(ensureSettings, wanted, signal);
    ensured.add(workflowName);
  }

  /**
   * The first start of a process looks whether the state machine is as this version needs it. An engine that lost its
   * data meanwhile gets it once more.
   */
  async function start(
    workflowName: string,
    executionId: string,
    input: string,
    signal: AbortSignal,
  ): Promise<Started> {
    const arn = arns.execution(workflowName, executionId);
    if (!ensured.has(workflowName)) await ensure(workflowName, signal);
    for (let attempt = 1; ; attempt++) {
      const begunAtMs = Date.now();
      try {
        const { startDate } = await client.call(
          (sfn, options) =>
            sfn.startExecution(
              { stateMachineArn: arns.stateMachine(workflowName), name: executionId, input },
              options,
            ),
          signal,
        );
        // A repeated start of a running execution succeeds, and only its age, by two clocks, tells it from a new one.
        const alreadyExisted = startDate !== undefined && startDate.getTime() < begunAtMs;
        return { execution: { executionId, handle: arn, alreadyExisted }, sameInput: true };
      } catch (error) {
        const name = awsErrorName(error);
        if (name === "ExecutionAlreadyExists") {
          return { execution: { executionId, handle: arn, alreadyExisted: true }, sameInput: false };
        }
        if (name !== "StateMachineDoesNotExist") throw error;
        if (attempt > 1) {
          throw new EngineUnavailableError(
            "engine_not_ready",
            `State machine ${arns.name(workflowName)} was made and is not there yet.`,
            { cause: error },
          );
        }
        await ensure(workflowName, signal);
      }
    }
  }

  async function end(execution: ExecutionRef, reason: string, signal: AbortSignal): Promise<boolean> {
    const arn = executionArn(arns, execution);
    try {
      await client.call(
        (sfn, options) =>
          sfn.stopExecution(
            {
              executionArn: arn,
              error: "Landlord.Stopped",
              cause: reason.slice(0, STOP_TEXT_LIMIT),
            },
            options,
          ),
        signal,
      );
      return true;
    } catch (error) {
      if (awsErrorName(error) === "ExecutionDoesNotExist") return false;
      throw error;
    }
  }

  return {
    name: "step-functions",
    async invoke({ workflowName, request, signal }) {
      const input = canonicalJson({ request: request as unknown as Json });
      const size = Buffer.byteLength(input);
      if (size > INPUT_LIMIT_BYTES) {
        throw new EngineRejectedError(
          "request_too_large",
          `The job has ${size} bytes and Step Functions takes ${INPUT_LIMIT_BYTES}: make the configuration, labels or annotations smaller.`,
        );
      }
      return (await start(workflowName, request.execution_id, input, signal)).execution;
    },
    getWorkflowStatus: ({ executions, signal }) => readStatuses({ client, arns }, executions, signal),
    async stop({ execution, reason, signal }) {
      const { executionId, workflowName } = execution;
      const handle = executionArn(arns, execution);
      if (await end(execution, reason, signal)) return { executionId, handle, alreadyExisted: true };
      const occupied = await start(workflowName, executionId, canonicalJson(VOID_REQUEST), signal);
      // Between the two calls the late invoke arrived.
      if (!occupied.sameInput) await end(execution, reason, signal);
      return occupied.execution;
    },
    query({ method, request, scope, signal }) {
      const workflowName = nameInScope(QUERY_SERVICE_NAME, scope ?? null);
      const parts = {
        client,
        timeoutMs: settings.queryTimeoutMs,
        executionArn: (executionId: string) => arns.execution(workflowName, executionId),
        start: (executionId: string, input: string) => start(workflowName, executionId, input, signal),
      };
      return ask(parts, method, request, signal);
    },
    async ensureWorkflow({ workflowName, signal }) {
      await ensure(workflowName, signal);
      await ensure(QUERY_SERVICE_NAME, signal);
    },
    // Completions are polled: pushing them would need a queue and EventBridge rules in the account.
    watchCompletion: null,
    async health({ signal }) {
      try {
        const stateMachineArn = arns.stateMachine(QUERY_SERVICE_NAME);
        await client.call((sfn, options) => sfn.describeStateMachine({ stateMachineArn }, options), signal);
      } catch (error) {
        // It is made with the first question; the engine has answered.
        if (awsErrorName(error) !== "StateMachineDoesNotExist") throw error;
      }
    },
    close() {
      client.close();
      return Promise.resolve();
    },
  };
}

/** The query service, or what is called after it in a scope. */
function isForQueries(workflowName: string): boolean {
  return workflowName === QUERY_SERVICE_NAME || workflowName.startsWith(`${QUERY_SERVICE_NAME}-`);
}
