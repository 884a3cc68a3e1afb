/** What an engine does with jobs: once each, watched in batches, retried, given to another worker. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import type { ComputeSpec } from "../../compute/provider.ts";
import { WORKFLOW_NAME } from "../../contract/job.ts";
import { NoWorkerError } from "../../workflow/provider.ts";
import type { Behaviour } from "../behaviour.ts";
import {
  contextOf,
  inTime,
  invoke,
  openSound,
  refOf,
  requestOf,
  statusOf,
  stop,
  until,
  untilStatus,
  untilSucceeded,
} from "./executions.ts";
import type { WorkflowHarness } from "./harness.ts";
import { healthyObservation, scriptedCompute, transient } from "./scripted-compute.ts";

type WorkflowBehaviour = Behaviour<WorkflowHarness>;

const runsJobs: WorkflowBehaviour = {
  id: "runs-jobs",
  title: "runs creates, updates and deletes, and gives back what the job reports",
  essential: true,
  async prove(harness) {
    await harness.startWorker(contextOf(scriptedCompute()));
    const provider = await openSound(harness);
    for (const operation of ["create", "update", "delete"] as const) {
      const request = requestOf({ operation, generation: 7 });
      const execution = await invoke(provider, request);
      assert.equal(execution.executionId, request.execution_id);
      assert.ok(execution.handle.length > 0, "an execution has a handle");
      assert.equal(execution.alreadyExisted, false, "a new execution is new");
      const { output } = await untilSucceeded(harness, provider, request, execution.handle);
      assert.equal(output?.health, operation === "delete" ? "absent" : "healthy");
      assert.equal(output.absent_observations, operation === "delete" ? 2 : 0);
    }
  },
};

const runsOnce: WorkflowBehaviour = {
  id: "idempotent-invoke",
  title: "runs an execution once however often it is invoked, at once or after it ended",
  essential: true,
  async prove(harness) {
    const compute = scriptedCompute();
    await harness.startWorker(contextOf(compute));
    const [provider, other] = await Promise.all([openSound(harness), openSound(harness)]);
    const request = requestOf();
    const executions = await Promise.all([
      invoke(provider, request),
      invoke(other, request),
      invoke(provider, request),
    ]);
    assert.equal(
      new Set(executions.map(({ handle }) => handle)).size,
      1,
      "all were given the same execution",
    );
    await untilSucceeded(harness, provider, request);
    const late = await invoke(other, request);
    assert.equal(late.alreadyExisted, true, "an execution that ended is still known");
    assert.equal(late.handle, executions[0].handle);
    await untilSucceeded(harness, other, request, late.handle);
    assert.equal(compute.applied.length, 1, "the job ran once");
  },
};

const knowsNothingOfStrangers: WorkflowBehaviour = {
  id: "unknown-execution",
  title: "says unknown of an execution that it never saw, and not that it ended",
  essential: true,
  async prove(harness) {
    await harness.startWorker(contextOf(scriptedCompute()));
    const provider = await openSound(harness);
    const status = await statusOf(provider, { executionId: randomUUID() });
    assert.equal(status.state, "unknown");
    assert.equal(status.subState, null);
    assert.equal(status.output, null);
  },
};

const answersInBatches: WorkflowBehaviour = {
  id: "batch-status",
  title: "reports many executions in one call, in the order asked, unknown ones among them",
  essential: false,
  async prove(harness) {
    const held: (() => void)[] = [];
    const compute = scriptedCompute(async (_call, _signal, { tenantName }) => {
      if (tenantName === "slow") await new Promise<void>((resolve) => held.push(resolve));
      return healthyObservation();
    });
    await harness.startWorker(contextOf(compute));
    const provider = await openSound(harness);
    const done = Array.from({ length: 12 }, () => requestOf());
    const slow = Array.from({ length: 2 }, () => requestOf({ tenant_name: "slow" }));
    const handles = new Map<string, string>();
    for (const request of [...done, ...slow])
      handles.set(request.execution_id, (await invoke(provider, request)).handle);
    for (const request of done) await untilSucceeded(harness, provider, request);
    await until("the slow ones run", harness.jobTimeoutMs, () => held.length >= slow.length);
    const asked = [
      ...done.slice(0, 5).map(({ execution_id }) => ({ id: execution_id, state: "succeeded" })),
      { id: randomUUID(), state: "unknown" },
      ...slow.map(({ execution_id }) => ({ id: execution_id, state: "running" })),
      ...done.slice(5).map(({ execution_id }) => ({ id: execution_id, state: "succeeded" })),
      ...Array.from({ length: 300 }, () => ({ id: randomUUID(), state: "unknown" })),
    ];
    const ask = (withHandles: boolean) =>
      provider.getWorkflowStatus({
        executions: asked.map(({ id }) =>
          refOf({ executionId: id, handle: withHandles ? (handles.get(id) ?? null) : null }),
        ),
        signal: inTime(),
      });
    for (const statuses of [await ask(true), await ask(false)]) {
      assert.deepEqual(
        statuses.map(({ executionId, state }) => ({ id: executionId, state })),
        asked,
      );
      for (const { state, output, executionId } of statuses) {
        const request = done.find(({ execution_id }) => execution_id === executionId);
        assert.equal(output?.tenant_id, state === "succeeded" ? request?.tenant_id : undefined);
      }
    }
    for (const release of held) release();
    for (const request of slow) await untilSucceeded(harness, provider, request);
    assert.deepEqual(await provider.getWorkflowStatus({ executions: [], signal: inTime() }), []);
  },
};

const showsRetries: WorkflowBehaviour = {
  id: "retries-visible",
  title: "repeats a job that failed for a while, and shows how often and why",
  essential: true,
  async prove(harness) {
    const compute = scriptedCompute((call) =>
      call <= 3 ? Promise.reject(transient("the daemon does not answer")) : healthyObservation(),
    );
    await harness.startWorker(contextOf(compute));
    const provider = await openSound(harness);
    const request = requestOf();
    const execution = await invoke(provider, request);
    let seen = 0;
    let reason: string | null = null;
    const status = await untilStatus(
      provider,
      execution,
      "the job succeeds",
      harness.takeOverTimeoutMs,
      (now) => {
        if (now.state === "running" && now.retryCount > 0) {
          seen = Math.max(seen, now.retryCount);
          reason ??= now.error?.message ?? null;
        }
        assert.equal(now.state, "succeeded");
      },
    );
    assert.ok(seen > 0, "the count of retries was seen while the job was retried");
    assert.match(reason ?? "", /the daemon does not answer/, "and the reason in the provider's words");
    assert.doesNotMatch(reason ?? "", /\n\s+at /, "without a stack");
    assert.equal(status.output?.outcome, "succeeded");
    assert.ok(compute.applied.length >= 4);
  },
};

const reportsRejections: WorkflowBehaviour = {
  id: "results-are-values",
  title: "gives back what a job rejected or gave up as its result, not as the engine's failure",
  essential: true,
  async prove(harness) {
    const compute = scriptedCompute((_call, _signal, { tenantName }) => {
      if (tenantName === "bad") {
        return Promise.reject(
          Object.assign(transient("no such image"), { retryable: false, code: "image_not_found" }),
        );
      }
      return healthyObservation();
    });
    await harness.startWorker(contextOf(compute));
    const provider = await openSound(harness);
    const rejected = requestOf({ tenant_name: "bad" });
    const late = requestOf({ start_before: new Date(Date.now() - 1_000).toISOString() });
    for (const [request, outcome, code] of [
      [rejected, "rejected", "image_not_found"],
      [late, "expired", undefined],
    ] as const) {
      const execution = await invoke(provider, request);
      const { output } = await untilStatus(
        provider,
        execution,
        `the job is ${outcome}`,
        harness.jobTimeoutMs,
        ({ state }) => assert.equal(state, "succeeded"),
      );
      assert.equal(output?.outcome, outcome);
      assert.equal(output.error?.code, code);
    }
    assert.equal(compute.applied.length, 1, "an expired job touches nothing");
  },
};

const showsWaiting: WorkflowBehaviour = {
  id: "waiting-visible",
  title: "tells a job that only waits for health from one that works, so that a newer one may replace it",
  essential: false,
  async prove(harness) {
    const starting = healthyObservation({ health: "starting", message: "it starts" });
    let isHealthy = false;
    const compute = scriptedCompute(() => (isHealthy ? healthyObservation() : starting));
    await harness.startWorker(contextOf(compute));
    const provider = await openSound(harness);
    const request = requestOf();
    const execution = await invoke(provider, request);
    await untilStatus(provider, execution, "the job waits", harness.jobTimeoutMs, ({ state, subState }) => {
      assert.equal(state, "running");
      assert.equal(subState, "waiting");
    });
    isHealthy = true;
    await untilSucceeded(harness, provider, request, execution.handle, harness.takeOverTimeoutMs);
  },
};

const takesOver: WorkflowBehaviour = {
  id: "take-over",
  title: "gives the job of a worker that died to another one, and takes one result",
  essential: true,
  async prove(harness) {
    const neverEnds = scriptedCompute(() => new Promise(() => undefined));
    const doomed = await harness.startWorker(contextOf(neverEnds));
    const provider = await openSound(harness);
    const request = requestOf();
    const execution = await invoke(provider, request);
    await until("the first worker has the job", harness.jobTimeoutMs, () => neverEnds.applied.length > 0);
    await doomed.kill();
    const successor = scriptedCompute();
    await harness.startWorker(contextOf(successor));
    await untilSucceeded(harness, provider, request, execution.handle, harness.takeOverTimeoutMs);
    assert.equal(successor.applied.length, 1, "the second worker did the job");
  },
};

const drains: WorkflowBehaviour = {
  id: "drain",
  title: "lets a worker that stops finish or hand over what it runs, and gives it nothing new",
  essential: true,
  async prove(harness) {
    let release: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (release = resolve));
    const first = scriptedCompute(async () => {
      await gate;
      return healthyObservation();
    });
    const worker = await harness.startWorker(contextOf(first));
    const provider = await openSound(harness);
    const request = requestOf();
    const execution = await invoke(provider, request);
    await until("the job runs", harness.jobTimeoutMs, () => first.applied.length > 0);
    assert.equal(worker.engine.status().jobsInFlight, 1, "status counts the job");
    const stopped = worker.engine.stop();
    release();
    await stopped;
    const second = scriptedCompute();
    await harness.startWorker(contextOf(second));
    await untilSucceeded(harness, provider, request, execution.handle, harness.takeOverTimeoutMs);
    const next = requestOf();
    const later = await invoke(provider, next);
    await untilSucceeded(harness, provider, next, later.handle);
    assert.equal(first.applied.length, 1, "a stopped worker is given nothing");
    assert.ok(second.applied.length >= 1);
  },
};

const waitsForAWorker: WorkflowBehaviour = {
  id: "no-worker",
  title: "says that no worker is there, or keeps the job until one comes; it never fails it",
  essential: true,
  async prove(harness) {
    const provider = await openSound(harness);
    await provider.ensureWorkflow({ workflowName: WORKFLOW_NAME, signal: inTime() });
    const request = requestOf();
    const early = await invoke(provider, request).catch((error: unknown) => {
      assert.ok(error instanceof NoWorkerError, `without a worker: ${String(error)}`);
      assert.equal(error.code, "no_worker");
      return null;
    });
    if (early !== null) assert.equal((await statusOf(provider, early)).state, "running");
    const question = { compute_provider: "scripted", instance_id: "instance", tenants: [], tail_bytes: 100 };
    await assert.rejects(
      provider.query({ method: "list", request: question, signal: inTime() }),
      (error: unknown) => error instanceof NoWorkerError,
      "a question that nobody can answer says so, in time",
    );
    await harness.startWorker(contextOf(scriptedCompute()));
    const execution = await invoke(provider, request);
    await untilSucceeded(harness, provider, request, execution.handle, harness.takeOverTimeoutMs);
  },
};

const answersQuestions: WorkflowBehaviour = {
  id: "query",
  title: "brings read-only questions to a worker and its answers back",
  essential: true,
  async prove(harness) {
    await harness.startWorker(contextOf(scriptedCompute()));
    const provider = await openSound(harness);
    const tenant = { tenant_id: randomUUID(), scopes: [] };
    const request = {
      compute_provider: "scripted",
      instance_id: "instance",
      tenants: [tenant],
      tail_bytes: 100,
    };
    const ask = (method: "observe" | "list" | "logs") =>
      provider.query({ method, request, signal: inTime() });
    const [observed, listed, logs] = await Promise.all([ask("observe"), ask("list"), ask("logs")]);
    assert.match(JSON.stringify(observed), /"presence":"absent"/);
    assert.match(JSON.stringify(listed), /"tenant_id":"t"/);
    assert.deepEqual(logs, { logs: "a line of output\n" });
    await assert.rejects(
      provider.query({ method: "plan", request, signal: inTime() }),
      (error: unknown) => !(error instanceof NoWorkerError),
      "a question that the worker refuses is not a missing worker",
    );
  },
};

const keepsTenantsApart: WorkflowBehaviour = {
  id: "tenants-apart",
  title: "gives every execution its own tenant's result when many run at once",
  essential: true,
  async prove(harness) {
    const compute = scriptedCompute(async (call, _signal, spec: ComputeSpec) => {
      await new Promise((resolve) => setTimeout(resolve, call % 5));
      return healthyObservation({ resourceIds: { id: spec.tenantId }, generation: spec.generation });
    });
    await harness.startWorker(contextOf(compute));
    const provider = await openSound(harness);
    const requests = Array.from({ length: 20 }, (_, index) => requestOf({ generation: index + 1 }));
    await Promise.all(requests.map((request) => invoke(provider, request)));
    for (const request of requests) {
      const { output } = await untilSucceeded(harness, provider, request, null, harness.takeOverTimeoutMs);
      assert.deepEqual(output?.observed_resource_ids, { id: request.tenant_id });
    }
    assert.deepEqual(
      [...new Set(compute.applied.map(({ tenantId }) => tenantId))].sort(),
      requests.map(({ tenant_id }) => tenant_id).sort(),
    );
  },
};

const carriesLargeRequests: WorkflowBehaviour = {
  id: "large-requests",
  title: "carries a request and a result of 64 KiB unchanged",
  essential: true,
  async prove(harness) {
    const text = 'ä€😀\\"\u0001'.repeat(2_500);
    const compute = scriptedCompute((_call, _signal, spec) => healthyObservation({ config: spec.config }));
    await harness.startWorker(contextOf(compute));
    const provider = await openSound(harness);
    const request = requestOf({ desired_config: { text } });
    const execution = await invoke(provider, request);
    const { output } = await untilSucceeded(harness, provider, request, execution.handle);
    assert.deepEqual(output?.observed_config, { text });
    assert.deepEqual(compute.applied[0]?.config, { text });
  },
};

const pushesCompletions: WorkflowBehaviour = {
  id: "watch-completion",
  title: "pushes the end of an execution, equal to what a poll finds",
  essential: false,
  async prove(harness) {
    let release: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (release = resolve));
    const compute = scriptedCompute(async () => {
      await gate;
      return healthyObservation();
    });
    await harness.startWorker(contextOf(compute));
    const provider = await openSound(harness);
    const execution = await invoke(provider, requestOf());
    const { watchCompletion } = provider;
    assert.ok(watchCompletion !== null, "the provider watches; declare a gap if it cannot");
    const pushed = watchCompletion({ execution: refOf(execution), signal: inTime() });
    await until("the job runs", harness.jobTimeoutMs, () => compute.applied.length > 0);
    release();
    assert.deepEqual(await pushed, await statusOf(provider, execution));
    assert.equal((await pushed).state, "succeeded");
    await stop(provider, execution);
  },
};

export const runningBehaviours: readonly WorkflowBehaviour[] = [
  runsJobs,
  runsOnce,
  knowsNothingOfStrangers,
  answersInBatches,
  showsRetries,
  reportsRejections,
  showsWaiting,
  takesOver,
  drains,
  waitsForAWorker,
  answersQuestions,
  keepsTenantsApart,
  carriesLargeRequests,
  pushesCompletions,
];
