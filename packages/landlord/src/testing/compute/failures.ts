/** Workers that die, calls that are lost or doubled, executions that are cancelled: at every effect of every operation. */
import assert from "node:assert/strict";
import type { ComputeProvider, ComputeSpec } from "../../compute/provider.ts";
import type { Behaviour } from "../behaviour.ts";
import { eventually, FinalError, inParallel } from "../eventually.ts";
import { Faults, type FaultPlan } from "../faults.ts";
import type { ComputeHarness } from "./harness.ts";
import {
  converge,
  effect,
  expectCensus,
  expectComputeError,
  expectGone,
  nextOf,
  observeOne,
  openSound,
  refOf,
  remove,
  specOf,
} from "./convergence.ts";

type ComputeBehaviour = Behaviour<ComputeHarness>;

/** Every effect is tried one by one: an operation with more is too long for that, and for a job. */
const EFFECT_LIMIT = 60;

/** One operation of a tenant's life, from a prepared beginning to an end that can be checked. */
interface Scenario {
  readonly name: "create" | "update" | "destroy";
  /** Compute as the operation finds it. */
  readonly prepare: (harness: ComputeHarness, provider: ComputeProvider) => Promise<ComputeSpec>;
  readonly perform: (
    harness: ComputeHarness,
    provider: ComputeProvider,
    prepared: ComputeSpec,
  ) => Promise<unknown>;
  readonly expect: (harness: ComputeHarness, prepared: ComputeSpec) => Promise<void>;
}

const create: Scenario = {
  name: "create",
  prepare: (harness) => Promise.resolve(specOf(harness.config(1))),
  perform: converge,
  expect: (harness, spec) => expectCensus(harness, spec, [1]),
};

const update: Scenario = {
  name: "update",
  async prepare(harness, provider) {
    const spec = specOf(harness.config(1));
    await converge(harness, provider, spec);
    return spec;
  },
  perform: (harness, provider, spec) => converge(harness, provider, nextOf(spec, harness.config(2))),
  expect: (harness, spec) => expectCensus(harness, spec, [2]),
};

const destroy: Scenario = {
  name: "destroy",
  prepare: update.prepare,
  perform: (harness, provider, spec) => remove(harness, provider, spec, spec.generation + 1),
  async expect(harness, spec) {
    await expectCensus(harness, spec, []);
    const late = await (await openSound(harness)).apply(spec, effect());
    assert.equal(late.kind, "stale", "what was deleted stays deleted");
  },
};

const SCENARIOS = [create, update, destroy] as const;

/** How many effects the operation has when nothing goes wrong. */
async function countEffects(harness: ComputeHarness, scenario: Scenario): Promise<number> {
  const prepared = await scenario.prepare(harness, await openSound(harness));
  const faults = new Faults();
  await scenario.perform(harness, await harness.open(faults), prepared);
  assert.ok(
    faults.effects > 0,
    `${scenario.name} makes calls that faults can hit: pass them through Faults.call, or a fault proxy`,
  );
  assert.ok(
    faults.effects <= EFFECT_LIMIT,
    `${scenario.name} has at most ${EFFECT_LIMIT} effects, not ${faults.effects}`,
  );
  return faults.effects;
}

/**
 * A worker meets the fault; whatever it leaves, another one finishes the operation. False when this run was too short to
 * come to the fault: what polls, or races, does not always have the same number of effects.
 */
async function surviveFault(harness: ComputeHarness, scenario: Scenario, plan: FaultPlan): Promise<boolean> {
  const prepared = await scenario.prepare(harness, await openSound(harness));
  const faults = new Faults(plan);
  const worker = await harness.open(faults);
  if (plan.kind === "crash") await surviveDeath(harness, scenario, prepared, { worker, faults });
  else await scenario.perform(harness, worker, prepared);
  await scenario.expect(harness, prepared);
  return faults.fired;
}

/** The successor does not wait for the last effect of the dead worker: it may still take place under its hands. */
async function surviveDeath(
  harness: ComputeHarness,
  scenario: Scenario,
  prepared: ComputeSpec,
  { worker, faults }: { readonly worker: ComputeProvider; readonly faults: Faults },
): Promise<void> {
  const attempt = scenario.perform(harness, mortal(worker, faults), prepared).then(
    () => undefined,
    () => undefined,
  );
  const death = eventually(
    () => (faults.isDead ? Promise.resolve() : Promise.reject(new Error("it lives"))),
    { what: "the worker dies", timeoutMs: harness.convergeTimeoutMs, everyMs: 5 },
  );
  await Promise.race([attempt, death]);
  try {
    const successor = await openSound(harness);
    await scenario.perform(harness, successor, prepared);
  } finally {
    await attempt;
    await faults.settled();
  }
}

