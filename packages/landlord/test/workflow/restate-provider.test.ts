/** The workflow port on a real Restate with a real worker. */
import { randomUUID } from "node:crypto";
import { afterEach, describe, expect, inject, test } from "vitest";
import { WORKFLOW_NAME } from "../../src/contract/job.ts";
import type { ComputeProvider } from "../../src/compute/provider.ts";
import { EngineUnavailableError, NoWorkerError, type WorkflowProvider } from "../../src/workflow/provider.ts";
import type { WorkflowWorkerEngine } from "../../src/worker/engine.ts";
import { eventually } from "../support/eventually.ts";
import { startHoldingProxy } from "../support/holding-proxy.ts";
import {
  provisionRequest,
  randomNamespace,
  restateProvider,
  restateWorker,
  signal,
  statusOf,
  untilStatus,
} from "../support/restate.ts";
import { healthyObservation, scriptedCompute, transient } from "../../src/plugin/testing.ts";

const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const part of opened.splice(0).reverse()) await part.close();
});

async function setUp(
  compute: ComputeProvider,
): Promise<{ provider: WorkflowProvider; worker: WorkflowWorkerEngine; namespace: string }> {
  const namespace = randomNamespace();
  const provider = restateProvider(namespace);
  const worker = restateWorker(namespace, compute);
  await worker.start();
  await worker.register(signal());
  opened.push(provider, { close: () => worker.stop() });
  return { provider, worker, namespace };
}

const invoke = (
  provider: WorkflowProvider,
  request = provisionRequest(),
): ReturnType<WorkflowProvider["invoke"]> =>
  provider.invoke({ workflowName: WORKFLOW_NAME, request, signal: signal() });

describe("invoke", () => {
  test("runs the job, and its result comes back as the execution's output", async () => {
    const { provider } = await setUp(scriptedCompute());
    const request = provisionRequest();
    const execution = await invoke(provider, request);
    expect(execution.alreadyExisted).toBe(false);
    const status = await untilStatus(provider, execution, ({ state }) => state === "succeeded", "succeeded");
    expect(status.output).toMatchObject({
      outcome: "succeeded",
      tenant_id: request.tenant_id,
      generation: 1,
      config_hash: "hash",
      health: "healthy",
    });
    expect(status.subState).toBe("succeeded");
  });

  test("twice with one id runs once and answers with the same execution", async () => {
    const compute = scriptedCompute();
    const { provider } = await setUp(compute);
    const request = provisionRequest();
    const executions = await Promise.all([
      invoke(provider, request),
      invoke(provider, request),
      invoke(provider, request),
    ]);
    expect(new Set(executions.map((execution) => execution.handle)).size).toBe(1);
    const [execution] = executions;
    await untilStatus(provider, execution, ({ state }) => state === "succeeded", "succeeded");
    expect((await invoke(provider, request)).alreadyExisted).toBe(true);
    expect(compute.applied).toHaveLength(1);
  });

  test("without a worker says so", async () => {
    const provider = restateProvider(randomNamespace());
    opened.push(provider);
    await expect(invoke(provider)).rejects.toThrow(NoWorkerError);
    await expect(invoke(provider)).rejects.toMatchObject({ code: "no_worker" });
  });

  test("with the engine down is an unavailable engine, and so are the other calls", async () => {
    const provider = restateProvider("", {
      ingressUrl: "http://127.0.0.1:1",
      adminUrl: "http://127.0.0.1:1",
    });
    opened.push(provider);
    const execution = { executionId: "e", handle: "inv_x1", workflowName: WORKFLOW_NAME };
    await expect(invoke(provider)).rejects.toThrow(EngineUnavailableError);
    await expect(provider.getWorkflowStatus({ executions: [execution], signal: signal() })).rejects.toThrow(
      EngineUnavailableError,
    );
    await expect(provider.stop({ execution, reason: "x", force: false, signal: signal() })).rejects.toThrow(
      EngineUnavailableError,
    );
    await expect(provider.health({ signal: signal() })).rejects.toThrow(EngineUnavailableError);
  });
});

