/** What workers, provider and engine do when one of them dies, is cut off, stops or is refused. */
import { randomUUID } from "node:crypto";
import { spawn, type ChildProcess } from "node:child_process";
import { SFN } from "@aws-sdk/client-sfn";
import { afterEach, describe, expect, inject, test } from "vitest";
import { nameInScope, WORKFLOW_NAME } from "../../../src/contract/job.ts";
import type { ComputeProvider, Observation } from "../../../src/compute/provider.ts";
import type { WorkflowProvider } from "../../../src/workflow/provider.ts";
import type { WorkflowWorkerEngine } from "../../../src/worker/engine.ts";
import { eventually } from "../../support/eventually.ts";
import { provisionRequest, signal, statusOf, untilStatus } from "../../support/restate.ts";
import { healthyObservation, scriptedCompute, transient } from "../../../src/plugin/testing.ts";
import { startAwsProxy, type AwsProxy } from "./aws-proxy.ts";
import {
  ended,
  invoke,
  randomPrefix,
  REGION,
  stepFunctionsProvider,
  stepFunctionsWorker,
  stop,
} from "./kit.ts";

const endpoint = inject("stepFunctionsEndpoint");

const opened: { close(): Promise<unknown> }[] = [];
afterEach(async () => {
  for (const part of opened.splice(0).reverse()) await part.close();
});

async function openProxy(): Promise<AwsProxy> {
  const proxy = await startAwsProxy(endpoint);
  opened.push(proxy);
  return proxy;
}

function openProvider(
  namePrefix: string,
  change: Parameters<typeof stepFunctionsProvider>[2] = {},
): WorkflowProvider {
  const provider = stepFunctionsProvider(endpoint, namePrefix, change);
  opened.push(provider);
  return provider;
}

async function openWorker(
  namePrefix: string,
  compute: ComputeProvider,
  change: Parameters<typeof stepFunctionsWorker>[3] = {},
): Promise<WorkflowWorkerEngine> {
  const worker = stepFunctionsWorker(endpoint, namePrefix, compute, change);
  await worker.start();
  await worker.register(signal());
  opened.push({ close: () => worker.stop() });
  return worker;
}

/** A worker that polls for nothing while it has something: no open poll of its own takes what it hands back. */
const ONE_TASK = { concurrency: 1, pollers: 1 };

interface WorkerProcess {
  readonly child: ChildProcess;
  said(word: string): Promise<unknown>;
}

async function openWorkerProcess(namePrefix: string): Promise<WorkerProcess> {
  const program = new URL("./worker-process.ts", import.meta.url).pathname;
  const argument = JSON.stringify({ endpoint, namePrefix });
  const child = spawn(process.execPath, ["--conditions=source", "--import", "tsx", program, argument], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.on("data", (bytes: Buffer) => (output += bytes.toString()));
  const said = (word: string): Promise<unknown> =>
    eventually(() => output.split("\n").includes(word), { what: `the worker's process says ${word}` });
  opened.push({
    close: () =>
      new Promise((gone) => {
        if (child.exitCode !== null || child.signalCode !== null) return gone(null);
        child.once("exit", gone);
        child.kill("SIGKILL");
      }),
  });
  await said("ready");
  return { child, said };
}

/** A step that lasts until `release`, or until its signal aborts. */
function gatedCompute() {
  let release: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => (release = resolve));
  let running = 0;
  let most = 0;
  const compute = scriptedCompute(async (_call, abort): Promise<Observation> => {
    running += 1;
    most = Math.max(most, running);
    const aborted = new Promise<never>((_resolve, reject) =>
      abort.addEventListener("abort", () => reject(new Error("aborted"))),
    );
    try {
      await Promise.race([gate, aborted]);
    } finally {
      running -= 1;
    }
    return healthyObservation();
  });
  return { compute, release: () => release(), running: () => running, most: () => most };
}

