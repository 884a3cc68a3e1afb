/** Whom a provider refuses, what it does not claim to know, and what it keeps apart. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import type { ApplyResult, ComputeProvider, ComputeSpec } from "../../compute/provider.ts";
import type { Behaviour } from "../behaviour.ts";
import { eventually, FinalError } from "../eventually.ts";
import type { ComputeHarness } from "./harness.ts";
import {
  converge,
  effect,
  expectCensus,
  expectComputeError,
  expectGone,
  expectRetryable,
  nextOf,
  observeOne,
  openSound,
  refOf,
  remove,
  specOf,
} from "./convergence.ts";

type ComputeBehaviour = Behaviour<ComputeHarness>;

/** Applies until the answer is final: a contended or transient failure says nothing about the fence. */
function applyOnce(
  harness: ComputeHarness,
  provider: ComputeProvider,
  spec: ComputeSpec,
): Promise<ApplyResult> {
  return eventually(() => provider.apply(spec, effect()), {
    what: `apply(${spec.generation}) answers`,
    timeoutMs: harness.convergeTimeoutMs,
  });
}

const refusesStaleGenerations: ComputeBehaviour = {
  id: "stale-generation",
  title: "refuses every generation below the one that is there, and changes nothing for it",
  essential: true,
  async prove(harness) {
    const [provider, other] = await Promise.all([openSound(harness), openSound(harness)]);
    const first = specOf(harness.config(1), { generation: 3 });
    await converge(harness, provider, first);
    const second = { ...nextOf(first, harness.config(2)), generation: 7 };
    const reached = await converge(harness, provider, second);
    for (const late of [provider, other]) {
      assert.deepEqual(
        await applyOnce(harness, late, first),
        { kind: "stale", generation: 7 },
        "a lower generation is stale, and told which one is there",
      );
    }
    const usurper = { ...second, config: harness.config(1), configHash: first.configHash };
    assert.deepEqual(
      await applyOnce(harness, other, usurper),
      { kind: "stale", generation: 7 },
      "the same generation with another config is stale",
    );
    const left = await other.destroy({ ...refOf(first), generation: 3 }, effect());
    assert.equal(left.presence, "present", "a delete of a lower generation removes nothing");
    assert.equal(left.generation, 7, "and says which generation is there");
    const after = await converge(harness, provider, second);
    assert.deepEqual(after.resourceIds, reached.resourceIds, "what serves was left alone");
    await expectCensus(harness, first, [7]);
  },
};

const staysDeleted: ComputeBehaviour = {
  id: "no-resurrection",
  title: "refuses a late apply of a generation that was destroyed, and takes the next one",
  essential: true,
  async prove(harness) {
    const provider = await openSound(harness);
    const spec = specOf(harness.config(1), { generation: 2 });
    await converge(harness, provider, spec);
    await remove(harness, provider, spec, 3);
    const fresh = await openSound(harness);
    for (const generation of [1, 2, 3]) {
      const late = await applyOnce(harness, fresh, { ...spec, generation });
      assert.deepEqual(late, { kind: "stale", generation: 3 }, `a late apply(${generation}) is stale`);
    }
    await expectGone(harness, fresh, spec);
    const restored = { ...spec, generation: 4 };
    await converge(harness, fresh, restored);
    await expectCensus(harness, spec, [4]);
  },
};

const winsRaces: ComputeBehaviour = {
  id: "racing-workers",
  title: "ends at the highest generation whatever order concurrent applies and deletes arrive in",
  essential: true,
  async prove(harness) {
    const [a, b, c] = await Promise.all([openSound(harness), openSound(harness), openSound(harness)]);
    const spec = specOf(harness.config(1));
    const late = (provider: ComputeProvider, generation: number): Promise<unknown> =>
      provider.apply({ ...spec, generation }, effect()).catch(() => undefined);
    await Promise.all([
      late(a, 1),
      late(b, 2),
      converge(harness, c, { ...spec, generation: 3 }),
      late(a, 2),
      late(b, 1),
    ]);
    await converge(harness, a, { ...spec, generation: 3 });
    await expectCensus(harness, spec, [3]);
    await Promise.all([late(a, 3), late(b, 2), remove(harness, c, spec, 4), late(a, 4), late(b, 3)]);
    await remove(harness, b, spec, 4);
    await expectCensus(harness, spec, []);
  },
};