describe("status", () => {
  test("of a batch comes in the order asked, unknown ones included", async () => {
    let release: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (release = resolve));
    const compute = scriptedCompute(async (call) => {
      if (call === 3) await gate;
      return healthyObservation();
    });
    const { provider } = await setUp(compute);
    const done = await invoke(provider);
    await untilStatus(provider, done, ({ state }) => state === "succeeded", "first is done");
    // A handle that was valid and is forgotten: its execution is purged.
    const purged = await invoke(provider);
    await untilStatus(provider, purged, ({ state }) => state === "succeeded", "second is done");
    await fetch(`${inject("restateAdminUrl")}/invocations/${purged.handle}/purge`, { method: "PATCH" });
    await untilStatus(provider, purged, ({ state }) => state === "unknown", "purged");
    const running = await invoke(provider);
    await eventually(() => compute.applied.length === 3, { what: "the third runs" });
    const executions = [
      { executionId: purged.executionId, handle: purged.handle, workflowName: WORKFLOW_NAME },
      { executionId: running.executionId, handle: running.handle, workflowName: WORKFLOW_NAME },
      { executionId: randomUUID(), handle: null, workflowName: WORKFLOW_NAME },
      { executionId: done.executionId, handle: done.handle, workflowName: WORKFLOW_NAME },
      { executionId: done.executionId, handle: null, workflowName: WORKFLOW_NAME },
    ];
    const statuses = await provider.getWorkflowStatus({ executions, signal: signal() });
    release();
    expect(statuses.map(({ state }) => state)).toEqual([
      "unknown",
      "running",
      "unknown",
      "succeeded",
      "succeeded",
    ]);
    expect(statuses.map(({ executionId }) => executionId)).toEqual(
      executions.map(({ executionId }) => executionId),
    );
    expect(statuses[3]?.output?.outcome).toBe("succeeded");
  });

  test("of a retried job has the count, the next time and the last error, without a stack", async () => {
    const { provider, worker } = await setUp(
      scriptedCompute(() => Promise.reject(transient("the daemon does not answer"))),
    );
    const execution = await invoke(provider);
    const status = await untilStatus(
      provider,
      execution,
      ({ subState, retryCount }) => subState === "backing-off" && retryCount >= 2,
      "backing off",
    );
    expect(status.state).toBe("running");
    expect(status.error?.message).toBe("the daemon does not answer");
    // An attempt that failed is not in flight any more: a worker that stops would wait for it.
    await eventually(() => worker.status().jobsInFlight === 0, {
      what: "between attempts nothing is in flight",
    });
    expect(status.nextRetryAt).toBeInstanceOf(Date);
    await provider.stop({
      execution: { ...execution, workflowName: WORKFLOW_NAME },
      reason: "done",
      force: true,
      signal: signal(),
    });
  });

  test("of a job that only waits for health is waiting", async () => {
    const { provider } = await setUp(
      scriptedCompute(() => healthyObservation({ health: "starting", message: "starting" })),
    );
    const execution = await invoke(provider);
    const status = await untilStatus(
      provider,
      execution,
      ({ subState }) => subState === "waiting",
      "waiting",
    );
    expect(status.state).toBe("running");
    await provider.stop({
      execution: { ...execution, workflowName: WORKFLOW_NAME },
      reason: "done",
      force: true,
      signal: signal(),
    });
  });

  test("of an answer that is no job result has no output", async () => {
    const { provider } = await setUp(scriptedCompute());
    const execution = await provider.invoke({
      workflowName: WORKFLOW_NAME,
      request: { ...provisionRequest(), generation: "one" } as unknown as ReturnType<typeof provisionRequest>,
      signal: signal(),
    });
    const status = await untilStatus(provider, execution, ({ state }) => state === "failed", "failed");
    expect(status.error?.message).toContain("not valid");
    expect(status.output).toBeNull();
  });
});

describe("stop", () => {
  test("occupies an id that the engine never saw: a late invoke finds it taken and touches nothing", async () => {
    const compute = scriptedCompute();
    const { provider } = await setUp(compute);
    const request = provisionRequest();
    const reference = { executionId: request.execution_id, handle: null, workflowName: WORKFLOW_NAME };
    const occupied = await provider.stop({
      execution: reference,
      reason: "lost",
      force: false,
      signal: signal(),
    });
    expect(occupied.alreadyExisted).toBe(false);
    const late = await invoke(provider, request);
    expect(late).toMatchObject({ alreadyExisted: true, handle: occupied.handle });
    const status = await untilStatus(provider, late, ({ state }) => state === "succeeded", "ended");
    expect(status.output?.outcome).toBe("void");
    expect(compute.applied).toEqual([]);
  });

  test("cancels a running job: its step hears of it, and the execution ends", async () => {
    const compute = scriptedCompute(
      (_call, abort) =>
        new Promise((_resolve, reject) =>
          abort.addEventListener("abort", () => reject(new Error("stopped inside the step"))),
        ),
    );
    const { provider } = await setUp(compute);
    const execution = await invoke(provider);
    await eventually(() => compute.applied.length === 1, { what: "the step runs" });
    await provider.stop({
      execution: { ...execution, workflowName: WORKFLOW_NAME },
      reason: "superseded",
      force: false,
      signal: signal(),
    });
    const status = await untilStatus(provider, execution, ({ state }) => state === "failed", "ended");
    expect(status.error?.message.toLowerCase()).toContain("cancel");
    await eventually(() => compute.aborted(), { what: "the step was told" });
  });

  test("by force ends a job that backs off", async () => {
    const { provider } = await setUp(scriptedCompute(() => Promise.reject(transient("never"))));
    const execution = await invoke(provider);
    const reference = { ...execution, workflowName: WORKFLOW_NAME };
    await untilStatus(provider, execution, ({ subState }) => subState === "backing-off", "backing off");
    await provider.stop({ execution: reference, reason: "superseded", force: true, signal: signal() });
    await untilStatus(provider, execution, ({ state }) => state === "failed", "ended");
    // Again, on what has ended: nothing to do, and no error.
    await provider.stop({ execution: reference, reason: "superseded", force: true, signal: signal() });
  });
});