describe("a worker", () => {
  test("that is killed inside a step is followed by another one", async () => {
    const namePrefix = randomPrefix();
    const provider = openProvider(namePrefix, { heartbeatSeconds: 2 });
    const first = await openWorkerProcess(namePrefix);
    const execution = await invoke(provider);
    await first.said("applying");
    first.child.kill("SIGKILL");
    const compute = scriptedCompute();
    await openWorker(namePrefix, compute);
    const status = await untilStatus(provider, execution, ended, "the second worker ends it");
    expect(status.output?.outcome).toBe("succeeded");
    expect(compute.applied).toHaveLength(1);
  });

  test("that was stopped past its heartbeats ends its step when it goes on, though nobody told it", async () => {
    const namePrefix = randomPrefix();
    const provider = openProvider(namePrefix, { heartbeatSeconds: 2 });
    const first = await openWorkerProcess(namePrefix);
    const execution = await invoke(provider);
    await first.said("applying");
    first.child.kill("SIGSTOP");
    await openWorker(namePrefix, scriptedCompute());
    const status = await untilStatus(provider, execution, ended, "the second worker ends it");
    expect(status.output?.outcome).toBe("succeeded");
    first.child.kill("SIGCONT");
    await first.said("aborted");
    expect(await statusOf(provider, execution)).toEqual(status);
  });

  test("that stops finishes its step, and begins nothing new", async () => {
    const namePrefix = randomPrefix();
    const provider = openProvider(namePrefix, { heartbeatSeconds: 60 });
    const gated = gatedCompute();
    const worker = await openWorker(namePrefix, gated.compute, {
      pollers: 1,
      drainTimeoutMs: 5_000,
    });
    const execution = await invoke(provider);
    await eventually(() => gated.running() === 1, { what: "the step runs" });
    const stopped = worker.stop();
    const late = await invoke(provider);
    gated.release();
    await stopped;
    expect((await statusOf(provider, execution)).output?.outcome).toBe("succeeded");
    // What an open poll brought meanwhile was handed back, without counting as a failure.
    const second = scriptedCompute();
    await openWorker(namePrefix, second);
    const status = await untilStatus(provider, late, ended, "another worker takes what came late");
    expect(status.output?.outcome).toBe("succeeded");
    expect(gated.compute.applied).toHaveLength(1);
    expect(second.applied).toHaveLength(1);
  });

  test("that stops hands back at once what only waits for health", async () => {
    const namePrefix = randomPrefix();
    const provider = openProvider(namePrefix, { heartbeatSeconds: 30 });
    const worker = await openWorker(
      namePrefix,
      scriptedCompute(() => healthyObservation({ health: "starting" })),
      ONE_TASK,
    );
    const execution = await invoke(provider);
    await untilStatus(provider, execution, ({ subState }) => subState === "waiting", "waiting");
    await eventually(() => worker.status().jobsInFlight === 1, { what: "the wait is in hand" });
    await worker.stop();
    await openWorker(namePrefix, scriptedCompute());
    const begunMs = performance.now();
    const status = await untilStatus(provider, execution, ended, "another worker goes on");
    expect(status.output?.outcome).toBe("succeeded");
    // Long before the heartbeat's time limit, which would have been the other way.
    expect(performance.now() - begunMs).toBeLessThan(15_000);
  });

  test("goes on with a job that began in time, also when its start window has passed", async () => {
    const namePrefix = randomPrefix();
    const provider = openProvider(namePrefix);
    const startBeforeMs = Date.now() + 4_000;
    const compute = scriptedCompute(() =>
      Date.now() < startBeforeMs ? Promise.reject(transient("not yet")) : healthyObservation(),
    );
    await openWorker(namePrefix, compute);
    const request = provisionRequest({ start_before: new Date(startBeforeMs).toISOString() });
    const status = await untilStatus(provider, await invoke(provider, request), ended, "ended");
    expect(status.output?.outcome).toBe("succeeded");
    expect(compute.applied.length).toBeGreaterThan(1);
  });

  test("carries what the steps answered into the wait for health, in which the start window passes", async () => {
    const namePrefix = randomPrefix();
    const provider = openProvider(namePrefix);
    const startBeforeMs = Date.now() + 3_000;
    const compute = scriptedCompute(async (call) => {
      if (call > 1) return healthyObservation();
      await eventually(() => Date.now() > startBeforeMs, { what: "the start window has passed" });
      return healthyObservation({ health: "starting" });
    });
    await openWorker(namePrefix, compute);
    const request = provisionRequest({ start_before: new Date(startBeforeMs).toISOString() });
    const status = await untilStatus(provider, await invoke(provider, request), ended, "ended");
    expect(status.output?.outcome).toBe("succeeded");
    expect(compute.applied).toHaveLength(2);
  });

  test("whose time to stop is over hands back the step that runs, and its signal aborts", async () => {
    const namePrefix = randomPrefix();
    const provider = openProvider(namePrefix, { heartbeatSeconds: 60 });
    const gated = gatedCompute();
    const worker = await openWorker(namePrefix, gated.compute, { ...ONE_TASK, drainTimeoutMs: 200 });
    const execution = await invoke(provider);
    await eventually(() => gated.running() === 1, { what: "the step runs" });
    await worker.stop();
    expect(gated.compute.aborted()).toBe(true);
    const second = scriptedCompute();
    await openWorker(namePrefix, second);
    const status = await untilStatus(provider, execution, ended, "another worker goes on");
    expect(status.output?.outcome).toBe("succeeded");
  });

  test("never runs more jobs at once than it may", async () => {
    const namePrefix = randomPrefix();
    const provider = openProvider(namePrefix);
    const gated = gatedCompute();
    const worker = await openWorker(namePrefix, gated.compute, { concurrency: 3, pollers: 3 });
    const executions = await Promise.all(Array.from({ length: 9 }, () => invoke(provider)));
    await eventually(() => gated.running() === 3, { what: "three run" });
    expect(worker.status().jobsInFlight).toBe(3);
    gated.release();
    for (const execution of executions) {
      await untilStatus(provider, execution, ({ state }) => state === "succeeded", "all are done in the end");
    }
    expect(gated.most()).toBe(3);
    expect(gated.compute.applied).toHaveLength(9);
  });

  test("registers when the engine comes, and says why it could not", async () => {
    const proxy = await openProxy();
    proxy.behave((action) => (action === "CreateActivity" ? "throttle" : null));
    const impatient = stepFunctionsWorker(proxy.url, randomPrefix(), scriptedCompute(), { failFast: true });
    await impatient.start();
    await expect(impatient.register(signal())).rejects.toMatchObject({ code: "registration_failed" });
    await impatient.stop();

    const namePrefix = randomPrefix();
    const worker = stepFunctionsWorker(proxy.url, namePrefix, scriptedCompute());
    opened.push({ close: () => worker.stop() });
    await worker.start();
    const registered = worker.register(signal());
    await eventually(() => worker.status().lastRegistrationError?.includes("Rate exceeded") === true, {
      what: "the reason is shown",
    });
    expect(worker.status().registeredAt).toBeNull();
    proxy.behave(() => null);
    await registered;
    expect(worker.status()).toMatchObject({ lastRegistrationError: null });
    const provider = openProvider(namePrefix);
    await untilStatus(provider, await invoke(provider), ({ state }) => state === "succeeded", "it serves");
  });

  test("takes what is bound to the scopes that it serves, and nothing of others", async () => {
    const namePrefix = randomPrefix();
    const provider = openProvider(namePrefix);
    const here = scriptedCompute();
    const worker = await openWorker(namePrefix, here);
    await worker.serveScopes(["host:a"]);
    const invokeIn = (scope: string) =>
      provider.invoke({
        workflowName: nameInScope(WORKFLOW_NAME, scope),
        request: provisionRequest(),
        signal: signal(),
      });
    const elsewhere = await invokeIn("host:b");
    const bound = await invokeIn("host:a");
    const statusIn = async (scope: string, { executionId, handle }: typeof bound) =>
      (
        await provider.getWorkflowStatus({
          executions: [{ executionId, handle, workflowName: nameInScope(WORKFLOW_NAME, scope) }],
          signal: signal(),
        })
      )[0];
    await eventually(async () => (await statusIn("host:a", bound))?.state === "succeeded", {
      what: "the bound job is done",
    });
    const question = {
      compute_provider: "mock",
      instance_id: "i",
      tenants: [{ tenant_id: randomUUID(), scopes: [] }],
      tail_bytes: 10,
    };
    const ask = (scope: string) =>
      provider.query({ method: "logs", request: question, scope, signal: signal() });
    expect(await ask("host:a")).toEqual({ logs: "a line of output\n" });
    expect((await statusIn("host:b", elsewhere))?.state).toBe("running");
    expect(here.applied).toHaveLength(1);
    const there = scriptedCompute();
    const other = await openWorker(namePrefix, there);
    await other.serveScopes(["host:b"]);
    await eventually(async () => (await statusIn("host:b", elsewhere))?.state === "succeeded", {
      what: "a worker of that scope takes it",
    });
    expect(there.applied).toHaveLength(1);
  });
});

