/** Repeats what a job repeats, and compares what the provider says with what is there. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import {
  ComputeError,
  type ComputeProvider,
  type ComputeRef,
  type ComputeSpec,
  type EffectOptions,
  type Observation,
  type Owner,
} from "../../compute/provider.ts";
import { configHash, type JsonObject } from "../../domain/json.ts";
import { eventually, FinalError } from "../eventually.ts";
import { Faults } from "../faults.ts";
import type { ComputeHarness } from "./harness.ts";

/** Between two rounds of a job. */
const ROUND_MS = 50;

export const effect = (signal: AbortSignal = new AbortController().signal): EffectOptions => ({
  idempotencyKey: "conformance",
  signal,
});

export function specOf(config: JsonObject, change: Partial<ComputeSpec> = {}): ComputeSpec {
  return {
    instanceId: randomUUID(),
    tenantId: randomUUID(),
    tenantName: "acme",
    generation: 1,
    configHash: configHash(change.config ?? config),
    config,
    labels: {},
    ...change,
  };
}

/** The same tenant with another config, one generation on. */
export function nextOf(spec: ComputeSpec, config: JsonObject): ComputeSpec {
  return { ...spec, generation: spec.generation + 1, config, configHash: configHash(config) };
}

export const refOf = (spec: ComputeSpec, scopes: readonly string[] = []): ComputeRef => ({
  instanceId: spec.instanceId,
  tenantId: spec.tenantId,
  scopes,
});

export const openSound = (harness: ComputeHarness): Promise<ComputeProvider> => harness.open(new Faults());

export async function observeOne(provider: ComputeProvider, ref: ComputeRef): Promise<Observation> {
  const observations = await provider.observe([ref], new AbortController().signal);
  assert.equal(observations.length, 1, "observe answers for each ref");
  return observations[0] as Observation;
}

/** Applies as a job does, until healthy at this generation. Retryable failures are repeated, as an engine does. */
export function converge(
  harness: ComputeHarness,
  provider: ComputeProvider,
  spec: ComputeSpec,
): Promise<Observation> {
  return eventually(
    async () => {
      const applied = await provider.apply(spec, effect()).catch(refuseFinal);
      if (applied.kind === "stale")
        throw new FinalError(`apply(${spec.generation}) is stale(${applied.generation})`);
      const { observation } = applied;
      assert.equal(observation.presence, "present", "applied compute is present");
      assert.equal(
        observation.health,
        "healthy",
        `compute is healthy${observation.message === null ? "" : ` (${observation.message})`}`,
      );
      assert.equal(observation.generation, spec.generation, "compute is at the applied generation");
      assert.equal(observation.configHash, spec.configHash, "compute has the applied config");
      return observation;
    },
    {
      what: `generation ${spec.generation} is healthy`,
      timeoutMs: harness.convergeTimeoutMs,
      everyMs: ROUND_MS,
    },
  );
}

/** Destroys as a job does, until observed absent. */
export function remove(
  harness: ComputeHarness,
  provider: ComputeProvider,
  spec: ComputeSpec,
  generation = spec.generation,
): Promise<Observation> {
  return eventually(
    async () => {
      const observation = await provider.destroy({ ...refOf(spec), generation }, effect()).catch(refuseFinal);
      assert.equal(observation.presence, "absent", "destroyed compute is absent");
      return observation;
    },
    { what: `${spec.tenantId} is absent`, timeoutMs: harness.convergeTimeoutMs, everyMs: ROUND_MS },
  );
}

const ascending = (numbers: readonly number[]): number[] => [...numbers].sort((a, b) => a - b);

/** The census becomes exactly these generations: what retires may take a while. */
export async function expectCensus(
  harness: ComputeHarness,
  owner: Owner,
  generations: readonly number[],
): Promise<void> {
  await eventually(
    async () => assert.deepEqual(ascending(await harness.census(owner)), ascending(generations)),
    {
      what: `what really runs is ${generations.length === 0 ? "nothing" : `generation ${generations.join(", ")}`}`,
      timeoutMs: harness.convergeTimeoutMs,
    },
  );
}

/** Absent by the provider and by the census, and it stays so. */
export async function expectGone(
  harness: ComputeHarness,
  provider: ComputeProvider,
  spec: ComputeSpec,
): Promise<void> {
  assert.equal((await observeOne(provider, refOf(spec))).presence, "absent", "observed absent");
  assert.deepEqual(await harness.census(spec), [], "nothing runs where absence was reported");
}

/** A failure that another try can mend: a ComputeError, retryable, with a code and words. */
export async function expectRetryable(what: string, attempt: Promise<unknown>): Promise<void> {
  const outcome = await attempt.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  assert.ok("error" in outcome, `${what} fails, and answered ${JSON.stringify(outcome)}`);
  expectComputeError(what, outcome.error, true);
}

export function expectComputeError(what: string, error: unknown, retryable: boolean): void {
  assert.ok(error instanceof ComputeError, `${what} throws a ComputeError, not ${String(error)}`);
  assert.match(error.code, /^[a-z][a-z0-9_]*$/, `${what} has a stable code`);
  assert.ok(error.message.length > 0, `${what} says what happened`);
  assert.equal(
    error.retryable,
    retryable,
    `${what} is ${retryable ? "" : "not "}retryable (${error.code}: ${error.message})`,
  );
}

/** What repeating cannot mend ends the wait. */
function refuseFinal(error: unknown): never {
  if (error instanceof FinalError || (error instanceof ComputeError && error.retryable)) throw error;
  const why =
    error instanceof ComputeError
      ? `rejected with ${error.code}: ${error.message}`
      : `threw something other than a ComputeError: ${String(error)}`;
  throw new FinalError(why, { cause: error });
}
