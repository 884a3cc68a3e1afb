/** ECS goes away in the middle of an operation: for a while with all that it knows, or for good. */
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import type { ComputeProvider, ComputeSpec } from "../../../src/compute/provider.ts";
import { startEcsEmulator, type EcsEmulator } from "../../support/engines/ecs-emulator.ts";
import { eventually } from "../../support/eventually.ts";
import {
  censusOf,
  containersOf,
  converge,
  newProvider,
  newSpec,
  next,
  observe,
  options,
  refOf,
  remove,
  servicesOf,
  webConfig,
} from "./ecs-kit.ts";

let emulator: EcsEmulator;
let provider: ComputeProvider;
beforeAll(async () => {
  emulator = await startEcsEmulator({ dockerHost: inject("dockerHost") });
  provider = await newProvider({}, emulator.endpoint);
});
afterAll(() => emulator.stop());

const untilCensus = (spec: ComputeSpec, generations: readonly number[]): Promise<unknown> =>
  eventually(async () => (await censusOf(spec, emulator.endpoint)).join() === generations.join(), {
    what: `what runs is ${generations.join() || "nothing"}`,
    timeoutMs: 45_000,
  });

const generationOf = async (spec: ComputeSpec): Promise<string | undefined> =>
  (await servicesOf(spec, emulator.endpoint))[0]?.tags?.find(({ key }) => key === "landlord:generation")
    ?.value;

test("an outage in the middle of a create, an update and a delete", async () => {
  const spec = newSpec();
  const creating = converge(provider, spec);
  await eventually(async () => (await generationOf(spec)) === "1", {
    what: "the service is there",
    everyMs: 2,
  });
  await emulator.restart({ clean: true });
  await creating;
  await untilCensus(spec, [1]);

  const second = next(spec, webConfig(2));
  const updating = converge(provider, second);
  await eventually(async () => (await generationOf(spec)) === "2", { what: "its tags are new", everyMs: 2 });
  await emulator.restart({ clean: true });
  await updating;
  await untilCensus(spec, [2]);

  const removing = remove(provider, second);
  await eventually(async () => (await generationOf(spec)) === undefined, {
    what: "it is deleted",
    everyMs: 2,
  });
  await emulator.restart({ clean: true });
  await removing;
  await untilCensus(spec, []);
  expect(await provider.apply(second, options)).toEqual({ kind: "stale", generation: 2 });
});

test("while ECS is away nothing is absent; what lost everything is made anew", async () => {
  const spec = newSpec();
  await converge(provider, spec);
  const ref = refOf(spec, [await provider.scopeOf(spec.config)]);
  await emulator.kill();
  expect(await observe(provider, spec)).toMatchObject({ presence: "unknown", health: "unknown" });
  await expect(provider.apply(spec, options)).rejects.toMatchObject({
    code: "compute_unreachable",
    retryable: true,
  });
  await expect(provider.destroy({ ...ref, generation: 1 }, options)).rejects.toMatchObject({
    retryable: true,
  });
  await emulator.restart({ clean: false });
  expect(await observe(provider, spec)).toMatchObject({ presence: "absent" });
  await converge(provider, spec);
  await untilCensus(spec, [1]);
  expect(await containersOf(spec, emulator.endpoint)).toHaveLength(1);
  await remove(provider, spec);
});
