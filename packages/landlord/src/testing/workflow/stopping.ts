/** How executions are ended, and what happens when calls to the engine go wrong. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { WORKFLOW_NAME } from "../../contract/job.ts";
import { UnavailableError } from "../../domain/errors.ts";
import { EngineUnavailableError, type WorkflowProvider } from "../../workflow/provider.ts";
import type { Behaviour } from "../behaviour.ts";
import { eventually, inParallel } from "../eventually.ts";
import { Faults, type FaultPlan } from "../faults.ts";
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
import { scriptedCompute, transient } from "./scripted-compute.ts";

type WorkflowBehaviour = Behaviour<WorkflowHarness>;

const occupiesUnknownIds: WorkflowBehaviour = {
  id: "stop-occupies",
  title:
    "occupies the id of an execution that it never saw: a late invoke finds it taken and touches nothing",
  essential: true,
  async prove(harness) {
    const compute = scriptedCompute();
    await harness.startWorker(contextOf(compute));
    const provider = await openSound(harness);
    for (const force of [false, true]) {
      const request = requestOf();
      const occupied = await stop(provider, { executionId: request.execution_id }, force);
      assert.equal(occupied.executionId, request.execution_id);
      const late = await invoke(provider, request);
      assert.equal(late.alreadyExisted, true, "a late invoke finds the id taken");
      const { output } = await untilStatus(provider, late, "it ended", harness.jobTimeoutMs, ({ state }) =>
        assert.ok(state === "succeeded" || state === "failed", state),
      );
      assert.ok(output === null || output.outcome === "void", `it did nothing: ${JSON.stringify(output)}`);
      await stop(provider, occupied, force);
    }
    assert.deepEqual(compute.applied, []);
  },
};

const stopsRunningJobs: WorkflowBehaviour = {
  id: "stop-running",
  title: "ends a running job, and tells the step that is being run",
  essential: true,
  async prove(harness) {
    const compute = scriptedCompute(
      (_call, signal) =>
        new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("stopped")))),
    );
    await harness.startWorker(contextOf(compute));
    const provider = await openSound(harness);
    const execution = await invoke(provider, requestOf());
    await until("the step runs", harness.jobTimeoutMs, () => compute.applied.length > 0);
    const stopped = await stop(provider, execution);
    assert.equal(stopped.executionId, execution.executionId);
    await untilStatus(
      provider,
      execution,
      "the execution ended",
      harness.takeOverTimeoutMs,
      ({ state, output }) => {
        assert.equal(state, "failed");
        assert.equal(output, null);
      },
    );
    await until("the step was told", harness.takeOverTimeoutMs, () => compute.aborted());
    // Again, on what has ended: nothing to do, and no error.
    await stop(provider, execution);
    await stop(provider, execution, true);
    assert.equal((await statusOf(provider, execution)).state, "failed");
  },
};

const stopsBackingOffJobs: WorkflowBehaviour = {
  id: "stop-backing-off",
  title: "ends, by force, a job that waits to be repeated",
  essential: true,
  async prove(harness) {
    const compute = scriptedCompute(() => Promise.reject(transient("never")));
    await harness.startWorker(contextOf(compute));
    const provider = await openSound(harness);
    const execution = await invoke(provider, requestOf());
    await until("the job failed once", harness.jobTimeoutMs, () => compute.applied.length > 0);
    await stop(provider, execution, true);
    await untilStatus(provider, execution, "the execution ended", harness.takeOverTimeoutMs, ({ state }) =>
      assert.equal(state, "failed"),
    );
  },
};

const keepsResults: WorkflowBehaviour = {
  id: "stop-after-the-end",
  title: "keeps the result of a job that ended before it was stopped",
  essential: true,
  async prove(harness) {
    await harness.startWorker(contextOf(scriptedCompute()));
    const provider = await openSound(harness);
    const request = requestOf();
    const execution = await invoke(provider, request);
    await untilSucceeded(harness, provider, request, execution.handle);
    await stop(provider, execution);
    await stop(provider, { executionId: execution.executionId }, true);
    await untilSucceeded(harness, provider, request, execution.handle);
  },
};

const isHonestWhenUnreachable: WorkflowBehaviour = {
  id: "unreachable",
  title: "says that the engine is out of reach, and nothing else, when it is",
  essential: true,
  async prove(harness) {
    const provider = await harness.openUnreachable();
    const execution = { executionId: randomUUID(), handle: null };
    const calls: Readonly<Record<string, () => Promise<unknown>>> = {
      invoke: () => invoke(provider, requestOf()),
      getWorkflowStatus: () => statusOf(provider, execution),
      stop: () => stop(provider, execution),
      ensureWorkflow: () => provider.ensureWorkflow({ workflowName: WORKFLOW_NAME, signal: inTime() }),
      health: () => provider.health({ signal: inTime() }),
    };
    for (const [name, call] of Object.entries(calls)) {
      const outcome: unknown = await call().then(
        (answer) => `answered ${JSON.stringify(answer)}`,
        (error: unknown) => error,
      );
      // A provider whose engine keeps no definition has nothing to ensure.
      if (name === "ensureWorkflow" && typeof outcome === "string") continue;
      assert.ok(
        outcome instanceof EngineUnavailableError,
        `${name} is unavailable, and not: ${String(outcome)}`,
      );
      assert.match(outcome.code, /^[a-z][a-z0-9_]*$/);
    }
    const question = { compute_provider: "scripted", instance_id: "i", tenants: [], tail_bytes: 1 };
    await assert.rejects(
      provider.query({ method: "list", request: question, signal: inTime() }),
      (error: unknown) => error instanceof UnavailableError,
    );
  },
};

const survivesFaults = (kind: FaultPlan["kind"], id: string, title: string): WorkflowBehaviour => ({
  id,
  title,
  essential: true,
  async prove(harness) {
    const compute = scriptedCompute();
    await harness.startWorker(contextOf(compute));
    const counting = new Faults();
    await invokeUntilAnswered(harness, await harness.open(counting), requestOf());
    const effects = counting.effects;
    assert.ok(
      effects > 0,
      "an invoke makes calls that faults can hit: pass them through Faults.call, or a fault proxy",
    );
    const points = Array.from({ length: effects + 1 }, (_, index) => index).filter(
      (after) => after > 0 || kind === "crash",
    );
    await inParallel(
      4,
      points.map((after) => () => surviveFault(harness, { kind, after })),
    );
    const started = new Map<string, number>();
    for (const { tenantId } of compute.applied) started.set(tenantId, (started.get(tenantId) ?? 0) + 1);
    assert.deepEqual(
      [...started.values()].filter((times) => times !== 1),
      [],
      "every job ran once",
    );
  },
});

/** A server meets the fault in an invoke; the next one repeats it from the ledger. */
async function surviveFault(harness: WorkflowHarness, plan: FaultPlan): Promise<void> {
  const request = requestOf();
  const faults = new Faults(plan);
  const server = await harness.open(faults);
  if (plan.kind === "crash") await invoke(server, request).catch(() => undefined);
  const successor = plan.kind === "crash" ? await openSound(harness) : server;
  await invokeUntilAnswered(harness, successor, request);
  await untilSucceeded(harness, await openSound(harness), request);

  // The same for a stop, which must not undo what has ended.
  const stopping = await harness.open(new Faults(plan));
  await stop(stopping, { executionId: request.execution_id }).catch(() => undefined);
  await untilSucceeded(harness, await openSound(harness), request);
}

