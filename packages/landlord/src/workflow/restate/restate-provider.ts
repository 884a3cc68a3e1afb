/**
 * Restate as workflow engine. A tenant job is a workflow keyed by the execution id, so Restate itself makes `invoke`
 * idempotent: a second submission of a key is `PreviouslyAccepted`, whoever sent it first.
 */
import { nameInScope, QUERY_SERVICE_NAME, VOID_REQUEST } from "../../contract/job.ts";
import { canonicalJson, type Json } from "../../domain/json.ts";
import { messageOf } from "../../domain/errors.ts";
import {
  EngineRejectedError,
  EngineUnavailableError,
  NoWorkerError,
  QueryFailedError,
  type Execution,
  type ExecutionRef,
  type WorkflowProvider,
  type WorkflowStatus,
} from "../provider.ts";
import { parseJobResult } from "../job-report.ts";
import { RESTATE_SUB_STATES } from "../sub-state.ts";
import {
  createRestateHttp,
  type RestateHttp,
  type RestateHttpSettings,
  type RestateResponse,
} from "./restate-http.ts";
import {
  PHASE_STATE_KEY,
  restateServiceName,
  WAITING_PHASE,
  type RestateNaming,
} from "../../contract/restate-names.ts";

export interface RestateProviderSettings extends RestateHttpSettings, RestateNaming {
  /** How long a read-only question may take. */
  readonly queryTimeoutMs: number;
}

const STATUS_BATCH_LIMIT = 1_000;
const RESULT_READS_AT_ONCE = 32;
const ERROR_MESSAGE_LIMIT = 2_000;

/** With which our query handlers refuse (worker/restate/services.ts). */
const QUERY_REFUSED = 400;

/** Answers of `…/output`: not finished yet, no such execution. */
const NOT_READY = 470;
const NOT_FOUND = 404;

/** A row of Restate's SQL. What is null there is left out here. */
interface InvocationRow {
  readonly id: string;
  readonly target_service_key?: string;
  readonly status: string;
  readonly retry_count?: number;
  readonly next_retry_at?: string;
  readonly last_failure?: string;
  readonly completion_failure?: string;
}

export function createRestateProvider(settings: RestateProviderSettings): WorkflowProvider {
  const http = createRestateHttp(settings);
  const serviceName = (name: string): string => restateServiceName(settings, name);

  async function submit(
    workflowName: string,
    executionId: string,
    body: string,
    signal: AbortSignal,
  ): Promise<Execution> {
    const service = serviceName(workflowName);
    const response = await http.call({
      base: "ingress",
      method: "POST",
      path: `/${service}/${encodeURIComponent(executionId)}/run/send`,
      body,
      signal,
      accept: [NOT_FOUND],
    });
    if (response.status === NOT_FOUND) {
      throw new NoWorkerError(
        `No worker is registered for workflow ${service}. Start one with \`landlord worker\`.`,
      );
    }
    const { invocationId, status } = response.body as { invocationId?: unknown; status?: unknown };
    if (typeof invocationId !== "string") {
      throw new EngineRejectedError(
        "engine_answer_invalid",
        "Restate accepted a workflow without naming its invocation.",
      );
    }
    return { executionId, handle: invocationId, alreadyExisted: status === "PreviouslyAccepted" };
  }

  return {
    name: "restate",
    invoke: ({ workflowName, request, signal }) =>
      submit(workflowName, request.execution_id, canonicalJson(request as unknown as Json), signal),
    getWorkflowStatus: ({ executions, signal }) => readStatuses(http, serviceName, executions, signal),
    async stop({ execution, force, signal }) {
      // Occupying comes first in any case: it tells in one call whether there is anything to cancel.
      const found = await submit(
        execution.workflowName,
        execution.executionId,
        JSON.stringify(VOID_REQUEST),
        signal,
      );
      if (found.alreadyExisted) {
        await http.call({
          base: "admin",
          method: "PATCH",
          path: `/invocations/${found.handle}/${force ? "kill" : "cancel"}`,
          signal,
          // 404 and 409: it has ended meanwhile.
          accept: [NOT_FOUND, 409],
        });
      }
      return found;
    },
    async query({ method, request, scope, signal }) {
      const service = serviceName(nameInScope(QUERY_SERVICE_NAME, scope ?? null));
      try {
        const response = await http.call({
          base: "ingress",
          method: "POST",
          path: `/${service}/${method}`,
          body: request,
          signal: AbortSignal.any([signal, AbortSignal.timeout(settings.queryTimeoutMs)]),
          accept: [NOT_FOUND],
        });
        if (response.fromInvocation && response.status === QUERY_REFUSED) {
          throw new QueryFailedError(failureText(response.body));
        }
        // Whatever else ended the call came from the engine, which could not get an answer from a worker.
        if (response.fromInvocation)
          throw new NoWorkerError(`No worker answered: ${failureText(response.body)}`);
        if (response.status === NOT_FOUND)
          throw new NoWorkerError(`No worker is registered for service ${service}.`);
        return response.body as Json;
      } catch (error) {
        // The engine answers at once; when the question times out it is the worker that is missing.
        if (error instanceof EngineUnavailableError && isTimeout(error.cause)) {
          throw new NoWorkerError("No worker answered in time.", error);
        }
        throw error;
      }
    },
    // A Restate workflow is defined by the worker that registers it.
    ensureWorkflow: () => Promise.resolve(),
    async watchCompletion({ execution, signal }) {
      const response = await http.call({
        base: "ingress",
        method: "GET",
        path: `/restate/invocation/${handleOf(execution)}/attach`,
        signal,
        unlimited: true,
      });
      return endedStatus(execution.executionId, response);
    },
    async health({ signal }) {
      await Promise.all([
        http.call({ base: "admin", method: "GET", path: "/health", signal }),
        http.call({ base: "ingress", method: "GET", path: "/restate/health", signal }),
      ]);
    },
    close: () => http.close(),
  };
}

