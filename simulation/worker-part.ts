/** A worker as a party: it registers itself and stays registered, runs jobs, and answers questions. */
import type { ComputeProvider } from "../packages/landlord/src/compute/provider.ts";
import {
  nameInScope,
  WORKFLOW_NAME,
  type JobResult,
  type QueryMethod,
  type QueryRequest,
} from "../packages/landlord/src/contract/job.ts";
import type { Json } from "../packages/landlord/src/domain/json.ts";
import { runJob, type JobDependencies } from "../packages/landlord/src/worker/job.ts";
import { answerQuery } from "../packages/landlord/src/worker/queries.ts";
import { computeUnreachable, createSimulatedCompute, HOST_SETTINGS, type HostCall } from "./compute.ts";
import type { Attempt, SimulatedEngine } from "./engine.ts";
import type { Life } from "./parties.ts";
import type { PartsDependencies } from "./parts.ts";
import { ABSENCE_SETTLE_MS, ENGINE_TIMEOUT_MS, EPOCH_MS, HOST_TIMEOUT_MS } from "./settings.ts";
import { createSimulatedWorker, type EngineLink, type SimulatedWorker } from "./worker.ts";

export interface WorkerPart {
  readonly worker: SimulatedWorker;
  answer(method: QueryMethod, request: QueryRequest): Promise<Json>;
}

const REGISTRATION_MS = 4_000;
/** A kill that lets an effect of the killed land later. */
const RESTART_MS = 700;

export function startWorkerPart(
  life: Life,
  engine: SimulatedEngine,
  dependencies: PartsDependencies,
): WorkerPart {
  const { scheduler, network, plan, plant, faults } = dependencies;
  const scope = plan.isShared ? "host-1" : life.party.replace("worker", "host");
  const compute = computeOf(life, scope, dependencies);
  const jobDependencies: JobDependencies = {
    resolveCompute: () => Promise.resolve(compute),
    reportProgress: () => undefined,
    absenceSettleMs: ABSENCE_SETTLE_MS,
    now: () => EPOCH_MS + scheduler.nowMs + (faults.clocks.workersMs.get(life.party) ?? 0),
  };
  const worker = createSimulatedWorker(
    engineLinkOf(life, engine, dependencies),
    plant?.wrapJobDependencies?.(jobDependencies) ?? jobDependencies,
    plant?.wrapJob?.(runJob) ?? runJob,
  );
  const names = plan.isShared ? [WORKFLOW_NAME] : [WORKFLOW_NAME, nameInScope(WORKFLOW_NAME, scope)];
  const register = (): void => {
    const call = {
      from: life,
      to: "engine",
      name: "register",
      timeoutMs: ENGINE_TIMEOUT_MS,
      failure: engineGone,
    };
    network
      .call<void>({ ...call, perform: () => engine.register(life.party, names) })
      .catch(() => undefined)
      .finally(() => network.deliver(life, REGISTRATION_MS, register));
  };
  register();
  return {
    worker,
    answer: (method, request) => answerQuery(method, request, compute, new AbortController().signal),
  };
}

const engineGone = (reason: string): Error => new Error(`the engine did not answer: ${reason}`);

function computeOf(life: Life, scope: string, dependencies: PartsDependencies): ComputeProvider {
  const { scheduler, network, world, plant, faults } = dependencies;
  const random = dependencies.random.fork(`${life.party}.${life.number} compute`);
  const call: HostCall = (name, signal, perform) =>
    network.call({
      from: life,
      to: scope,
      name,
      timeoutMs: HOST_TIMEOUT_MS,
      ...(signal === null ? {} : { signal }),
      perform,
      failure: computeUnreachable,
    });
  const slowness = (): number => {
    if (!faults.lasts("slow_compute")) return 1;
    faults.count("slow_compute");
    return 20;
  };
  const compute = createSimulatedCompute(
    world,
    world.host(scope),
    {
      nowMs: () => scheduler.nowMs,
      pause: (durationMs) => new Promise((resolve) => void scheduler.after(durationMs, 0, resolve)),
      startMs() {
        const late = faults.take("late_effect", life.party);
        if (late === null) return random.between(5, 150) * slowness();
        network.late.add(late.durationMs);
        dependencies.parts().victims.crash(life.party, RESTART_MS);
        return late.durationMs;
      },
      stopMs: () => random.between(5, 80) * slowness(),
      healthyAfterMs: () => random.between(0, 700),
      blindness() {
        if (!faults.lasts("failing_compute")) return null;
        return random.pick(["presence", "health", null]);
      },
      failure() {
        const kind = faults.lasts("rejecting_compute") ? "rejecting_compute" : "failing_compute";
        if (!faults.lasts(kind)) return null;
        faults.count(kind);
        return kind === "rejecting_compute" ? "terminal" : "retryable";
      },
    },
    call,
    { ...HOST_SETTINGS, ...plant?.host },
  );
  return plant?.wrapCompute?.(compute) ?? compute;
}

function engineLinkOf(life: Life, engine: SimulatedEngine, dependencies: PartsDependencies): EngineLink {
  const { scheduler, network, faults } = dependencies;
  const call = (name: string, perform: () => boolean): Promise<boolean> =>
    network.call({
      from: life,
      to: "engine",
      name,
      timeoutMs: ENGINE_TIMEOUT_MS,
      perform,
      failure: engineGone,
    });
  let previous: JobResult | null = null;

  /** A worker of another version, or a confused one, answers something else. */
  function spoiled(result: JobResult): JobResult | null {
    const before = previous;
    previous = result;
    if (
      before !== null &&
      before.tenant_id !== result.tenant_id &&
      faults.take("foreign_result", life.party) !== null
    ) {
      return before;
    }
    if (faults.take("garbled_result", life.party) !== null) return null;
    if (faults.take("unproven_result", life.party) === null) return result;
    // Success without proof, or failure without a reason.
    return result.outcome === "succeeded"
      ? { ...result, health: "unknown", absent_observations: 1 }
      : { ...result, error: null };
  }

  return {
    remember: ({ executionId, number }: Attempt, step, answer) =>
      call(step, () => engine.remember(executionId, number, step, answer)),
    suspend: ({ executionId, number }, step, durationMs, isWaiting) =>
      call(step, () => engine.suspend(executionId, number, step, durationMs, isWaiting)),
    complete({ executionId, number }, result) {
      const told = spoiled(result);
      return call("complete", () => engine.complete(executionId, number, told));
    },
    fail: ({ executionId, number }, message) => call("fail", () => engine.fail(executionId, number, message)),
    monotonicMs: () => scheduler.nowMs,
  };
}
