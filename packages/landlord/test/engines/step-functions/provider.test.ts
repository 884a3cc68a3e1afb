/** The workflow port on the Step Functions emulator with a real worker. */
import { randomUUID } from "node:crypto";
import { afterEach, describe, expect, inject, test } from "vitest";
import { WORKFLOW_NAME } from "../../../src/contract/job.ts";
import type { ComputeProvider } from "../../../src/compute/provider.ts";
import {
  EngineRejectedError,
  EngineUnavailableError,
  NoWorkerError,
  type WorkflowProvider,
} from "../../../src/workflow/provider.ts";
import type { WorkflowWorkerEngine } from "../../../src/worker/engine.ts";
import { eventually } from "../../support/eventually.ts";
import { provisionRequest, signal, statusOf, untilStatus } from "../../support/restate.ts";
import { healthyObservation, scriptedCompute, transient } from "../../../src/plugin/testing.ts";
import { ended, invoke, randomPrefix, stepFunctionsProvider, stepFunctionsWorker, stop } from "./kit.ts";

const endpoint = inject("stepFunctionsEndpoint");

const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const part of opened.splice(0).reverse()) await part.close();
});

function openProvider(
  namePrefix: string,
  change: Parameters<typeof stepFunctionsProvider>[2] = {},
): WorkflowProvider {
  const provider = stepFunctionsProvider(endpoint, namePrefix, change);
  opened.push(provider);
  return provider;
}

async function setUp(
  compute: ComputeProvider,
  change: Parameters<typeof stepFunctionsProvider>[2] = {},
): Promise<{ provider: WorkflowProvider; worker: WorkflowWorkerEngine; namePrefix: string }> {
  const namePrefix = randomPrefix();
  const provider = openProvider(namePrefix, change);
  const worker = stepFunctionsWorker(endpoint, namePrefix, compute);
  await worker.start();
  await worker.register(signal());
  opened.push({ close: () => worker.stop() });
  return { provider, worker, namePrefix };
}

describe("invoke", () => {
  test("runs the job, and its result comes back as the execution's output", async () => {
    const { provider } = await setUp(scriptedCompute());
    const request = provisionRequest();
    const execution = await invoke(provider, request);
    expect(execution.alreadyExisted).toBe(false);
    const status = await untilStatus(provider, execution, ended, "ended");
    expect(status).toMatchObject({ state: "succeeded", subState: "succeeded", retryCount: 0, error: null });
    expect(status.output).toMatchObject({
      outcome: "succeeded",
      tenant_id: request.tenant_id,
      generation: 1,
      config_hash: "hash",
      health: "healthy",
    });
  });

  test("of a delete destroys, and proves absence twice", async () => {
    const { provider } = await setUp(scriptedCompute());
    const execution = await invoke(provider, provisionRequest({ operation: "delete" }));
    const status = await untilStatus(provider, execution, ended, "ended");
    expect(status.output).toMatchObject({ outcome: "succeeded", health: "absent", absent_observations: 2 });
  });

  test("twice with one id runs once and answers with the same execution, while it runs and after", async () => {
    let release: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (release = resolve));
    const compute = scriptedCompute(async () => {
      await gate;
      return healthyObservation();
    });
    const { provider } = await setUp(compute);
    const request = provisionRequest();
    const executions = await Promise.all([
      invoke(provider, request),
      invoke(provider, request),
      invoke(provider, request),
    ]);
    expect(new Set(executions.map(({ handle }) => handle)).size).toBe(1);
    const [execution] = executions;
    await eventually(() => compute.applied.length === 1, { what: "the job runs" });
    expect(await invoke(provider, request)).toEqual({ ...execution, alreadyExisted: true });
    release();
    await untilStatus(provider, execution, ({ state }) => state === "succeeded", "succeeded");
    expect(await invoke(provider, request)).toEqual({ ...execution, alreadyExisted: true });
    // Another request under the same id: the port leaves it to the result to tell.
    expect(await invoke(provider, provisionRequest({ execution_id: request.execution_id }))).toEqual({
      ...execution,
      alreadyExisted: true,
    });
    expect((await statusOf(provider, execution)).output?.tenant_id).toBe(request.tenant_id);
    expect(compute.applied).toHaveLength(1);
  });

  test("after its start window does nothing", async () => {
    const compute = scriptedCompute();
    const { provider } = await setUp(compute);
    const late = provisionRequest({ start_before: new Date(Date.now() - 1_000).toISOString() });
    const status = await untilStatus(provider, await invoke(provider, late), ended, "ended");
    expect(status.output?.outcome).toBe("expired");
    expect(compute.applied).toEqual([]);
  });

  test("of a request that no worker can understand fails at once, with the reason", async () => {
    const { provider } = await setUp(scriptedCompute());
    const execution = await invoke(provider, {
      ...provisionRequest(),
      generation: "one",
    } as unknown as ReturnType<typeof provisionRequest>);
    const status = await untilStatus(provider, execution, ended, "ended");
    expect(status.state).toBe("failed");
    expect(status.error?.message).toContain("not valid");
    expect(status.output).toBeNull();
  });

  test("of a request beyond what Step Functions carries is refused with the limit", async () => {
    const provider = openProvider(randomPrefix());
    const request = provisionRequest({ desired_config: { text: "x".repeat(200_000) } });
    await expect(invoke(provider, request)).rejects.toThrow(EngineRejectedError);
    await expect(invoke(provider, request)).rejects.toMatchObject({ code: "request_too_large" });
  });

  test("of the largest request, with the largest result, is carried through both phases", async () => {
    const { provider } = await setUp(
      scriptedCompute((call) =>
        call === 1
          ? healthyObservation({ health: "starting", message: "m".repeat(4_000) })
          : healthyObservation({ config: { text: "y".repeat(60_000) } }),
      ),
    );
    const request = provisionRequest({ desired_config: { text: "x".repeat(155_000) } });
    const status = await untilStatus(provider, await invoke(provider, request), ended, "ended");
    expect(status.output?.observed_config).toEqual({ text: "y".repeat(60_000) });
  });
});