describe("calls", () => {
  test("whose answers are lost are repeated, and everything happens once", async () => {
    const namePrefix = randomPrefix();
    const proxy = await openProxy();
    // The first answer of every action is lost after it took effect; the result is lost more often than the SDK repeats.
    proxy.behave((action, call) => {
      if (action === "SendTaskSuccess") return call <= 3 ? "lose-request" : null;
      return action !== "GetActivityTask" && call === 1 ? "lose-answer" : null;
    });
    const provider = openProvider(namePrefix, { endpoint: proxy.url });
    const compute = scriptedCompute();
    const worker = stepFunctionsWorker(proxy.url, namePrefix, compute);
    opened.push({ close: () => worker.stop() });
    await worker.start();
    await worker.register(signal());
    const execution = await invoke(provider);
    const status = await untilStatus(provider, execution, ended, "ended");
    expect(status.output?.outcome).toBe("succeeded");
    expect(proxy.calls("StartExecution")).toBeGreaterThan(1);
    expect(proxy.calls("SendTaskSuccess")).toBeGreaterThan(3);
    expect(compute.applied).toHaveLength(1);
  });

  test("that lose a task give it to another poll after the heartbeat's time", async () => {
    const namePrefix = randomPrefix();
    const proxy = await openProxy();
    proxy.behave((action, call) => (action === "GetActivityTask" && call <= 2 ? "lose-answer" : null));
    const provider = openProvider(namePrefix, { heartbeatSeconds: 1 });
    const compute = scriptedCompute();
    const worker = stepFunctionsWorker(proxy.url, namePrefix, compute, { pollers: 1, queryPollers: 1 });
    opened.push({ close: () => worker.stop() });
    await worker.start();
    await worker.register(signal());
    const request = provisionRequest();
    const status = await untilStatus(provider, await invoke(provider, request), ended, "ended");
    expect(status.output?.outcome).toBe("succeeded");
    expect(compute.applied).toHaveLength(1);
  });

  test("that do not reach the engine end the step: its task is somebody else's by now", async () => {
    const namePrefix = randomPrefix();
    const proxy = await openProxy();
    const provider = openProvider(namePrefix, { heartbeatSeconds: 2 });
    const gated = gatedCompute();
    const worker = stepFunctionsWorker(proxy.url, namePrefix, gated.compute);
    opened.push({ close: () => worker.stop() });
    await worker.start();
    await worker.register(signal());
    const execution = await invoke(provider);
    await eventually(() => gated.running() === 1, { what: "the step runs" });
    proxy.behave(() => "lose-request");
    await eventually(() => gated.compute.aborted(), { what: "the step was told" });
    await openWorker(namePrefix, scriptedCompute());
    const status = await untilStatus(provider, execution, ended, "another worker ends it");
    expect(status.output?.outcome).toBe("succeeded");
  });
});