const knowsNotWhatItCannotSee: ComputeBehaviour = {
  id: "unreachable-is-unknown",
  title:
    "answers unknown, or a retryable error, when the backend is out of reach: never absent, never success",
  essential: true,
  async prove(harness) {
    const provider = await openSound(harness);
    const spec = specOf(harness.config(1));
    const { scope } = await converge(harness, provider, spec);
    const blind = await harness.openUnreachable();
    const { signal } = new AbortController();
    for (const [what, scopes] of [
      ["a known scope", [scope]],
      ["no known scope", []],
    ] as const) {
      const ref = refOf(spec, scopes);
      const seen = await blind.observe([ref], signal).then(
        ([observation]) => observation?.presence,
        (error: unknown) => {
          expectComputeError(`observe of ${what}`, error, true);
          return "unknown";
        },
      );
      assert.equal(seen, "unknown", `with ${what} a tenant out of sight is unknown`);
      const destroyed = await blind.destroy({ ...ref, generation: 9 }, effect()).then(
        ({ presence }) => presence,
        (error: unknown) => {
          expectComputeError(`destroy in ${what}`, error, true);
          return "unknown";
        },
      );
      assert.equal(destroyed, "unknown", `with ${what} nothing is known to be destroyed`);
    }
    await expectRetryable("apply out of reach", blind.apply(nextOf(spec, harness.config(2)), effect()));
    await expectRetryable("list out of reach", blind.list(spec.instanceId, signal));
    await expectCensus(harness, spec, [1]);
  },
};

const knowsItsScopes: ComputeBehaviour = {
  id: "foreign-scope",
  title: "answers unknown for a tenant that has compute where this provider cannot look",
  essential: true,
  async prove(harness) {
    const provider = await openSound(harness);
    const spec = specOf(harness.config(1));
    const here = await provider.scopeOf(spec.config);
    const elsewhere = `${here}-elsewhere`;
    for (const scopes of [[elsewhere], [here, elsewhere]]) {
      assert.equal(
        (await observeOne(provider, refOf(spec, scopes))).presence,
        "unknown",
        `in ${scopes.join(" and ")} nothing is known to be absent`,
      );
      const left = await provider
        .destroy({ ...refOf(spec, scopes), generation: 1 }, effect())
        .then(({ presence }) => presence)
        .catch((error: unknown) => {
          expectComputeError("destroy with a foreign scope", error, true);
          return "unknown";
        });
      assert.equal(left, "unknown", `in ${scopes.join(" and ")} nothing is known to be destroyed`);
    }
    assert.equal((await observeOne(provider, refOf(spec, [here]))).presence, "absent");
  },
};

const classifiesErrors: ComputeBehaviour = {
  id: "error-classification",
  title: "rejects for good what can never work, by a code, and starts nothing for it",
  essential: true,
  async prove(harness) {
    const provider = await openSound(harness);
    const description = harness.factory.describe(harness.engineConfig);
    // A server may be older than a worker: what one let through, the other still refuses.
    const configs = [harness.invalidConfig];
    if (harness.rejectedConfig !== null) {
      const problems = description.validateConfig(harness.rejectedConfig);
      assert.deepEqual(problems, [], "the rejected config is valid: only reality refuses it");
      configs.push(harness.rejectedConfig);
    }
    for (const config of configs) {
      const spec = specOf(config);
      await eventually(
        async () => {
          const thrown: unknown = await provider.apply(spec, effect()).then(
            (answer) => new FinalError(`what cannot work was applied: ${JSON.stringify(answer)}`),
            (error: unknown) => error,
          );
          if (thrown instanceof FinalError) throw thrown;
          expectComputeError(`apply of ${JSON.stringify(config)}`, thrown, false);
        },
        { what: "the config is rejected", timeoutMs: harness.convergeTimeoutMs },
      );
      await remove(harness, provider, spec);
      await expectGone(harness, provider, spec);
    }
  },
};