async function readStatuses(
  http: RestateHttp,
  serviceName: (name: string) => string,
  executions: readonly ExecutionRef[],
  signal: AbortSignal,
): Promise<readonly WorkflowStatus[]> {
  if (executions.length > STATUS_BATCH_LIMIT) {
    throw new EngineRejectedError(
      "batch_too_large",
      `At most ${STATUS_BATCH_LIMIT} statuses can be asked for at once.`,
    );
  }
  const known = executions.filter((execution) => execution.handle !== null);
  const rows = await queryInvocations(http, known.map(handleOf), signal);
  const running = [...rows.values()].flatMap((row) =>
    row.status === "running" && row.target_service_key !== undefined ? [row.target_service_key] : [],
  );
  const waiting = await queryWaiting(http, running, signal);
  return mapBounded(executions, RESULT_READS_AT_ONCE, async (execution) => {
    if (execution.handle === null) return readByKey(http, serviceName, execution, signal);
    const row = rows.get(execution.handle);
    if (row === undefined) return unknownStatus(execution.executionId);
    if (row.status !== "completed")
      return openStatus(execution.executionId, row, waiting.has(execution.executionId));
    const response = await http.call({
      base: "ingress",
      method: "GET",
      path: `/restate/invocation/${row.id}/output`,
      signal,
      accept: [NOT_READY, NOT_FOUND],
    });
    if (response.fromInvocation || response.status < 300) return endedStatus(execution.executionId, response);
    // Purged between the two reads, or kept without its result: it has ended, and says no more.
    return failedStatus(
      execution.executionId,
      row.completion_failure ?? "The engine no longer has the result.",
    );
  });
}

/** Without the engine's handle only the workflow's own key can be asked, one at a time. */
async function readByKey(
  http: RestateHttp,
  serviceName: (name: string) => string,
  execution: ExecutionRef,
  signal: AbortSignal,
): Promise<WorkflowStatus> {
  const response = await http.call({
    base: "ingress",
    method: "GET",
    path: `/restate/workflow/${serviceName(execution.workflowName)}/${encodeURIComponent(execution.executionId)}/output`,
    signal,
    accept: [NOT_READY, NOT_FOUND],
  });
  if (response.fromInvocation || response.status < 300) return endedStatus(execution.executionId, response);
  if (response.status === NOT_FOUND) return unknownStatus(execution.executionId);
  return {
    ...unknownStatus(execution.executionId),
    state: "running",
    subState: "running",
  };
}

