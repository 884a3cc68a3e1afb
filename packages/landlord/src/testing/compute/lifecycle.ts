/** What a provider does when nothing goes wrong. */
import assert from "node:assert/strict";
import { isJsonObject, withDefaults } from "../../domain/json.ts";
import { eventually, inParallel } from "../eventually.ts";
import type { Behaviour } from "../behaviour.ts";
import type { ComputeHarness } from "./harness.ts";
import {
  converge,
  effect,
  expectCensus,
  expectGone,
  nextOf,
  observeOne,
  openSound,
  refOf,
  remove,
  specOf,
} from "./convergence.ts";

type ComputeBehaviour = Behaviour<ComputeHarness>;

const describesItself: ComputeBehaviour = {
  id: "describes-itself",
  title: "describes its config by a schema, finds fault with bad configs, and passes defaults on",
  essential: false,
  prove(harness) {
    const { factory, engineConfig } = harness;
    const description = factory.describe(engineConfig);
    assert.equal(description.name, factory.name, "factory and description have one name");
    assert.match(factory.name, /^[a-z][a-z0-9_-]*$/, "the name is a key of the configuration");
    const { configSchema } = description;
    assert.equal(configSchema["type"], "object", "configSchema describes an object");
    assert.ok(isJsonObject(configSchema["properties"]), "configSchema has properties");
    for (const [key, property] of Object.entries(configSchema["properties"])) {
      assert.ok(
        isJsonObject(property) && typeof property["description"] === "string",
        `configSchema describes ${key}`,
      );
    }
    for (const variant of [1, 2]) {
      const config = harness.config(variant);
      assert.deepEqual(description.validateConfig(config), [], "a good config has no problems");
      assert.deepEqual(
        description.validateConfig({ ...config, compute_provider: factory.name }),
        [],
        "a config may hold compute_provider: the control plane freezes the resolved one into it",
      );
    }
    const problems = description.validateConfig(harness.invalidConfig);
    assert.ok(problems.length > 0, "a bad config has problems");
    for (const { pointer, message } of problems) {
      assert.match(pointer, /^(\/.*)?$/, `"${pointer}" is a JSON pointer`);
      assert.ok(message.length > 0, `the problem at "${pointer}" is a sentence`);
    }
    const defaults = harness.config(1);
    const withThem = factory.describe({ ...engineConfig, defaults });
    assert.deepEqual(withThem.configDefaults, defaults, "defaults of the block are the description's");
    assert.deepEqual(
      withThem.validateConfig(withDefaults({}, defaults)),
      [],
      "defaults alone can be a config",
    );
    assert.ok(
      !factory.engineConfigSchema.safeParse({ ...engineConfig, no_such_key: 1 }).success,
      "the block is strict: a key with a typo is found",
    );
    return Promise.resolve();
  },
};

const becomesHealthy: ComputeBehaviour = {
  id: "becomes-healthy",
  title: "brings a tenant up, says where, and shows the same to every observer",
  essential: true,
  async prove(harness) {
    const provider = await openSound(harness);
    const spec = specOf(harness.config(1));
    const applied = await converge(harness, provider, spec);
    assert.equal(applied.scope, await provider.scopeOf(spec.config), "the scope is what scopeOf said before");
    await expectCensus(harness, spec, [1]);
    const seen = await observeOne(provider, refOf(spec, [applied.scope]));
    assert.deepEqual(
      { ...seen, message: null },
      { ...applied, message: null },
      "observe shows what apply answered",
    );
  },
};

const appliesOnce: ComputeBehaviour = {
  id: "idempotent-apply",
  title: "starts one set of compute however often and by how many workers a generation is applied",
  essential: true,
  async prove(harness) {
    const [first, second] = await Promise.all([openSound(harness), openSound(harness)]);
    const spec = specOf(harness.config(1));
    const both = await Promise.all([
      converge(harness, first, spec),
      converge(harness, second, spec),
      converge(harness, first, spec),
    ]);
    await expectCensus(harness, spec, [1]);
    const again = await converge(harness, second, spec);
    for (const observation of both) {
      assert.deepEqual(observation.resourceIds, again.resourceIds, "everybody was given the same resources");
    }
    await expectCensus(harness, spec, [1]);
  },
};

const updates: ComputeBehaviour = {
  id: "update",
  title: "brings a new config up and leaves nothing of the old one",
  essential: true,
  async prove(harness) {
    const provider = await openSound(harness);
    const spec = specOf(harness.config(1));
    await converge(harness, provider, spec);
    const second = nextOf(spec, harness.config(2));
    await converge(harness, provider, second);
    const text = harness.loggedText(2);
    if (text !== null) {
      // By the workload's own word: a provider that only writes new labels would have no new output.
      await eventually(
        async () => {
          const { signal } = new AbortController();
          assert.match(await provider.logs(refOf(second), { tailBytes: 10_000, signal }), new RegExp(text));
        },
        { what: `the new workload says "${text}"`, timeoutMs: harness.convergeTimeoutMs },
      );
    }
    // Also a generation that changes nothing is reached: a label was changed, or a tenant was restored.
    const third = nextOf(second, harness.config(2));
    await converge(harness, provider, third);
    await expectCensus(harness, spec, [3]);
  },
};