const cleansUpFailures: ComputeBehaviour = {
  id: "no-leak-on-failure",
  title: "piles nothing up when starts fail again and again, and removes all of it",
  essential: true,
  async prove(harness) {
    const provider = await openSound(harness);
    for (const config of [harness.rejectedConfig, harness.unhealthyConfig]) {
      if (config === null) continue;
      const spec = specOf(config);
      for (let round = 0; round < 3; round += 1) {
        const applied = await provider.apply(spec, effect()).catch(() => null);
        if (applied?.kind === "applied") {
          assert.notEqual(applied.observation.health, "healthy", "what cannot become healthy is not healthy");
        }
      }
      const left = await harness.census(spec);
      assert.ok(left.length <= 1, `three failed starts left ${left.length} sets of compute`);
      await remove(harness, provider, spec);
      await expectGone(harness, provider, spec);
      // A failure does not fence what comes after it.
      const mended = nextOf(spec, harness.config(1));
      await converge(harness, provider, mended);
      await expectCensus(harness, spec, [2]);
    }
  },
};

const listsOrphans: ComputeBehaviour = {
  id: "orphan-listing",
  title: "lists everything that it runs for an instance, and nothing of another",
  essential: true,
  async prove(harness) {
    const provider = await openSound(harness);
    const instanceId = randomUUID();
    const mine = [1, 2].map((variant) => specOf(harness.config(variant), { instanceId }));
    const other = specOf(harness.config(1));
    for (const spec of [...mine, other]) await converge(harness, provider, spec);
    const { signal } = new AbortController();
    const fresh = await openSound(harness);
    const owned = await fresh.list(instanceId, signal);
    assert.deepEqual(
      [...new Set(owned.map(({ tenantId }) => tenantId))].sort(),
      mine.map(({ tenantId }) => tenantId).sort(),
    );
    for (const resource of owned) {
      assert.equal(resource.instanceId, instanceId);
      assert.equal(resource.generation, 1, "a listed resource has its generation");
      assert.equal(resource.scope, await provider.scopeOf(harness.config(1)), "and its scope");
      assert.ok(Object.keys(resource.resourceIds).length > 0, "and names that its backend knows it by");
    }
    for (const spec of mine) await remove(harness, fresh, spec);
    await eventually(
      async () =>
        assert.deepEqual(await fresh.list(instanceId, signal), [], "what was destroyed is not listed"),
      { what: "the list is empty", timeoutMs: harness.convergeTimeoutMs },
    );
    assert.equal(
      (await fresh.list(other.instanceId, signal)).length > 0,
      true,
      "another instance keeps its own",
    );
  },
};

const keepsTenantsApart: ComputeBehaviour = {
  id: "tenants-apart",
  title: "keeps tenants apart: same names, neighbouring ids and other instances do not touch each other",
  essential: true,
  async prove(harness) {
    const provider = await openSound(harness);
    const one = specOf(harness.config(1));
    const twin = specOf(harness.config(2), { instanceId: one.instanceId, tenantName: one.tenantName });
    // The same database restored beside the old one: same tenant, other instance.
    const restored = specOf(harness.config(2), { tenantId: one.tenantId });
    for (const spec of [one, twin, restored]) await converge(harness, provider, spec);
    for (const spec of [one, twin, restored]) await expectCensus(harness, spec, [1]);
    const ids = await Promise.all(
      [one, twin, restored].map(async (spec) =>
        JSON.stringify((await observeOne(provider, refOf(spec))).resourceIds),
      ),
    );
    assert.equal(new Set(ids).size, 3, "each has resources of its own");
    await remove(harness, provider, one);
    await expectGone(harness, provider, one);
    for (const spec of [twin, restored]) {
      const seen = await observeOne(provider, refOf(spec));
      assert.equal(seen.presence, "present", "a neighbour's delete touches nobody else");
      assert.equal(seen.configHash, spec.configHash, "and everybody keeps their own config");
    }
  },
};

export const safetyBehaviours: readonly ComputeBehaviour[] = [
  refusesStaleGenerations,
  staysDeleted,
  winsRaces,
  knowsNotWhatItCannotSee,
  knowsItsScopes,
  classifiesErrors,
  cleansUpFailures,
  listsOrphans,
  keepsTenantsApart,
];