async function queryInvocations(
  http: RestateHttp,
  ids: readonly string[],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, InvocationRow>> {
  if (ids.length === 0) return new Map();
  // `id IN` is the one filter that Restate answers without reading every invocation.
  const rows = await querySql<InvocationRow>(
    http,
    `SELECT id, target_service_key, status, retry_count, next_retry_at, last_failure, completion_failure
     FROM sys_invocation WHERE id IN (${ids.map((id) => `'${id}'`).join(",")})`,
    signal,
  );
  return new Map(rows.map((row) => [row.id, row]));
}

/** Which of the running executions have announced that they only wait for health. */
async function queryWaiting(
  http: RestateHttp,
  executionIds: readonly string[],
  signal: AbortSignal,
): Promise<ReadonlySet<string>> {
  const safe = executionIds.filter((id) => /^[A-Za-z0-9_-]+$/.test(id));
  if (safe.length === 0) return new Set();
  const rows = await querySql<{ service_key: string }>(
    http,
    `SELECT service_key FROM state WHERE service_key IN (${safe.map((id) => `'${id}'`).join(",")})
     AND key = '${PHASE_STATE_KEY}' AND value_utf8 = '"${WAITING_PHASE}"'`,
    signal,
  );
  return new Set(rows.map((row) => row.service_key));
}

async function querySql<Row>(http: RestateHttp, query: string, signal: AbortSignal): Promise<readonly Row[]> {
  const response = await http.call({
    base: "admin",
    method: "POST",
    path: "/query",
    body: { query },
    signal,
  });
  return (response.body as { rows: readonly Row[] }).rows;
}

function openStatus(executionId: string, row: InvocationRow, announcedWaiting: boolean): WorkflowStatus {
  const subState = RESTATE_SUB_STATES[row.status] ?? "running";
  return {
    executionId,
    state: "running",
    subState: announcedWaiting && subState === "running" ? "waiting" : subState,
    retryCount: Math.max(0, (row.retry_count ?? 1) - 1),
    nextRetryAt: row.next_retry_at === undefined ? null : new Date(row.next_retry_at),
    error:
      row.last_failure === undefined
        ? null
        : { code: "attempt_failed", message: withoutStack(row.last_failure) },
    output: null,
  };
}

function endedStatus(executionId: string, response: RestateResponse): WorkflowStatus {
  if (response.fromInvocation) return failedStatus(executionId, failureText(response.body));
  return {
    executionId,
    state: "succeeded",
    subState: "succeeded",
    retryCount: 0,
    nextRetryAt: null,
    error: null,
    output: parseJobResult(response.body),
  };
}

function failedStatus(executionId: string, message: string): WorkflowStatus {
  return {
    executionId,
    state: "failed",
    subState: "failed",
    retryCount: 0,
    nextRetryAt: null,
    error: { code: "execution_failed", message: withoutStack(message) },
    output: null,
  };
}

function unknownStatus(executionId: string): WorkflowStatus {
  return {
    executionId,
    state: "unknown",
    subState: null,
    retryCount: 0,
    nextRetryAt: null,
    error: null,
    output: null,
  };
}

function handleOf(execution: ExecutionRef): string {
  // The handle goes into a query text and a path, so its alphabet is checked here, once.
  if (execution.handle === null || !/^inv_[A-Za-z0-9]+$/.test(execution.handle)) {
    throw new EngineRejectedError("invalid_handle", `"${execution.handle}" is not a Restate invocation id.`);
  }
  return execution.handle;
}

function failureText(body: unknown): string {
  if (typeof body === "object" && body !== null && "message" in body) return String(body.message);
  return typeof body === "string" ? body : JSON.stringify(body);
}

/**
 * Restate reports a failure as `[code] message`, followed by the JavaScript stack, which begins with the message
 * again; people and API clients get the message, once.
 */
function withoutStack(text: string): string {
  const lines = text.split("\n").filter((line) => !/^\s+at /.test(line));
  const said = lines
    .join("\n")
    .replace(/^\[\d+[^\]]*\] /, "")
    .trim();
  for (const { index, 0: name } of said.matchAll(/\n\w*Error: /g)) {
    const first = said.slice(0, index).trim();
    if (said.slice(index + name.length).trim() === first) return first.slice(0, ERROR_MESSAGE_LIMIT);
  }
  return said.slice(0, ERROR_MESSAGE_LIMIT);
}

function isTimeout(error: unknown): boolean {
  return error instanceof Error && (error.name === "TimeoutError" || /timeout/i.test(messageOf(error)));
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