async function invokeUntilAnswered(
  harness: WorkflowHarness,
  provider: WorkflowProvider,
  request: ReturnType<typeof requestOf>,
): Promise<void> {
  await eventually(() => invoke(provider, request), {
    what: "an invoke is answered",
    timeoutMs: harness.jobTimeoutMs,
  });
}

const ensuresItsDefinition: WorkflowBehaviour = {
  id: "ensure-workflow",
  title: "brings its definition to the engine any number of times, also while executions run",
  essential: true,
  async prove(harness) {
    let release: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => (release = resolve));
    const compute = scriptedCompute(async (_call, _signal, spec) => {
      await gate;
      return {
        presence: "present",
        generation: spec.generation,
        configHash: spec.configHash,
        health: "healthy",
        message: null,
        config: {},
        resourceIds: {},
        endpoints: [],
        scope: "scripted",
      };
    });
    await harness.startWorker(contextOf(compute));
    const [provider, other] = await Promise.all([openSound(harness), openSound(harness)]);
    const ensure = (of: WorkflowProvider) =>
      of.ensureWorkflow({ workflowName: WORKFLOW_NAME, signal: inTime() });
    await Promise.all([ensure(provider), ensure(other)]);
    const request = requestOf();
    await invoke(provider, request);
    await until("the job runs", harness.jobTimeoutMs, () => compute.applied.length > 0);
    await Promise.all([ensure(provider), ensure(other)]);
    release();
    await untilSucceeded(harness, provider, request);
    await provider.health({ signal: inTime() });
  },
};

const registersTwice: WorkflowBehaviour = {
  id: "registration",
  title: "lets a worker register as often as it likes, and several workers side by side",
  essential: true,
  async prove(harness) {
    const computes = [scriptedCompute(), scriptedCompute()];
    const workers = await Promise.all(computes.map((compute) => harness.startWorker(contextOf(compute))));
    const { signal } = new AbortController();
    for (const { engine } of workers) {
      await engine.start();
      await engine.register(signal);
      assert.ok(engine.status().registeredAt instanceof Date, "status says since when it is registered");
      assert.equal(engine.status().lastRegistrationError, null);
    }
    const provider = await openSound(harness);
    const requests = Array.from({ length: 6 }, () => requestOf());
    for (const request of requests) await invoke(provider, request);
    for (const request of requests) await untilSucceeded(harness, provider, request);
    const applied = computes.flatMap((compute) => compute.applied);
    assert.equal(applied.length, requests.length, "every job went to one worker");
    assert.deepEqual(
      (
        await provider.getWorkflowStatus({
          executions: requests.map(({ execution_id }) => refOf({ executionId: execution_id })),
          signal: inTime(),
        })
      ).map(({ state }) => state),
      requests.map(() => "succeeded"),
    );
  },
};

export const stoppingBehaviours: readonly WorkflowBehaviour[] = [
  occupiesUnknownIds,
  stopsRunningJobs,
  stopsBackingOffJobs,
  keepsResults,
  isHonestWhenUnreachable,
  survivesFaults(
    "crash",
    "crash-in-invoke",
    "runs a job once although the server died before or after any call of its invoke",
  ),
  survivesFaults("lost_answer", "lost-answer", "runs a job once although the answer to its invoke was lost"),
  survivesFaults("duplicated", "duplicate-call", "runs a job once although its invoke arrived twice"),
  ensuresItsDefinition,
  registersTwice,
];
