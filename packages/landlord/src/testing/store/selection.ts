/** How clients find tenants among many, and go back in what they were. */
import assert from "node:assert/strict";
import type { Behaviour } from "../behaviour.ts";
import type { Store, TenantFilter } from "../../store/store.ts";
import { parseSelector } from "../../domain/selector.ts";
import type { StoreHarness } from "./harness.ts";
import {
  ACTOR,
  claim,
  claimOne,
  clientWrite,
  commitOf,
  created,
  historyOf,
  newOperation,
  newTenant,
  stored,
  transitionTo,
} from "./records.ts";

type StoreBehaviour = Behaviour<StoreHarness>;

const ALL: TenantFilter = {
  statuses: null,
  includeArchived: true,
  workflowSubState: null,
  hasWorkflowError: null,
  minRetryCount: null,
  limit: 100,
  offset: 0,
};

async function namesOf(store: Store, filter: Partial<TenantFilter>): Promise<readonly string[]> {
  const { tenants, total } = await store.listTenants({ ...ALL, ...filter });
  assert.equal(total, tenants.length, "the total counts what is selected");
  return tenants.map(({ name }) => name).sort();
}

const selects: StoreBehaviour = {
  id: "selection",
  title: "lists tenants by labels and by the beginning of their names",
  essential: true,
  async prove(harness) {
    const store = await harness.open();
    await created(store, { name: "shop-a", labels: { env: "prod", tier: "pro" } });
    await created(store, { name: "shop-b", labels: { env: "prod", tier: "free" } });
    await created(store, { name: "blog", labels: {} });
    const by = (...selectors: readonly string[]): Promise<readonly string[]> =>
      namesOf(store, { selectors: selectors.map(parseSelector) });
    assert.deepEqual(await by(), ["blog", "shop-a", "shop-b"]);
    assert.deepEqual(await by("env=prod"), ["shop-a", "shop-b"]);
    assert.deepEqual(await by("env=prod", "tier!=free"), ["shop-a"], "all selectors hold");
    assert.deepEqual(await by("tier!=free"), ["blog", "shop-a"], "a label that is missing is another");
    assert.deepEqual(await by("tier in (pro,free),env"), ["shop-a", "shop-b"]);
    assert.deepEqual(await by("!env"), ["blog"]);
    assert.deepEqual(await namesOf(store, { namePrefix: "shop-" }), ["shop-a", "shop-b"]);
  },
};

const pages: StoreBehaviour = {
  id: "pages",
  title: "gives every tenant on exactly one page, wherever a page ends",
  essential: true,
  async prove(harness) {
    const store = await harness.open();
    const names = Array.from({ length: 7 }, (_, index) => `t${index}`);
    for (const name of names) await created(store, { name });
    for (const limit of [1, 3, 7, 100]) {
      const seen: string[] = [];
      let after: string | null = null;
      do {
        const page: Awaited<ReturnType<Store["listTenants"]>> = await store.listTenants({
          ...ALL,
          limit,
          after,
          isCounted: after === null,
        });
        assert.equal(page.total, after === null ? 7 : null, "counted when it is asked for");
        assert.ok(page.tenants.length <= limit);
        seen.push(...page.tenants.map(({ name }) => name));
        assert.ok(seen.length <= names.length, "no page comes twice");
        after = page.next;
      } while (after !== null);
      assert.deepEqual(seen.toSorted(), names, `pages of ${limit}`);
    }
  },
};

const scopes: StoreBehaviour = {
  id: "scoped-history",
  title: "shows of history and ledger only what had matching labels, also of a name that two tenants had",
  essential: true,
  async prove(harness) {
    const store = await harness.open();
    const { id } = await created(store, { name: "acme", labels: { team: "a" } });
    await clientWrite(store, await stored(store, id), { labels: { team: "b" } });
    const taken = await claimOne(store);
    assert.deepEqual(await store.commit([commitOf(taken, { newOperation: newOperation(taken) })]), [
      "committed",
    ]);
    const seen = async (team: string): Promise<number> =>
      (
        await store.listTransitions({
          idOrName: id,
          scope: parseSelector(`team=${team}`),
          limit: 10,
          offset: 0,
        })
      ).length;
    assert.deepEqual([await seen("a"), await seen("b"), await seen("c")], [1, 1, 0]);
    const ledger = async (team: string): Promise<number> =>
      (
        await store.listOperations({
          idOrName: id,
          scope: parseSelector(`team=${team}`),
          limit: 10,
          offset: 0,
        })
      ).length;
    assert.deepEqual([await ledger("a"), await ledger("c")], [1, 0]);
  },
};

