/**
 * A worker for Step Functions: takes tasks of activities, one for jobs and one for questions, and two more for each
 * scope that it serves. It only makes the activities; the state machines are the server's, whose role may pass on the
 * execution role. Either may start first.
 */
import { randomUUID } from "node:crypto";
import { setMaxListeners } from "node:events";
import { hostname } from "node:os";
import { nameInScope, QUERY_SERVICE_NAME, WORKFLOW_NAME } from "../../contract/job.ts";
import { stepFunctionsName, type StepFunctionsNaming } from "../../contract/step-functions-names.ts";
import { LandlordError, messageOf } from "../../domain/errors.ts";
import type { WorkflowWorkerEngine } from "../engine.ts";
import type { WorkerContext } from "../worker-context.ts";
import { createActivities } from "./activities.ts";
import { connect, type StepFunctionsWorkerClients, type StepFunctionsWorkerConnection } from "./client.ts";
import { handBack, runJobTask, type TaskParts } from "./job-task.ts";
import { pause } from "./pause.ts";
import { startPoller, type Poller } from "./poller.ts";
import { runQueryTask } from "./query-task.ts";

export interface StepFunctionsWorkerSettings extends StepFunctionsWorkerConnection, StepFunctionsNaming {
  /** Jobs at once, of those without a scope and of those of each scope; at least 1. */
  readonly concurrency: number;
  /** Long polls at once for jobs, as many for each scope. AWS advises 100 for an activity over all workers. */
  readonly pollers: number;
  /** Questions at once, and long polls for them; as many for each scope. */
  readonly queryPollers: number;
  readonly requestTimeoutMs: number;
  readonly failFast: boolean;
  /**
   * How long a stop waits for steps that run and for open polls, each of which may still bring a task. Afterwards jobs
   * are handed back, and another worker goes on at once.
   */
  readonly drainTimeoutMs: number;
  /** Shown in the history of executions; null for host name and a random part. At most 80 characters. */
  readonly workerName: string | null;
}

const REGISTRATION_RETRY = { initialDelayMs: 200, maxDelayMs: 10_000 };
const DRAIN_POLL_MS = 50;
/** For the last words about jobs that are handed back. */
const FAREWELL_MS = 2_000;
const CALL_SOCKETS = 64;
/** Open polls of one worker, over all scopes that it can ever serve. */
const POLL_SOCKETS = 1_000;