describe("with the engine away", () => {
  test("every call says that it is unreachable, and nothing is failed or unknown", async () => {
    const provider = openProvider(randomPrefix(), { endpoint: "http://127.0.0.1:1" });
    const execution = { executionId: randomUUID(), handle: null, workflowName: WORKFLOW_NAME };
    const unreachable = { code: "engine_unreachable" };
    await expect(invoke(provider)).rejects.toThrow(EngineUnavailableError);
    await expect(
      provider.getWorkflowStatus({ executions: [execution], signal: signal() }),
    ).rejects.toMatchObject(unreachable);
    await expect(
      provider.getWorkflowStatus({
        executions: Array.from({ length: 100 }, () => execution),
        signal: signal(),
      }),
    ).rejects.toMatchObject(unreachable);
    await expect(stop(provider, execution)).rejects.toMatchObject(unreachable);
    await expect(provider.health({ signal: signal() })).rejects.toMatchObject(unreachable);
    await expect(
      provider.ensureWorkflow({ workflowName: WORKFLOW_NAME, signal: signal() }),
    ).rejects.toMatchObject(unreachable);
  });
});

describe("status", () => {
  test("of a retried job has the count, the latest next time and the last error", async () => {
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
    expect(status.error).toEqual({ code: "attempt_failed", message: "the daemon does not answer" });
    expect(status.nextRetryAt).toBeInstanceOf(Date);
    expect(status.nextRetryAt?.getTime()).toBeGreaterThan(Date.now() - 10_000);
    await eventually(() => worker.status().jobsInFlight === 0, {
      what: "between attempts nothing is in flight",
    });
    await untilStatus(provider, execution, ({ subState }) => subState === "backing-off", "backing off again");
    await stop(provider, execution, true);
    const last = await untilStatus(provider, execution, ended, "a job that backs off can be ended");
    expect(last).toMatchObject({ state: "failed", subState: "failed" });
    // The emulator leaves out the reason that the service gives.
    expect(last.error?.code).toBe("execution_failed");
    expect(last.error?.message).toMatch(/^Cancelled(\.|: superseded)$/);
  });

  test("of a job that only waits for health is waiting, and the wait goes on from the first look", async () => {
    let isHealthy = false;
    const compute = scriptedCompute(() => healthyObservation({ health: isHealthy ? "healthy" : "starting" }));
    const { provider } = await setUp(compute);
    const execution = await invoke(provider);
    const status = await untilStatus(
      provider,
      execution,
      ({ subState }) => subState === "waiting",
      "waiting",
    );
    expect(status).toMatchObject({ state: "running", retryCount: 0, error: null });
    const looks = compute.applied.length;
    await eventually(() => compute.applied.length > looks, { what: "it looks again" });
    isHealthy = true;
    const last = await untilStatus(provider, execution, ended, "ended");
    expect(last.output?.outcome).toBe("succeeded");
  });

  test("of a job that nobody takes is waiting, and says that there is no worker", async () => {
    const provider = openProvider(randomPrefix());
    const execution = await invoke(provider);
    expect(await statusOf(provider, execution)).toMatchObject({ state: "running", subState: "running" });
    const status = await untilStatus(
      provider,
      execution,
      ({ subState }) => subState === "waiting",
      "waiting",
    );
    expect(status.error?.code).toBe("no_worker");
    await stop(provider, execution);
  });

  test("is known without the handle, of running, ended and unknown executions, in the order asked", async () => {
    let release: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (release = resolve));
    const compute = scriptedCompute(async (call) => {
      if (call === 2) await gate;
      return healthyObservation();
    });
    const { provider } = await setUp(compute);
    const done = await invoke(provider);
    await untilStatus(provider, done, ({ state }) => state === "succeeded", "the first is done");
    const running = await invoke(provider);
    await eventually(() => compute.applied.length === 2, { what: "the second runs" });
    const executions = [
      { executionId: running.executionId, handle: running.handle },
      { executionId: randomUUID(), handle: null },
      { executionId: done.executionId, handle: null },
      { executionId: running.executionId, handle: null },
      { executionId: done.executionId, handle: done.handle },
    ].map((execution) => ({ ...execution, workflowName: WORKFLOW_NAME }));
    const statuses = await provider.getWorkflowStatus({ executions, signal: signal() });
    release();
    expect(statuses.map(({ state }) => state)).toEqual([
      "running",
      "unknown",
      "succeeded",
      "running",
      "succeeded",
    ]);
    expect(statuses.map(({ executionId }) => executionId)).toEqual(
      executions.map(({ executionId }) => executionId),
    );
    expect(statuses[2]?.output?.outcome).toBe("succeeded");
  });

  test("of a handle that belongs elsewhere is refused", async () => {
    const provider = openProvider(randomPrefix());
    const handle = "arn:aws:states:eu-west-1:000000000000:execution:other:x";
    await expect(statusOf(provider, { executionId: randomUUID(), handle })).rejects.toMatchObject({
      code: "invalid_handle",
    });
  });
});