/** Nothing of a dead process runs on, so nothing of it is tried again either. */
function mortal(worker: ComputeProvider, faults: Faults): ComputeProvider {
  const whileItLives = async <T>(attempt: () => Promise<T>): Promise<T> => {
    try {
      return await attempt();
    } catch (error) {
      if (faults.isDead) throw new FinalError("the worker is dead", { cause: error });
      throw error;
    }
  };
  return {
    name: worker.name,
    scopeOf: (config) => worker.scopeOf(config),
    observe: (refs, signal) => whileItLives(() => worker.observe(refs, signal)),
    plan: (spec, observation) => worker.plan(spec, observation),
    apply: (spec, options) => whileItLives(() => worker.apply(spec, options)),
    destroy: (ref, options) => whileItLives(() => worker.destroy(ref, options)),
    list: (instanceId, signal) => whileItLives(() => worker.list(instanceId, signal)),
    logs: (ref, options) => whileItLives(() => worker.logs(ref, options)),
  };
}

function faultBehaviour(
  scenario: Scenario,
  kind: FaultPlan["kind"],
  id: string,
  title: string,
): ComputeBehaviour {
  return {
    id,
    title,
    essential: true,
    async prove(harness) {
      const effects = await countEffects(harness, scenario);
      const from = kind === "crash" ? 0 : 1;
      const points = Array.from({ length: effects - from + 1 }, (_, index) => from + index);
      let fired = 0;
      await inParallel(
        harness.parallel,
        points.map((after) => async () => {
          const isHit = await surviveFault(harness, scenario, { kind, after }).catch((error: unknown) => {
            throw new Error(
              `${scenario.name} with ${kind.replaceAll("_", " ")} at effect ${after} of ${effects}: ${error instanceof Error ? error.message : String(error)}`,
              { cause: error },
            );
          });
          if (isHit) fired += 1;
        }),
      );
      assert.ok(fired * 2 > points.length, `of ${points.length} faults only ${fired} took place`);
    },
  };
}

const nameOf = ({ name }: Scenario): string => (name === "update" ? "an update" : `a ${name}`);

const faultBehaviours = SCENARIOS.flatMap((scenario) => [
  faultBehaviour(
    scenario,
    "crash",
    `crash-in-${scenario.name}`,
    `survives a worker that dies before or after any effect of ${nameOf(scenario)}: another one finishes it`,
  ),
  faultBehaviour(
    scenario,
    "lost_answer",
    `lost-answer-in-${scenario.name}`,
    `finishes ${nameOf(scenario)} whatever answer of it is lost`,
  ),
  faultBehaviour(
    scenario,
    "duplicated",
    `duplicate-in-${scenario.name}`,
    `finishes ${nameOf(scenario)} whatever call of it arrives twice`,
  ),
]);

const takesOver: ComputeBehaviour = {
  id: "take-over",
  title: "finds, updates and removes what another worker made",
  essential: true,
  async prove(harness) {
    const spec = specOf(harness.config(1));
    const created = await converge(harness, await openSound(harness), spec);
    const successor = await openSound(harness);
    const seen = await observeOne(successor, refOf(spec, [created.scope]));
    assert.deepEqual(seen.resourceIds, created.resourceIds, "a worker without memory finds the resources");
    assert.deepEqual(seen.endpoints, created.endpoints, "and where they answer");
    assert.deepEqual(seen.config, created.config, "and what they were made from");
    const second = nextOf(spec, harness.config(2));
    await converge(harness, successor, second);
    await expectCensus(harness, spec, [2]);
    const third = await openSound(harness);
    await remove(harness, third, second);
    await expectGone(harness, third, second);
  },
};

const obeysCancellation: ComputeBehaviour = {
  id: "cancellation",
  title:
    "stops at a cancellation, leaves nothing that a delete does not remove, and goes on when asked again",
  essential: true,
  async prove(harness) {
    const provider = await openSound(harness);
    const cancelled = specOf(harness.config(1));
    const before = await provider.apply(cancelled, effect(AbortSignal.abort())).then(
      () => assert.fail("an apply that was cancelled before it began does not succeed"),
      (error: unknown) => error,
    );
    expectComputeError("a cancelled apply", before, true);
    assert.deepEqual(await harness.census(cancelled), [], "and started nothing");

    const spec = specOf(harness.config(1));
    const controller = new AbortController();
    const faults = new Faults();
    const worker = await harness.open(faults);
    const running = worker.apply(spec, effect(controller.signal)).catch((error: unknown) => error);
    await Promise.race([
      running,
      eventually(
        () => (faults.effects > 0 ? Promise.resolve() : Promise.reject(new Error("no effect yet"))),
        {
          what: "the apply has an effect",
          timeoutMs: harness.convergeTimeoutMs,
          everyMs: 1,
        },
      ),
    ]);
    controller.abort(new Error("cancelled"));
    const outcome = await running;
    if (outcome instanceof Error) expectComputeError("an apply that is cancelled half way", outcome, true);
    await converge(harness, provider, spec);
    await expectCensus(harness, spec, [1]);
    await remove(harness, provider, spec);
    await expectGone(harness, provider, spec);
  },
};

export const failureBehaviours: readonly ComputeBehaviour[] = [
  ...faultBehaviours,
  takesOver,
  obeysCancellation,
];