export function createStepFunctionsWorkerEngine(
  settings: StepFunctionsWorkerSettings,
  context: WorkerContext,
): WorkflowWorkerEngine {
  const { logger } = context;
  const workerName = settings.workerName ?? `${hostname().slice(0, 40)}-${randomUUID().slice(0, 8)}`;
  const activities = createActivities(settings.requestTimeoutMs);
  const scopes = new Set<string | null>([null]);
  const polled = new Map<string | null, { readonly jobs: Poller; readonly queries: Poller }>();
  const stopping = new AbortController();
  const leaving = new AbortController();
  // Every job in hand listens to both.
  setMaxListeners(0, stopping.signal, leaving.signal);
  let clients: Promise<StepFunctionsWorkerClients> | null = null;
  let stopped: Promise<void> | null = null;
  let isStarted = false;
  let isRepairing = false;
  let registeredAt: Date | null = null;
  let lastRegistrationError: string | null = null;

  const nameOf = (name: string, scope: string | null): string =>
    stepFunctionsName(settings, nameInScope(name, scope));
  const want = (scope: string | null): void =>
    activities.add([nameOf(WORKFLOW_NAME, scope), nameOf(QUERY_SERVICE_NAME, scope)]);
  want(null);

  function connected(): Promise<StepFunctionsWorkerClients> {
    clients ??= connect(settings, { calls: CALL_SOCKETS, polls: POLL_SOCKETS });
    return clients;
  }

  /** Until it succeeds or `signal` aborts. */
  async function registerWithRetry(signal: AbortSignal, failFast: boolean): Promise<void> {
    let delayMs = REGISTRATION_RETRY.initialDelayMs;
    for (let attempt = 1; !signal.aborted; attempt++) {
      try {
        await activities.register((await connected()).calls);
        registeredAt = new Date();
        lastRegistrationError = null;
        logger.info({ worker_name: workerName, attempt }, "worker registered with Step Functions");
        return;
      } catch (error) {
        lastRegistrationError = messageOf(error);
        if (failFast) {
          throw new LandlordError(
            "registration_failed",
            `The worker could not register with Step Functions at ${settings.endpoint ?? settings.region}: ${messageOf(error)}`,
            { cause: error },
          );
        }
        logger.warn(
          { attempt, retry_in_ms: delayMs, error: messageOf(error) },
          "worker is not registered with Step Functions yet; retrying",
        );
        await pause(delayMs, signal);
        delayMs = Math.min(delayMs * 2, REGISTRATION_RETRY.maxDelayMs);
      }
    }
  }

  /** An engine that lost its data forgets its activities: they are made again, whoever notices first. */
  function onForgotten(): void {
    if (isRepairing) return;
    isRepairing = true;
    activities.forget();
    logger.warn({}, "Step Functions had forgotten this worker's activities; registering again");
    void registerWithRetry(stopping.signal, false).finally(() => (isRepairing = false));
  }

  async function poll(scope: string | null): Promise<void> {
    const { calls, polls } = await connected();
    if (polled.has(scope)) return;
    const parts: TaskParts = {
      sfn: calls,
      context,
      requestTimeoutMs: settings.requestTimeoutMs,
      stopping: stopping.signal,
      leaving: leaving.signal,
    };
    const common = {
      sfn: polls,
      workerName,
      logger,
      onForgotten,
      handBack: (task: Parameters<typeof handBack>[0]) => handBack(task, parts),
      stopping: stopping.signal,
      leaving: leaving.signal,
    };
    const jobs = startPoller({
      ...common,
      polls: settings.pollers,
      slots: settings.concurrency,
      activityArn: () => activities.arn(nameOf(WORKFLOW_NAME, scope)),
      run: (task) => runJobTask(task, parts),
    });
    const queries = startPoller({
      ...common,
      polls: settings.queryPollers,
      slots: settings.queryPollers,
      activityArn: () => activities.arn(nameOf(QUERY_SERVICE_NAME, scope)),
      run: (task) => runQueryTask(task, { ...parts, signal: leaving.signal }),
    });
    polled.set(scope, { jobs, queries });
  }

  const jobsInFlight = (): number => sumOf([...polled.values()].map(({ jobs }) => jobs.inHand()));
  const inHand = (): number =>
    jobsInFlight() + sumOf([...polled.values()].map(({ queries }) => queries.inHand()));

  async function drain(): Promise<void> {
    stopping.abort();
    activities.close();
    let polling = true;
    const polls = [...polled.values()].flatMap(({ jobs, queries }) => [jobs.polled, queries.polled]);
    void Promise.all(polls).then(() => (polling = false));
    // An open poll that is cut off may still be given a task, which then is lost for the time of a heartbeat.
    await until(() => !polling && inHand() === 0, settings.drainTimeoutMs);
    if (inHand() > 0) {
      logger.warn({ jobs_in_flight: jobsInFlight() }, "jobs still run; they are handed back to the engine");
    }
    leaving.abort();
    await until(() => inHand() === 0, FAREWELL_MS);
    const both = await clients?.catch(() => null);
    both?.calls.destroy();
    both?.polls.destroy();
  }

  return {
    name: "step-functions",
    async start() {
      isStarted = true;
      for (const scope of scopes) await poll(scope);
      logger.info(
        { worker_name: workerName, concurrency: settings.concurrency },
        "worker polls Step Functions",
      );
    },
    register: (signal) => registerWithRetry(AbortSignal.any([signal, stopping.signal]), settings.failFast),
    async serveScopes(added) {
      const fresh = added.filter((scope) => !scopes.has(scope));
      if (fresh.length === 0) return;
      for (const scope of fresh) {
        scopes.add(scope);
        want(scope);
        if (isStarted) await poll(scope);
      }
      // Not waited for: the polls of these scopes begin as soon as it succeeds.
      if (registeredAt !== null) void registerWithRetry(stopping.signal, false);
    },
    stop: () => (stopped ??= drain()),
    status: () => ({
      // The worker calls the engine, nobody calls the worker.
      listenAddress: null,
      registeredAt,
      lastRegistrationError,
      jobsInFlight: jobsInFlight(),
    }),
  };
}

function sumOf(numbers: readonly number[]): number {
  return numbers.reduce((sum, each) => sum + each, 0);
}

async function until(condition: () => boolean, limitMs: number): Promise<void> {
  const deadlineMs = performance.now() + limitMs;
  while (!condition() && performance.now() < deadlineMs) {
    await new Promise((resolve) => setTimeout(resolve, DRAIN_POLL_MS));
  }
}