describe("stop", () => {
  test("occupies an id that the engine never saw: a late invoke finds it taken and touches nothing", async () => {
    const compute = scriptedCompute();
    const { provider } = await setUp(compute);
    const request = provisionRequest();
    const reference = { executionId: request.execution_id, handle: null };
    const occupied = await stop(provider, reference);
    expect(occupied.alreadyExisted).toBe(false);
    const late = await invoke(provider, request);
    expect(late).toMatchObject({ alreadyExisted: true, handle: occupied.handle });
    const status = await untilStatus(provider, late, ended, "ended");
    expect(status.output?.outcome).toBe("void");
    // Again, forced, on what has ended: the result stays.
    expect((await stop(provider, reference, true)).alreadyExisted).toBe(true);
    expect((await statusOf(provider, late)).output?.outcome).toBe("void");
    expect(compute.applied).toEqual([]);
  });

  test("ends a running job, and its step hears of it at the next heartbeat", async () => {
    const compute = scriptedCompute(
      (_call, abort) =>
        new Promise((_resolve, reject) =>
          abort.addEventListener("abort", () => reject(new Error("stopped inside the step"))),
        ),
    );
    const { provider, worker } = await setUp(compute, { heartbeatSeconds: 9 });
    const execution = await invoke(provider);
    await eventually(() => compute.applied.length === 1, { what: "the step runs" });
    await stop(provider, execution);
    // Sooner than without a word from the engine, which takes the whole 9 s and more.
    await eventually(() => compute.aborted(), { what: "the step was told", timeoutMs: 9_000 });
    const status = await untilStatus(provider, execution, ({ state }) => state === "failed", "ended");
    expect(status.error?.code).toBe("execution_failed");
    await eventually(() => worker.status().jobsInFlight === 0, { what: "the worker is free again" });
    expect(compute.applied).toHaveLength(1);
    // Again, on what has ended: nothing to do, and no error.
    await stop(provider, execution, true);
    expect((await statusOf(provider, execution)).state).toBe("failed");
  });
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
    const ask = (method: "observe" | "list" | "logs" | "plan"): Promise<unknown> =>
      provider.query({ method, request, signal: signal() });
    expect(await ask("observe")).toMatchObject({ observations: [{ presence: "absent" }] });
    expect(await ask("list")).toMatchObject({ resources: [{ tenant_id: "t" }] });
    expect(await ask("logs")).toEqual({ logs: "a line of output\n" });
    await expect(ask("plan")).rejects.toMatchObject({
      code: "query_failed",
      message: "`plan` needs a spec.",
    });
  });

  test("whose answer is larger than Step Functions carries is refused with the limit", async () => {
    const { provider } = await setUp({
      ...scriptedCompute(),
      logs: () => Promise.resolve("l".repeat(262_144)),
    });
    await expect(provider.query({ method: "logs", request, signal: signal() })).rejects.toMatchObject({
      code: "query_failed",
      message: expect.stringContaining("fewer bytes of logs") as unknown,
    });
  });

  test("without a worker says no_worker, and leaves nothing for a worker to do", async () => {
    const namePrefix = randomPrefix();
    const provider = openProvider(namePrefix, { queryTimeoutMs: 1_500 });
    const begunMs = performance.now();
    await expect(provider.query({ method: "list", request, signal: signal() })).rejects.toThrow(
      NoWorkerError,
    );
    expect(performance.now() - begunMs).toBeLessThan(5_000);
  });
});

test("health needs no state machine", async () => {
  await openProvider(randomPrefix()).health({ signal: signal() });
});