describe("throttling", () => {
  test("of every call is an engine that cannot serve now", async () => {
    const proxy = await openProxy();
    proxy.behave(() => "throttle");
    const provider = openProvider(randomPrefix(), { endpoint: proxy.url });
    const throttled = { code: "engine_throttled" };
    const executionId = randomUUID();
    await expect(invoke(provider)).rejects.toMatchObject(throttled);
    await expect(statusOf(provider, { executionId, handle: null })).rejects.toMatchObject(throttled);
    await expect(stop(provider, { executionId, handle: null })).rejects.toMatchObject(throttled);
    await expect(provider.health({ signal: signal() })).rejects.toMatchObject(throttled);
  });

  test("is told from a policy that is too small, which says what to look at", async () => {
    const proxy = await openProxy();
    proxy.behave((action) => (action === "StartExecution" ? "deny" : null));
    const provider = openProvider(randomPrefix(), { endpoint: proxy.url });
    await expect(invoke(provider)).rejects.toMatchObject({
      name: "EngineUnavailableError",
      code: "engine_unauthorized",
      message: expect.stringContaining("states:StartExecution") as unknown,
    });
  });

  test("in the middle of a batch keeps what was answered, and takes the rest for running", async () => {
    const proxy = await openProxy();
    const provider = openProvider(randomPrefix(), { endpoint: proxy.url });
    const executions = [];
    for (let count = 0; count < 6; count++) {
      const executionId = randomUUID();
      executions.push({
        ...(await stop(provider, { executionId, handle: null })),
        workflowName: WORKFLOW_NAME,
      });
    }
    for (const execution of executions) await untilStatus(provider, execution, ended, "occupied");
    const described = proxy.calls("DescribeExecution");
    proxy.behave((action, call) =>
      action === "DescribeExecution" && call > described + 2 ? "throttle" : null,
    );
    const states = (await provider.getWorkflowStatus({ executions, signal: signal() })).map(
      ({ state, error }) => (state === "running" ? error?.code : state),
    );
    expect(states.filter((state) => state === "succeeded")).toHaveLength(2);
    expect(states.filter((state) => state === "engine_throttled")).toHaveLength(4);
    proxy.behave(() => null);
    const later = await provider.getWorkflowStatus({ executions, signal: signal() });
    expect(later.map(({ state }) => state)).toEqual(Array(6).fill("succeeded"));
  });
});