const destroys: ComputeBehaviour = {
  id: "proof-of-absence",
  title: "reports absence when nothing is left, and only then; twice is as good as once",
  essential: true,
  async prove(harness) {
    const [provider, other] = await Promise.all([openSound(harness), openSound(harness)]);
    const spec = specOf(harness.config(1));
    await expectGone(harness, provider, spec);
    await remove(harness, provider, spec);
    const second = nextOf(spec, harness.config(1));
    await converge(harness, provider, second);
    assert.equal((await observeOne(other, refOf(second))).presence, "present", "what runs is not absent");
    await Promise.all([remove(harness, provider, second), remove(harness, other, second)]);
    await expectGone(harness, other, second);
    await remove(harness, provider, second);
    await expectGone(harness, provider, second);
  },
};

const plans: ComputeBehaviour = {
  id: "plan",
  title: "plans what an apply would do, by field, and changes nothing",
  essential: false,
  async prove(harness) {
    const provider = await openSound(harness);
    const spec = specOf(harness.config(1));
    const toCreate = await provider.plan(spec, await observeOne(provider, refOf(spec)));
    assert.ok(
      toCreate.some(({ action }) => action === "create"),
      "a new tenant is created",
    );
    assert.deepEqual(await harness.census(spec), [], "a plan creates nothing");
    const applied = await converge(harness, provider, spec);
    const unchanged = await provider.plan(spec, applied);
    assert.ok(
      unchanged.every(({ action }) => action === "none"),
      `what is there already needs nothing, and the plan is ${JSON.stringify(unchanged)}`,
    );
    const changed = await provider.plan(nextOf(spec, harness.config(2)), applied);
    const change = changed.find(({ action }) => action === "replace" || action === "in_place");
    assert.ok(change !== undefined, `a change is planned, and the plan is ${JSON.stringify(changed)}`);
    assert.ok(change.resource.length > 0, "the plan names the resource");
    assert.ok(change.fields.length > 0, "the plan names the fields");
    for (const field of change.fields) assert.match(field, /^\//, "fields are JSON pointers");
    await expectCensus(harness, spec, [1]);
  },
};

const logs: ComputeBehaviour = {
  id: "logs",
  title: "returns the newest output of a tenant's own workload, within the limit",
  essential: false,
  async prove(harness) {
    const provider = await openSound(harness);
    const spec = specOf(harness.config(1));
    const text = harness.loggedText(1);
    assert.ok(text !== null, "the harness has a text to look for; declare a gap if the provider has no logs");
    await converge(harness, provider, spec);
    const { signal } = new AbortController();
    await eventually(
      async () =>
        assert.match(await provider.logs(refOf(spec), { tailBytes: 10_000, signal }), new RegExp(text)),
      { what: `the logs show "${text}"`, timeoutMs: harness.convergeTimeoutMs },
    );
    const tail = await provider.logs(refOf(spec), { tailBytes: 5, signal });
    assert.ok(
      Buffer.byteLength(tail) <= 5,
      `at most 5 bytes were asked for, and came ${Buffer.byteLength(tail)}`,
    );
    const stranger = specOf(harness.config(1));
    assert.equal(await provider.logs(refOf(stranger), { tailBytes: 100, signal }), "", "no compute, no logs");
  },
};

const observesInBatches: ComputeBehaviour = {
  id: "batch-observe",
  title: "observes many tenants at once, in the order asked",
  essential: false,
  async prove(harness) {
    const provider = await openSound(harness);
    const instanceId = specOf({}).instanceId;
    const present = [1, 2, 3].map(() => specOf(harness.config(1), { instanceId }));
    await inParallel(
      harness.parallel,
      present.map((spec) => async () => void (await converge(harness, provider, spec))),
    );
    const absent = Array.from({ length: 20 }, () => specOf(harness.config(1), { instanceId }));
    const asked = [...absent.slice(0, 7), ...present.slice(0, 2), ...absent.slice(7), ...present.slice(2)];
    const observations = await provider.observe(
      asked.map((spec) => refOf(spec)),
      new AbortController().signal,
    );
    assert.deepEqual(
      observations.map(({ presence }) => presence),
      asked.map((spec) => (present.includes(spec) ? "present" : "absent")),
    );
    assert.deepEqual(
      await provider.observe([], new AbortController().signal),
      [],
      "nothing asked, nothing answered",
    );
  },
};

const restartsWhatEnded: ComputeBehaviour = {
  id: "restarts-what-ended",
  title: "does not call a workload healthy that ended, and starts it again",
  essential: false,
  async prove(harness) {
    const provider = await openSound(harness);
    const spec = specOf(harness.config(1));
    await converge(harness, provider, spec);
    const { endWorkload } = harness;
    assert.ok(endWorkload !== null, "the harness can end a workload; declare a gap if none ever ends");
    await endWorkload(spec);
    const second = nextOf(spec, harness.config(1));
    await provider.apply(second, effect()).catch(() => undefined);
    await converge(harness, provider, second);
    await expectCensus(harness, spec, [2]);
    await endWorkload(second);
    await converge(harness, await openSound(harness), second);
    await expectCensus(harness, spec, [2]);
  },
};

export const lifecycleBehaviours: readonly ComputeBehaviour[] = [
  describesItself,
  becomesHealthy,
  appliesOnce,
  updates,
  destroys,
  plans,
  logs,
  observesInBatches,
  restartsWhatEnded,
];
