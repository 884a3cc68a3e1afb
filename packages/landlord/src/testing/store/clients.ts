/** What clients write and read. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import type { Behaviour } from "../behaviour.ts";
import type { StoreHarness } from "./harness.ts";
import {
  claimOne,
  clientWrite,
  commitOf,
  create,
  created,
  historyOf,
  newOperation,
  newTenant,
  stored,
  transitionTo,
  visible,
  UNBOUNDED,
} from "./records.ts";

type StoreBehaviour = Behaviour<StoreHarness>;

const createsAtomically: StoreBehaviour = {
  id: "create",
  title: "writes a tenant, its history and its due time together, and gives a name to one of many",
  essential: true,
  async prove(harness) {
    const [store, other] = await Promise.all([harness.open(), harness.open()]);
    const outcomes = await Promise.all(
      Array.from({ length: 8 }, (_, index) =>
        create(index % 2 === 0 ? store : other, newTenant({ name: "contested" })),
      ),
    );
    const kinds = outcomes.map(({ kind }) => kind).sort();
    assert.deepEqual(kinds, ["created", ...Array.from({ length: 7 }, () => "name_taken")]);
    const { tenant, revision } = await stored(other, "contested");
    assert.equal(revision, 1);
    assert.deepEqual((await stored(other, tenant.id)).tenant, tenant, "by id and by name it is the same");
    assert.deepEqual(
      (await historyOf(store, "contested")).map(({ fromStatus, toStatus, actor }) => [
        fromStatus,
        toStatus,
        actor,
      ]),
      [[null, "requested", "anonymous"]],
    );
    assert.equal((await claimOne(store)).tenantId, tenant.id, "it is due at once");
    assert.equal(await store.getTenant({ idOrName: randomUUID() }), null);
  },
};

const remembersKeys: StoreBehaviour = {
  id: "idempotency-keys",
  title: "lets one of many repeated creations through, and remembers its answer until it expires",
  essential: true,
  async prove(harness) {
    const store = await harness.open();
    const key = { key: "k", requestHash: "r", ttlMs: 1_000 };
    const outcomes = await Promise.all(Array.from({ length: 6 }, () => create(store, newTenant(), key)));
    assert.equal(outcomes.filter(({ kind }) => kind === "created").length, 1);
    assert.equal(outcomes.filter(({ kind }) => kind === "key_used").length, 5);
    const answer = await store.findIdempotentAnswer({ key: "k" });
    assert.equal(answer?.requestHash, "r");
    assert.deepEqual((await stored(store, answer.tenant.id)).tenant, answer.tenant);
    const { total } = await store.listTenants({ ...EVERYTHING, limit: 10, offset: 0 });
    assert.equal(total, 1, "a refused creation writes nothing");
    await harness.pass(1_100);
    assert.equal(await store.findIdempotentAnswer({ key: "k" }), null, "a key expires");
  },
};

const EVERYTHING = {
  statuses: null,
  includeArchived: true,
  workflowSubState: null,
  hasWorkflowError: null,
  minRetryCount: null,
} as const;

const writesByCompareAndSet: StoreBehaviour = {
  id: "compare-and-set",
  title: "takes one of several writes to one revision, whoever wrote in between",
  essential: true,
  async prove(harness) {
    const [store, other] = await Promise.all([harness.open(), harness.open()]);
    const { id } = await created(store);
    const read = await stored(store, id);
    const outcomes = await Promise.all(
      Array.from({ length: 6 }, (_, index) => clientWrite(index % 2 === 0 ? store : other, read)),
    );
    assert.deepEqual(outcomes.map(({ kind }) => kind).sort(), [
      ...Array.from({ length: 5 }, () => "outdated"),
      "written",
    ]);
    // The reconciler's writes count as well.
    const second = await stored(store, id);
    const taken = await claimOne(store);
    const tenant = { ...taken.stored.tenant, statusMessage: "reconciled" };
    assert.deepEqual(await store.commit([commitOf(taken, { tenant })]), ["committed"]);
    assert.equal((await clientWrite(other, second)).kind, "outdated");
    const third = await clientWrite(other, await stored(other, id));
    assert.equal(third.kind, "written");
    assert.equal((await stored(store, id)).tenant.generation, 3, "two of the writes were taken");
    assert.equal((await historyOf(store, id)).length, 3, "and each has its line of history");
  },
};

const losesNothing: StoreBehaviour = {
  id: "lost-answer",
  title: "leaves a write whose answer was lost done once, and its repetition is refused",
  essential: true,
  async prove(harness) {
    const store = await harness.open();
    const losing = await harness.openLosingAnswer();
    await created(store);
    const taken = await claimOne(store);
    const commit = commitOf(taken, {
      tenant: { ...taken.stored.tenant, status: "provisioning" },
      newOperation: newOperation(taken),
      transition: transitionTo(taken, "provisioning"),
      release: { dueInMs: 0, resyncInMs: null },
    });
    await assert.rejects(losing.commit([commit]), "the answer is lost");
    const before = await visible(store, taken.tenantId);
    const [again] = await losing.commit([commit]);
    assert.equal(again, "lost", "the lease was given back by the first");
    assert.deepEqual(await visible(store, taken.tenantId), before, "nothing happened twice");
    const next = await claimOne(store);
    assert.deepEqual(next.request, commit.newOperation?.request, "the intent is there to be repeated");
    assert.equal(next.operation?.executionId, commit.newOperation?.operation.executionId);
  },
};

const listsInPages: StoreBehaviour = {
  id: "lists",
  title: "lists tenants in a stable order, page by page, as a filter says",
  essential: false,
  async prove(harness) {
    const store = await harness.open();
    const ids: string[] = [];
    for (let index = 0; index < 7; index += 1) {
      ids.push((await created(store, index % 2 === 0 ? {} : { status: "ready" })).id);
    }
    const page = async (offset: number, statuses: readonly "ready"[] | null = null) => {
      const listed = await store.listTenants({ ...EVERYTHING, statuses, limit: 3, offset });
      return { ids: listed.tenants.map(({ id }) => id), total: listed.total };
    };
    const pages = [await page(0), await page(3), await page(6), await page(9)];
    assert.deepEqual(
      pages.map(({ total }) => total),
      [7, 7, 7, 7],
    );
    assert.deepEqual(pages.flatMap((each) => each.ids).sort(), [...ids].sort());
    assert.deepEqual(
      pages.map((each) => each.ids.length),
      [3, 3, 1, 0],
    );
    assert.equal((await page(0, ["ready"])).total, 3);
  },
};

const keepsTenantsApart: StoreBehaviour = {
  id: "tenants-apart",
  title: "shows of each tenant its own history and operations only, also under a name that had others",
  essential: true,
  async prove(harness) {
    const store = await harness.open();
    const first = await created(store, { name: "again" });
    const neighbour = await created(store);
    const claims = await store.claimDue({
      leaseOwner: "a",
      leaseDurationMs: 60_000,
      limits: { interactive: 10, repair: 0, background: 0 },
      starts: UNBOUNDED,
    });
    for (const taken of claims) {
      await store.commit([commitOf(taken, { newOperation: newOperation(taken) })]);
    }
    const doomed = claims.find(({ tenantId }) => tenantId === first.id);
    assert.ok(doomed !== undefined);
    await store.commit([
      commitOf(doomed, { remove: { tombstoneTtlMs: 60_000 }, transition: transitionTo(doomed, null) }),
    ]);
    const second = await created(store, { name: "again" });
    assert.equal((await historyOf(store, second.id)).length, 1);
    assert.equal((await historyOf(store, "again")).length, 3, "by name: of every tenant that ever had it");
    for (const [id, count] of [
      [second.id, 0],
      [neighbour.id, 1],
      [first.id, 1],
    ] as const) {
      const operations = await store.listOperations({ idOrName: id, limit: 10, offset: 0 });
      assert.deepEqual(
        operations.map(({ tenantId }) => tenantId),
        Array.from({ length: count }, () => id),
      );
    }
  },
};

export const clientBehaviours: readonly StoreBehaviour[] = [
  createsAtomically,
  remembersKeys,
  writesByCompareAndSet,
  losesNothing,
  listsInPages,
  keepsTenantsApart,
];