test("1,000 executions are asked for at once, and more are refused", async () => {
  const namePrefix = randomPrefix();
  const proxy = await openProxy();
  const provider = openProvider(namePrefix, {
    endpoint: proxy.url,
    requestTimeoutMs: 20_000,
    heartbeatSeconds: 60,
  });
  const gated = gatedCompute();
  await openWorker(namePrefix, gated.compute, { concurrency: 40, pollers: 8 });
  const running = await Promise.all(Array.from({ length: 30 }, () => invoke(provider)));
  await eventually(() => gated.running() === 30, { what: "all of them run" });
  const done = [];
  for (let count = 0; count < 20; count++) {
    done.push(await stop(provider, { executionId: randomUUID(), handle: null }));
  }
  for (const execution of done) await untilStatus(provider, execution, ended, "occupied");
  const unknown = Array.from({ length: 950 }, () => ({ executionId: randomUUID(), handle: null }));
  const executions = [...done, ...unknown, ...running].map(({ executionId, handle }) => ({
    executionId,
    handle,
    workflowName: WORKFLOW_NAME,
  }));
  const before = proxy.calls("DescribeExecution");
  const statuses = await provider.getWorkflowStatus({ executions, signal: AbortSignal.timeout(60_000) });
  expect(statuses.map(({ executionId }) => executionId)).toEqual(
    executions.map(({ executionId }) => executionId),
  );
  expect(statuses.map(({ state }) => state)).toEqual([
    ...Array<string>(20).fill("succeeded"),
    ...Array<string>(950).fill("unknown"),
    ...Array<string>(30).fill("running"),
  ]);
  // What the list shows as running is not described one by one.
  expect(proxy.calls("DescribeExecution") - before).toBe(970);
  expect(proxy.calls("ListExecutions")).toBe(1);
  gated.release();
  await expect(
    provider.getWorkflowStatus({ executions: [...executions, ...executions], signal: signal() }),
  ).rejects.toMatchObject({ code: "batch_too_large" });
});

