/**
 * A release that changes the job, while executions of the release before are in flight: workers of both stand behind
 * one URL. What began under one version ends under it, in whichever worker; what the next release starts runs its code.
 */
import { afterEach, expect, test } from "vitest";
import { WORKFLOW_NAME } from "../../src/contract/job.ts";
import { healthyObservation, scriptedCompute } from "../../src/plugin/testing.ts";
import { runJob } from "../../src/worker/job.ts";
import { JOB_VERSIONS, type Job } from "../../src/worker/job-versions.ts";
import { NoWorkerError, type WorkflowProvider, type WorkflowStatus } from "../../src/workflow/provider.ts";
import { eventually } from "../support/eventually.ts";
import {
  provisionRequest,
  randomNamespace,
  restateProvider,
  restateWorker,
  signal,
} from "../support/restate.ts";
import { startTcpProxy, type TcpTarget } from "../support/tcp-proxy.ts";
import { pickFreePorts } from "../../src/os/supervised.ts";

/** The job of the next release: one more step before all others, so that its journal has another shape. */
const NEXT_NAME = "LandlordTenantV2";
const nextJob: Job = async (request, steps, dependencies) => {
  await steps.run("admit", () => Promise.resolve("admitted by the next version"));
  const result = await runJob(request, steps, dependencies);
  return { ...result, observed_resource_ids: { ...result.observed_resource_ids, version: "next" } };
};

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

interface Release {
  stop(): Promise<void>;
}

/** One URL for all workers; a worker of `jobs` listens on one of its ports. */
async function setUp() {
  const namespace = randomNamespace();
  const provider = restateProvider(namespace);
  closers.push(() => provider.close());
  const ports = await pickFreePorts(2);
  const targets = ports.map((port): TcpTarget => ({ host: "127.0.0.1", port }));
  const balancer = await startTcpProxy(...targets);
  closers.push(() => balancer.close());
  let isHealthy = false;
  const compute = scriptedCompute(() =>
    healthyObservation(isHealthy ? {} : { health: "starting", message: "not yet" }),
  );
  return {
    provider,
    compute,
    becomeHealthy: () => (isHealthy = true),
    /** Connections that go to the workers are made anew, as when a balancer learns of them. */
    rebalance: () => balancer.cut(),
    async deploy(index: number, jobs: ReadonlyMap<string, Job>): Promise<Release> {
      const worker = restateWorker(namespace, compute, {
        jobs,
        listenPort: targets[index]?.port ?? 0,
        advertisedUrl: `http://127.0.0.1:${balancer.port}`,
        registrationCheckMs: 500,
        drainTimeoutMs: 0,
      });
      await worker.start();
      await worker.register(signal());
      closers.push(() => worker.stop());
      return { stop: () => worker.stop() };
    },
  };
}

function statusAt(provider: WorkflowProvider, workflowName: string, executionId: string, handle: string) {
  return async (): Promise<WorkflowStatus | undefined> => {
    const executions = [{ executionId, handle, workflowName }];
    return (await provider.getWorkflowStatus({ executions, signal: signal() }))[0];
  };
}

async function start(provider: WorkflowProvider, workflowName: string) {
  const request = provisionRequest();
  // The engine may have asked a worker of the release before what it serves: the new one registers again.
  const execution = await eventually(
    async () => {
      try {
        return await provider.invoke({ workflowName, request, signal: signal() });
      } catch (error) {
        if (error instanceof NoWorkerError) return null;
        throw error;
      }
    },
    { what: `${workflowName} is registered`, timeoutMs: 30_000, everyMs: 200 },
  );
  const status = statusAt(provider, workflowName, execution.executionId, execution.handle);
  const ended = (): Promise<WorkflowStatus> =>
    eventually(
      async () => {
        const now = await status();
        return now?.state === "succeeded" || now?.state === "failed" ? now : null;
      },
      { what: `the execution of ${workflowName} ended`, timeoutMs: 45_000, everyMs: 100 },
    );
  return { request, status, ended };
}

const succeeded = { state: "succeeded", output: { outcome: "succeeded" } };

test(
  "an execution in flight ends under its own version after its worker was replaced",
  { timeout: 120_000 },
  async () => {
    const fleet = await setUp();
    const old = await fleet.deploy(0, JOB_VERSIONS);
    const inFlight = await start(fleet.provider, WORKFLOW_NAME);
    await eventually(() => fleet.compute.applied.length > 0, { what: "the old worker has begun" });

    await fleet.deploy(1, new Map([...JOB_VERSIONS, [NEXT_NAME, nextJob]]));
    await old.stop();
    fleet.rebalance();
    const next = await start(fleet.provider, NEXT_NAME);
    fleet.becomeHealthy();

    expect(await inFlight.ended()).toMatchObject(succeeded);
    expect(await next.ended()).toMatchObject({
      ...succeeded,
      output: { observed_resource_ids: { version: "next" } },
    });
    expect((await inFlight.ended()).output).not.toMatchObject({ observed_resource_ids: { version: "next" } });
    expect((await inFlight.ended()).retryCount).toBeLessThan(5);
  },
);

test(
  "with workers of both releases behind one URL, each execution finds one that knows it",
  { timeout: 120_000 },
  async () => {
    const fleet = await setUp();
    fleet.becomeHealthy();
    await fleet.deploy(0, JOB_VERSIONS);
    await fleet.deploy(1, new Map([...JOB_VERSIONS, [NEXT_NAME, nextJob]]));
    // A worker of the old release refuses the new job; the engine tries again, and the balancer moves on.
    const timer = setInterval(() => fleet.rebalance(), 1_000);
    try {
      const executions = await Promise.all(
        Array.from({ length: 10 }, (_, index) =>
          start(fleet.provider, index % 2 === 0 ? WORKFLOW_NAME : NEXT_NAME),
        ),
      );
      for (const execution of executions) expect(await execution.ended()).toMatchObject(succeeded);
    } finally {
      clearInterval(timer);
    }
  },
);

test(
  "the same name with another journal would break it: why versions have names",
  { timeout: 120_000 },
  async () => {
    const fleet = await setUp();
    const old = await fleet.deploy(0, JOB_VERSIONS);
    const inFlight = await start(fleet.provider, WORKFLOW_NAME);
    await eventually(() => fleet.compute.applied.length > 0, { what: "the old worker has begun" });
    await fleet.deploy(1, new Map([[WORKFLOW_NAME, nextJob]]));
    await old.stop();
    fleet.rebalance();
    fleet.becomeHealthy();
    const status = await eventually(
      async () => {
        const now = await inFlight.status();
        return now?.state === "running" && /mismatch/i.test(now.error?.message ?? "") && now;
      },
      { what: "the engine reports the mismatch", timeoutMs: 45_000, everyMs: 100 },
    );
    expect(status.error?.message).toMatch(/mismatch/i);
  },
);
