/** The services that a worker serves to Restate: the tenant workflow and the query service. */
import "./with-resolvers.ts";
import * as restate from "@restatedev/restate-sdk";
import {
  nameInScope,
  QUERY_METHODS,
  QUERY_SERVICE_NAME,
  VOID_RESULT,
  type JobResult,
} from "../../contract/job.ts";
import { isJsonObject, type Json } from "../../domain/json.ts";
import { messageOf } from "../../domain/errors.ts";
import {
  PHASE_STATE_KEY,
  restateServiceName,
  WAITING_PHASE,
  type RestateNaming,
} from "../../contract/restate-names.ts";
import { JOB_VERSIONS, type Job } from "../job-versions.ts";
import { answerPayload, InvalidPayloadError, openJob, type OpenedJob } from "../payloads.ts";
import type { DurableSteps } from "../steps.ts";
import type { WorkerContext } from "../worker-context.ts";

/** About two minutes: longer waits belong to the database, which survives the engine. */
const RETRY_POLICY = {
  initialInterval: { milliseconds: 100 },
  exponentiationFactor: 2,
  maxInterval: { seconds: 5 },
  maxAttempts: 28,
  onMaxAttempts: "kill",
} as const;

/** Enough to look into what went wrong just now. */
const JOURNAL_RETENTION_MS = 3_600_000;

const INVALID_REQUEST_STATUS = 400;

/** Counts what runs, so that a stop can wait for it. */
export interface InFlight {
  enter(): void;
  leave(): void;
}

type Service = restate.WorkflowDefinition<string, unknown> | restate.ServiceDefinition<string, unknown>;

export interface RestateServicesSettings extends RestateNaming {
  /** How long the engine keeps the result of an ended job, and its id taken. */
  readonly resultRetentionMs: number;
  /** By workflow name; JOB_VERSIONS when not given. */
  readonly jobs?: ReadonlyMap<string, Job>;
}

/** The tenant workflows and the query service, once for everybody and once for each scope. */
export function createRestateServices(
  settings: RestateServicesSettings,
  context: WorkerContext,
  inFlight: InFlight,
  scopes: readonly string[],
): Service[] {
  const jobs = [...(settings.jobs ?? JOB_VERSIONS)];
  return [null, ...scopes].flatMap((scope) => [
    ...jobs.map(([name, job]) => tenantWorkflow(nameInScope(name, scope), job, settings, context, inFlight)),
    queryService(nameInScope(QUERY_SERVICE_NAME, scope), settings, context),
  ]);
}

function tenantWorkflow(
  name: string,
  job: Job,
  settings: RestateServicesSettings,
  context: WorkerContext,
  inFlight: InFlight,
): Service {
  return restate.workflow({
    name: restateServiceName(settings, name),
    handlers: {
      run: async (ctx: restate.WorkflowContext, input: unknown): Promise<JobResult> => {
        inFlight.enter();
        // An attempt that fails or suspends never comes back here: the engine begins another. The signal tells.
        let hasLeft = false;
        const leave = (): void => {
          if (!hasLeft) inFlight.leave();
          hasLeft = true;
        };
        ctx.request().attemptCompletedSignal.addEventListener("abort", leave, { once: true });
        try {
          return await runTenantJob(ctx, input, job, context);
        } finally {
          leave();
        }
      },
    },
    options: {
      retryPolicy: RETRY_POLICY,
      workflowRetention: { milliseconds: settings.resultRetentionMs },
      journalRetention: { milliseconds: Math.min(settings.resultRetentionMs, JOURNAL_RETENTION_MS) },
    },
  });
}

function queryService(name: string, naming: RestateNaming, context: WorkerContext): Service {
  const handlers = Object.fromEntries(
    QUERY_METHODS.map((method) => [
      method,
      async (ctx: restate.Context, input: unknown): Promise<Json> => {
        try {
          return await answerPayload(method, input, context, ctx.request().attemptCompletedSignal);
        } catch (error) {
          // A question is asked again by whoever wants to know, not by the engine.
          throw terminal(messageOf(error));
        }
      },
    ]),
  );
  return restate.service({
    name: restateServiceName(naming, name),
    handlers,
    options: { retryPolicy: { maxAttempts: 2, onMaxAttempts: "kill" }, journalRetention: 0 },
  });
}

async function runTenantJob(
  ctx: restate.WorkflowContext,
  input: unknown,
  job: Job,
  context: WorkerContext,
): Promise<JobResult> {
  if (isJsonObject(input) && input["void"] === true) return VOID_RESULT;
  const opened = openedJob(input, context);
  const { execution_id, tenant_id, operation } = opened.request;
  context.logger.debug({ execution_id, tenant_id, operation }, "job runs");
  return opened.run(job, restateSteps(ctx, execution_id));
}

/** What cannot be read here is thrown as it is: the engine tries again, and may find a worker that has the key. */
function openedJob(input: unknown, context: WorkerContext): OpenedJob {
  try {
    return openJob(input, context);
  } catch (error) {
    throw error instanceof InvalidPayloadError ? terminal(error.message) : error;
  }
}

function restateSteps(ctx: restate.WorkflowContext, executionId: string): DurableSteps {
  return {
    // Cancelling an execution does not stop an effect that is running; the signal does.
    run: (name, effect) => ctx.run(name, () => effect(ctx.request().attemptCompletedSignal)),
    sleep: async (durationMs) => {
      await ctx.sleep(durationMs);
    },
    idempotencyKey: (name) => `${executionId}/${name}`,
    announceWaiting: () => ctx.set(PHASE_STATE_KEY, WAITING_PHASE),
  };
}

function terminal(message: string): restate.TerminalError {
  return new restate.TerminalError(message, { errorCode: INVALID_REQUEST_STATUS });
}