test("a pushed completion is the same as a polled one", async () => {
  const { provider } = await setUp(scriptedCompute());
  const execution = await invoke(provider);
  const pushed = await provider.watchCompletion?.({
    execution: { ...execution, workflowName: WORKFLOW_NAME },
    signal: signal(),
  });
  expect(pushed).toEqual(await statusOf(provider, execution));
});

describe("query", () => {
  const request = {
    compute_provider: "mock",
    instance_id: "instance",
    tenants: [{ tenant_id: randomUUID(), scopes: [] }],
    tail_bytes: 100,
  };

  test("is answered by a worker, without a ledger", async () => {
    const { provider } = await setUp(scriptedCompute());
    const ask = (method: "observe" | "list" | "logs"): Promise<unknown> =>
      provider.query({ method, request, signal: signal() });
    expect(await ask("observe")).toMatchObject({ observations: [{ presence: "absent" }] });
    expect(await ask("list")).toMatchObject({ resources: [{ tenant_id: "t" }] });
    expect(await ask("logs")).toEqual({ logs: "a line of output\n" });
    const spec = {
      tenant_id: randomUUID(),
      tenant_name: "acme",
      generation: 1,
      config_hash: "h",
      desired_config: {},
    };
    expect(
      await provider.query({ method: "plan", request: { ...request, spec }, signal: signal() }),
    ).toMatchObject({ changes: [] });
    await expect(provider.query({ method: "plan", request, signal: signal() })).rejects.toMatchObject({
      code: "query_failed",
    });
  });

  test("without a worker, and with one that is gone, says no_worker", async () => {
    const unregistered = restateProvider(randomNamespace());
    opened.push(unregistered);
    await expect(unregistered.query({ method: "list", request, signal: signal() })).rejects.toThrow(
      NoWorkerError,
    );
    const { provider, worker } = await setUp(scriptedCompute());
    await worker.stop();
    await expect(provider.query({ method: "list", request, signal: signal() })).rejects.toThrow(
      NoWorkerError,
    );
  });
});

test("the token reaches ingress and admin, from server and worker", async () => {
  const [ingress, admin] = await Promise.all([
    startHoldingProxy(inject("restateIngressUrl")),
    startHoldingProxy(inject("restateAdminUrl")),
  ]);
  opened.push({ close: () => ingress.stop() }, { close: () => admin.stop() });
  const counts = [ingress.requireToken("s3cret"), admin.requireToken("s3cret")];
  const namespace = randomNamespace();
  const urls = { ingressUrl: ingress.url, adminUrl: admin.url };

  const stranger = restateProvider(namespace, urls);
  opened.push(stranger);
  await expect(stranger.health({ signal: signal() })).rejects.toMatchObject({ code: "engine_unauthorized" });
  await expect(invoke(stranger)).rejects.toMatchObject({ code: "engine_unauthorized" });
  const strangeWorker = restateWorker(namespace, scriptedCompute(), { adminUrl: admin.url, failFast: true });
  await strangeWorker.start();
  await expect(strangeWorker.register(signal())).rejects.toMatchObject({ code: "registration_failed" });
  await strangeWorker.stop();
  expect(counts.map((count) => count.allowed())).toEqual([0, 0]);

  const worker = restateWorker(namespace, scriptedCompute(), { adminUrl: admin.url, authToken: "s3cret" });
  await worker.start();
  await worker.register(signal());
  const provider = restateProvider(namespace, { ...urls, authToken: "s3cret" });
  opened.push(provider, { close: () => worker.stop() });
  const refusedBefore = counts.map((count) => count.refused());
  const execution = await invoke(provider);
  await untilStatus(provider, execution, ({ state }) => state === "succeeded", "succeeded");
  await provider.health({ signal: signal() });
  expect(counts.map((count) => count.refused())).toEqual(refusedBefore);
  expect(counts.every((count) => count.allowed() > 0)).toBe(true);
});