test("a definition that changes while an execution is in flight: both end, each by its own", async () => {
  const namePrefix = randomPrefix();
  const old = openProvider(namePrefix, { heartbeatSeconds: 3 });
  const gated = gatedCompute();
  await openWorker(namePrefix, gated.compute, { pollers: 2 });
  const first = await invoke(old);
  await eventually(() => gated.running() === 1, { what: "the first runs" });
  const proxy = await openProxy();
  const fresh = openProvider(namePrefix, { heartbeatSeconds: 5, endpoint: proxy.url });
  await fresh.ensureWorkflow({ workflowName: WORKFLOW_NAME, signal: signal() });
  expect(proxy.calls("UpdateStateMachine")).toBe(1);
  const second = await invoke(fresh);
  await eventually(() => gated.running() === 2, { what: "the second runs" });
  gated.release();
  for (const execution of [first, second]) {
    const status = await untilStatus(fresh, execution, ended, "ended");
    expect(status.output?.outcome).toBe("succeeded");
  }
  // Nothing differs any more, so nothing is written again.
  await fresh.ensureWorkflow({ workflowName: WORKFLOW_NAME, signal: signal() });
  expect(proxy.calls("UpdateStateMachine")).toBe(1);
  expect(proxy.calls("CreateStateMachine")).toBe(1);
});

test("a server that is older leaves a newer definition alone", async () => {
  const namePrefix = randomPrefix();
  const proxy = await openProxy();
  const ensure = () =>
    openProvider(namePrefix, { endpoint: proxy.url }).ensureWorkflow({
      workflowName: WORKFLOW_NAME,
      signal: signal(),
    });
  await ensure();
  const sfn = new SFN({ region: REGION, endpoint });
  const stateMachineArn = `arn:aws:states:${REGION}:000000000000:stateMachine:${namePrefix}${WORKFLOW_NAME}`;
  const { definition } = await sfn.describeStateMachine({ stateMachineArn });
  const edited = (version: number): string =>
    (definition ?? "").replace(/definition \d+"/, `definition ${version}"`).replace('"Void?"', '"Run"');
  await sfn.updateStateMachine({ stateMachineArn, definition: edited(99) });
  await ensure();
  expect(proxy.calls("UpdateStateMachine")).toBe(0);
  await sfn.updateStateMachine({ stateMachineArn, definition: edited(1) });
  await ensure();
  expect(proxy.calls("UpdateStateMachine")).toBe(1);
  expect((await sfn.describeStateMachine({ stateMachineArn })).definition).toBe(definition);
  sfn.destroy();
});

test("several servers make the state machines at once", async () => {
  const namePrefix = randomPrefix();
  const providers = Array.from({ length: 5 }, () => openProvider(namePrefix));
  await Promise.all(
    providers.map((provider) => provider.ensureWorkflow({ workflowName: WORKFLOW_NAME, signal: signal() })),
  );
  const compute = scriptedCompute();
  await openWorker(namePrefix, compute);
  const request = provisionRequest();
  const executions = await Promise.all(providers.map((provider) => invoke(provider, request)));
  const [provider] = providers;
  const [execution] = executions;
  if (provider === undefined || execution === undefined) throw new Error("no provider");
  await untilStatus(provider, execution, ({ state }) => state === "succeeded", "succeeded");
  expect(new Set(executions.map(({ handle }) => handle)).size).toBe(1);
  expect(compute.applied).toHaveLength(1);
});