const keepsGenerations: StoreBehaviour = {
  id: "generations",
  title: "keeps the desired states that a tenant had, newest first",
  essential: true,
  async prove(harness) {
    const store = await harness.open();
    const { id } = await created(store, { desiredConfig: { size: 1 }, configHash: "one" });
    await clientWrite(store, await stored(store, id), { desiredConfig: { size: 2 }, configHash: "two" });
    const same = await stored(store, id);
    await clientWrite(store, same, { generation: same.tenant.generation, labels: { a: "b" } });
    const kept = await store.listGenerations({ tenantId: id });
    assert.deepEqual(
      kept.map(({ generation, configHash, desiredConfig }) => [generation, configHash, desiredConfig]),
      [
        [2, "two", { size: 2 }],
        [1, "one", { size: 1 }],
      ],
    );
    assert.equal(kept[0]?.actor, ACTOR.name);
    assert.deepEqual(await store.listGenerations({ tenantId: newTenant().id }), []);
    // Compute that is ahead of a restored database makes the reconciler raise it.
    const ahead = await claimOne(store);
    const tenant = { ...ahead.stored.tenant, generation: 7 };
    assert.deepEqual(await store.commit([commitOf(ahead, { tenant, generationRaised: true })]), [
      "committed",
    ]);
    const [raised, ...before] = await store.listGenerations({ tenantId: id });
    assert.deepEqual(
      [raised?.generation, raised?.configHash, raised?.actor, before.length],
      [7, "two", "reconciler", 2],
    );
  },
};

const forces: StoreBehaviour = {
  id: "forced-delete",
  title: "removes a tenant by force, once, leaves a tombstone, and takes nothing from who had leased it",
  essential: true,
  async prove(harness) {
    const store = await harness.open();
    const { id, name } = await created(store);
    const taken = await claimOne(store);
    const opening = newOperation(taken);
    assert.deepEqual(await store.commit([commitOf(taken, { newOperation: opening })]), ["committed"]);
    const force = async (revision: number): Promise<"removed" | "outdated"> =>
      store.forceDelete({
        tenantId: id,
        revision,
        tombstoneTtlMs: 60_000,
        transition: { ...transitionTo(taken, null), reason: "force_deleted" },
        actor: ACTOR,
      });
    const { revision } = await stored(store, id);
    assert.equal(await force(revision + 1), "outdated", "only as it was read");
    assert.ok((await store.getTenant({ idOrName: id })) !== null);
    const outcomes = await Promise.all([force(revision), force(revision), force(revision)]);
    assert.deepEqual(outcomes.toSorted(), ["outdated", "outdated", "removed"]);
    assert.equal(await store.getTenant({ idOrName: id }), null);
    const [tombstone] = await store.listTombstones({ limit: 10 });
    assert.deepEqual([tombstone?.tenantId, tombstone?.name], [id, name]);
    const [last] = await historyOf(store, id);
    assert.deepEqual([last?.reason, last?.toStatus, last?.actor], ["force_deleted", null, ACTOR.name]);
    const [operation] = await store.listOperations({ idOrName: id, limit: 10, offset: 0 });
    assert.equal(operation?.outcome, "abandoned", "its operation is closed");
    const late = commitOf(taken, { tenant: { ...taken.stored.tenant, status: "ready" } });
    assert.deepEqual(await store.commit([late]), ["lost"], "the holder of the lease comes too late");
    assert.deepEqual(await store.listGenerations({ tenantId: id }), []);
    assert.equal((await created(store, { name })).name, name, "its name is free");
  },
};

const looks: StoreBehaviour = {
  id: "requested-look",
  title: "makes the next look at a settled tenant due with the write that asks for it",
  essential: true,
  async prove(harness) {
    const store = await harness.open();
    const { id } = await created(store);
    const taken = await claimOne(store);
    await store.commit([commitOf(taken, { release: { dueInMs: null, resyncInMs: 3_600_000 } })]);
    const read = await stored(store, id);
    const { tenant, revision } = read;
    const transition = { ...transitionTo(taken, tenant.status), reason: "resumed" };
    const outcome = await store.writeTenant({
      tenant: { ...tenant, version: tenant.version + 1 },
      revision,
      generationRaised: false,
      isLookRequested: true,
      transition,
      actor: ACTOR,
      lane: "interactive",
    });
    assert.equal(outcome.kind, "written");
    assert.equal((await claim(store, "b")).length, 0, "nothing is due");
    // Whoever is at it for another reason, and did not look, leaves the request as it is.
    await store.wake({ tenantIds: [id] });
    const passing = await claimOne(store, "b");
    const release = { dueInMs: null, resyncInMs: 3_600_000, keepsEarlierLook: true };
    assert.deepEqual(await store.commit([commitOf(passing, { release })]), ["committed"]);
    const looked = await store.claimResync({
      leaseOwner: "c",
      leaseDurationMs: 60_000,
      limit: 10,
      everyMs: 1,
    });
    assert.deepEqual(
      looked.map(({ tenantId }) => tenantId),
      [id],
    );
  },
};

export const selectionBehaviours: readonly StoreBehaviour[] = [
  selects,
  pages,
  scopes,
  keepsGenerations,
  forces,
  looks,
];
