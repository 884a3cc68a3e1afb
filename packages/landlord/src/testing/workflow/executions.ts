/** What the behaviours of an engine share: requests, workers with scripted compute, and waits. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import type { ComputeProvider } from "../../compute/provider.ts";
import { WORKFLOW_NAME, type ProvisionRequest } from "../../contract/job.ts";
import type { WorkerContext } from "../../worker/worker-context.ts";
import type { Execution, ExecutionRef, WorkflowProvider, WorkflowStatus } from "../../workflow/provider.ts";
import { eventually } from "../eventually.ts";
import { Faults } from "../faults.ts";
import type { WorkflowHarness } from "./harness.ts";

const CALL_TIMEOUT_MS = 30_000;
const ABSENCE_SETTLE_MS = 10;

export const inTime = (): AbortSignal => AbortSignal.timeout(CALL_TIMEOUT_MS);

export const openSound = (harness: WorkflowHarness): Promise<WorkflowProvider> => harness.open(new Faults());

export function requestOf(change: Partial<ProvisionRequest> = {}): ProvisionRequest {
  return {
    tenant_id: randomUUID(),
    tenant_name: "acme",
    operation: "create",
    desired_config: {},
    compute_provider: "scripted",
    generation: 1,
    execution_id: randomUUID(),
    start_before: new Date(Date.now() + 300_000).toISOString(),
    scopes: [],
    observed_resource_ids: {},
    labels: {},
    annotations: {},
    api_base_url: "http://127.0.0.1:1",
    metadata: { config_hash: "hash", instance_id: "instance" },
    ...change,
  };
}

const silent = (): void => undefined;
const quiet: WorkerContext["logger"] = {
  fatal: silent,
  error: silent,
  warn: silent,
  info: silent,
  debug: silent,
  trace: silent,
  child: () => quiet,
} as unknown as WorkerContext["logger"];

/** A worker whose only compute is this. */
export function contextOf(compute: ComputeProvider): WorkerContext {
  return {
    logger: quiet,
    resolveByName: () => Promise.resolve(compute),
    job: {
      resolveCompute: () => Promise.resolve(compute),
      reportProgress: silent,
      absenceSettleMs: ABSENCE_SETTLE_MS,
      now: Date.now,
    },
  };
}

export function invoke(provider: WorkflowProvider, request: ProvisionRequest): Promise<Execution> {
  return provider.invoke({ workflowName: WORKFLOW_NAME, request, signal: inTime() });
}

export const refOf = (execution: {
  readonly executionId: string;
  readonly handle?: string | null;
}): ExecutionRef => ({
  executionId: execution.executionId,
  handle: execution.handle ?? null,
  workflowName: WORKFLOW_NAME,
});

export function stop(
  provider: WorkflowProvider,
  execution: { readonly executionId: string; readonly handle?: string | null },
  force = false,
): Promise<Execution> {
  return provider.stop({ execution: refOf(execution), reason: "conformance", force, signal: inTime() });
}

export async function statusOf(
  provider: WorkflowProvider,
  execution: { readonly executionId: string; readonly handle?: string | null },
): Promise<WorkflowStatus> {
  const [status, ...more] = await provider.getWorkflowStatus({
    executions: [refOf(execution)],
    signal: inTime(),
  });
  assert.ok(status !== undefined && more.length === 0, "one status for one execution");
  assert.equal(status.executionId, execution.executionId);
  return status;
}

/** Waits for a status that passes `check`, which throws what is still missing. */
export function untilStatus(
  provider: WorkflowProvider,
  execution: { readonly executionId: string; readonly handle?: string | null },
  what: string,
  timeoutMs: number,
  check: (status: WorkflowStatus) => void,
): Promise<WorkflowStatus> {
  return eventually(
    async () => {
      const status = await statusOf(provider, execution);
      check(status);
      return status;
    },
    { what, timeoutMs },
  );
}

/** The execution succeeds, and its result is the answer to this request. */
export async function untilSucceeded(
  harness: WorkflowHarness,
  provider: WorkflowProvider,
  request: ProvisionRequest,
  handle: string | null = null,
  timeoutMs = harness.jobTimeoutMs,
): Promise<WorkflowStatus> {
  const execution = { executionId: request.execution_id, handle };
  const status = await untilStatus(provider, execution, "the job succeeds", timeoutMs, ({ state, error }) =>
    assert.equal(state, "succeeded", error?.message),
  );
  assert.equal(status.subState, "succeeded");
  assert.equal(status.output?.outcome, "succeeded", status.output?.error?.message);
  assert.equal(status.output.tenant_id, request.tenant_id, "the result echoes the tenant");
  assert.equal(status.output.generation, request.generation, "and the generation");
  assert.equal(status.output.config_hash, request.metadata.config_hash, "and the config");
  return status;
}

export function until(what: string, timeoutMs: number, isTrue: () => boolean): Promise<void> {
  return eventually(() => (isTrue() ? Promise.resolve() : Promise.reject(new Error("not yet"))), {
    what,
    timeoutMs,
    everyMs: 10,
  });
}
