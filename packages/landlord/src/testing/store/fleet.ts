/** What concerns the fleet as a whole: who may start, who is looked at again, what belongs to nobody. */
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import type { Behaviour } from "../behaviour.ts";
import type { Lane, Tenant } from "../../domain/tenant.ts";
import type { Claim, NewOperation, Orphan, StartLimits, Store } from "../../store/store.ts";
import type { StoreHarness } from "./harness.ts";
import {
  ALL_LANES,
  claim,
  claimOne,
  clientWrite,
  commitOf,
  created,
  historyOf,
  newOperation,
  newTenant,
  stored,
  UNBOUNDED,
  updateOf,
} from "./records.ts";

type StoreBehaviour = Behaviour<StoreHarness>;

const LEASE_MS = 60_000;

async function createdMany(
  store: Store,
  count: number,
  change: Partial<Tenant>,
  lane: Lane = "interactive",
): Promise<string[]> {
  const ids: string[] = [];
  for (let index = 0; index < count; index += 1) ids.push((await created(store, change, lane)).id);
  return ids;
}

const ownedBy = (owner: string): Partial<Tenant> => ({ labels: { owner } });
const ownersOf = (claims: readonly Claim[]): string[] =>
  claims.map(({ stored: { tenant } }) => tenant.labels["owner"] ?? "").sort();

/** Opens an operation for what was claimed, and gives it back. */
async function start(store: Store, taken: Claim): Promise<NewOperation> {
  const operation = newOperation(taken);
  const release = { dueInMs: 3_600_000, resyncInMs: null };
  const outcomes = await store.commit([commitOf(taken, { newOperation: operation, release })]);
  assert.deepEqual(outcomes, ["committed"]);
  return operation;
}

const takesTurns: StoreBehaviour = {
  id: "owners-in-turn",
  title: "starts tenants in turns of their owners, and counts what an owner has in flight",
  essential: true,
  async prove(harness) {
    const store = await harness.open();
    await createdMany(store, 20, ownedBy("many"));
    await createdMany(store, 3, ownedBy("few"));
    const limits = { interactive: 6, repair: 0, background: 0 };
    const first = await claim(store, "a", limits);
    assert.deepEqual(ownersOf(first), ["few", "few", "few", "many", "many", "many"]);
    for (const taken of first) await start(store, taken);
    await createdMany(store, 4, ownedBy("late"));
    const second = await claim(store, "a", { ...limits, interactive: 4 });
    assert.deepEqual(
      ownersOf(second),
      ["late", "late", "late", "many"],
      "whoever has nothing in flight comes first, until it has had as many turns",
    );
  },
};

const boundsStarts: StoreBehaviour = {
  id: "start-limits",
  title:
    "starts within the limits of the fleet, of a provider and of repairs, and always looks after what is in flight",
  essential: true,
  async prove(harness) {
    const store = await harness.open();
    const within = (starts: Partial<StartLimits>): Promise<readonly Claim[]> =>
      claim(store, "a", ALL_LANES, LEASE_MS, { ...UNBOUNDED, ...starts });
    await createdMany(store, 6, { computeProvider: "narrow" });
    await createdMany(store, 6, { computeProvider: "wide" });
    assert.deepEqual(await within({ blockedComputeProviders: ["narrow", "wide"] }), []);
    const limited: Partial<StartLimits> = {
      byComputeProvider: { narrow: { maxInFlight: 2, startsPerSecond: null } },
    };
    const first = await within({ ...limited, maxInFlight: 5 });
    assert.equal(first.length, 5, "no more than the fleet's limit");
    const narrow = first.filter(({ stored: { tenant } }) => tenant.computeProvider === "narrow");
    assert.ok(narrow.length <= 2, "no more than the provider's limit");
    assert.deepEqual(await within({ ...limited, maxInFlight: 5 }), [], "what is leased to be started counts");
    const operations = new Map<string, NewOperation>();
    for (const taken of first) operations.set(taken.tenantId, await start(store, taken));
    assert.deepEqual(await within({ ...limited, maxInFlight: 5 }), [], "and so does what is in flight");
    const [[tenantId, operation]] = [...operations] as [[string, NewOperation]];
    await finish(store, tenantId, operation, within);
    assert.equal((await within({ ...limited, maxInFlight: 5 })).length, 1, "what has ended makes room");
  },
};

/** Ends one of those in flight, while nothing may start. */
async function finish(
  store: Store,
  tenantId: string,
  operation: NewOperation,
  within: (starts: Partial<StartLimits>) => Promise<readonly Claim[]>,
): Promise<void> {
  await store.wake({ tenantIds: [tenantId] });
  const [taken, ...more] = await within({ maxInFlight: 1, blockedComputeProviders: ["narrow", "wide"] });
  assert.ok(
    taken?.tenantId === tenantId && more.length === 0,
    "what is in flight is claimed beyond every limit",
  );
  const operationUpdate = updateOf(operation, { outcome: "succeeded" });
  await store.commit([commitOf(taken, { operationUpdate, release: { dueInMs: null, resyncInMs: null } })]);
}

const sharesRoom: StoreBehaviour = {
  id: "room-for-interactive",
  title: "leaves a fifth of the room in flight to interactive tenants, and bounds repairs by themselves",
  essential: true,
  async prove(harness) {
    const store = await harness.open();
    await createdMany(store, 12, {}, "background");
    const starts = { ...UNBOUNDED, maxInFlight: 10 };
    const bulk = await claim(store, "a", ALL_LANES, LEASE_MS, starts);
    assert.equal(bulk.length, 8, "bulk work takes four fifths");
    await createdMany(store, 5, {});
    const urgent = await claim(store, "a", ALL_LANES, LEASE_MS, starts);
    assert.equal(urgent.length, 2, "interactive work takes the rest");
    assert.ok(urgent.every(({ stored: { tenant } }) => bulk.every(({ tenantId }) => tenantId !== tenant.id)));

    const repaired = await harness.open();
    for (const taken of await claim(repaired)) {
      await repaired.commit([
        commitOf(taken, {
          tenant: taken.stored.tenant,
          restart: { lane: "repair" },
          release: { dueInMs: 0, resyncInMs: null },
        }),
      ]);
    }
    const limits = { interactive: 0, repair: 100, background: 0 };
    const repairs = await claim(repaired, "a", limits, LEASE_MS, { ...UNBOUNDED, repairsInFlight: 3 });
    assert.equal(repairs.length, 3, "a storm of repairs comes in small portions");
  },
};

const starvesNoLane: StoreBehaviour = {
  id: "no-lane-starves",
  title:
    "lets a lane with nothing in flight go first once it has waited too long, and only its oldest tenant",
  essential: true,
  async prove(harness) {
    const store = await harness.open();
    const patienceMs = 300;
    const next = (maxInFlight: number): Promise<readonly Claim[]> =>
      claim(store, "a", ALL_LANES, LEASE_MS, { ...UNBOUNDED, maxInFlight, patienceMs });
    const background = await createdMany(store, 2, {}, "background");
    const [going] = await createdMany(store, 1, {});
    const [urgent] = await next(1);
    assert.ok(urgent !== undefined && urgent.tenantId === going, "what is urgent goes first");
    await start(store, urgent);
    await harness.pass(patienceMs + 100);
    await createdMany(store, 2, {});
    assert.deepEqual(await next(1), [], "nobody goes beyond the fleet's limit");
    const taken = (await next(3)).map(({ tenantId }) => tenantId);
    assert.equal(taken.length, 2);
    assert.ok(
      taken.includes(background[0] ?? ""),
      "the oldest of the lane that waited in vain is among them",
    );
    assert.ok(!taken.includes(background[1] ?? ""), "the next one waits until its lane is empty again");
  },
};

const boundsRates: StoreBehaviour = {
  id: "start-rate",
  title: "starts no more a second than a provider takes",
  essential: true,
  async prove(harness) {
    const [store, other] = await Promise.all([harness.open(), harness.open()]);
    await createdMany(store, 40, { computeProvider: "slow" });
    const starts: StartLimits = {
      ...UNBOUNDED,
      byComputeProvider: { slow: { maxInFlight: null, startsPerSecond: 4 } },
    };
    const taken = async (): Promise<number> => {
      const claims = await Promise.all(
        [store, other].map((server) => claim(server, "a", ALL_LANES, LEASE_MS, starts)),
      );
      return claims.flat().length;
    };
    const first = await taken();
    assert.ok(first >= 1 && first <= 4, `a second's worth at most may come at once, and not ${first}`);
    await harness.pass(600);
    const second = await taken();
    assert.ok(second >= 1, "and more come with time");
    let all = first + second;
    for (let round = 0; round < 8; round += 1) all += await taken();
    assert.ok(all <= 20, `${all} of 40 in little more than half a second`);
  },
};

const looksAgain: StoreBehaviour = {
  id: "resync",
  title:
    "gives each settled tenant a next look, to one server, as many in a beat as it may, and a write goes first",
  essential: true,
  async prove(harness) {
    const [store, other] = await Promise.all([harness.open(), harness.open()]);
    const settle = async (resyncInMs: number): Promise<void> => {
      for (const taken of await claim(store))
        await store.commit([commitOf(taken, { release: { dueInMs: null, resyncInMs } })]);
    };
    const busy = await created(store, { status: "ready", observedGeneration: 1 });
    await settle(0);
    const ids = await createdMany(store, 5, { status: "ready", observedGeneration: 1 });
    await settle(0);
    await created(store, { status: "ready", observedGeneration: 1 });
    await settle(3_600_000);
    await store.wake({ tenantIds: [busy.id] });
    const beat = { leaseOwner: "a", leaseDurationMs: LEASE_MS, limit: 3, everyMs: 200 };
    const together = await Promise.all([store.claimResync(beat), other.claimResync(beat)]);
    assert.deepEqual(
      together.map(({ length }) => length).sort((a, b) => a - b),
      [0, 3],
      "one server has the beat",
    );
    assert.equal(
      (await claimOne(store)).tenantId,
      busy.id,
      "what is due is worked on, and no look is due work",
    );
    const first = together.flat();

    // A write during the look: the look's commit is outdated, and the tenant is worked on.
    const [written] = first as [Claim];
    await clientWrite(store, await stored(store, written.tenantId));
    const release = { dueInMs: null, resyncInMs: 3_600_000 };
    assert.deepEqual(await store.commit(first.map((each) => commitOf(each, { release }))), [
      "outdated",
      "committed",
      "committed",
    ]);
    assert.equal((await claimOne(store)).tenantId, written.tenantId);

    await harness.pass(250);
    const second = await store.claimResync(beat);
    assert.equal(second.length, 2, "those that were not looked at yet, and nobody else");
    assert.deepEqual(
      [...first, ...second].map(({ tenantId }) => tenantId).sort(),
      [...ids].sort(),
      "everybody had a look",
    );
    await store.commit(second.map((each) => commitOf(each, { release })));
    await harness.pass(250);
    assert.deepEqual(await store.claimResync(beat), [], "who had one waits for the next");
    const asked = second.map(({ tenantId }) => tenantId);
    await store.requestResync({ tenantIds: [...asked, written.tenantId, randomUUID()] });
    await harness.pass(250);
    const third = await store.claimResync(beat);
    assert.deepEqual(third.map(({ tenantId }) => tenantId).sort(), [...asked].sort(), "one may be asked for");
    await store.commit([commitOf(third[0] as Claim, { release: { dueInMs: 0, resyncInMs: null } })]);
    assert.equal((await claimOne(store)).tenantId, third[0]?.tenantId, "what drifted becomes due");
  },
};

const restartsClocks: StoreBehaviour = {
  id: "restart",
  title: "counts the deadline anew, in another lane, when a course of operations begins anew",
  essential: true,
  async prove(harness) {
    const store = await harness.open();
    const { id, generationAt } = await created(store);
    await harness.pass(20);
    const taken = await claimOne(store);
    const tenant = { ...taken.stored.tenant, status: "updating" as const, generation: 2 };
    await store.commit([
      commitOf(taken, {
        tenant,
        generationRaised: true,
        restart: { lane: "background" },
        release: { dueInMs: 0, resyncInMs: null },
      }),
    ]);
    const after = (await stored(store, id)).tenant;
    assert.equal(after.generation, 2);
    assert.ok(after.generationAt > generationAt, "the deadline counts from now");
    const only = { interactive: 0, repair: 0, background: 10 };
    assert.equal((await claim(store, "a", only)).length, 1, "in the other lane");
  },
};

const orphan = (change: Partial<Orphan> = {}): Orphan => ({
  computeProvider: "mock",
  scope: "here",
  tenantId: randomUUID(),
  generation: 1,
  resourceIds: { id: "1" },
  ...change,
});

const remembersOrphans: StoreBehaviour = {
  id: "orphans",
  title: "knows whose a resource is, and since when it belongs to nobody",
  essential: true,
  async prove(harness) {
    const store = await harness.open();
    const tenant = await created(store);
    const gone = await created(store, { generation: 3, observedGeneration: 0 });
    const claims = await claim(store);
    const ended = claims.find(({ tenantId }) => tenantId === gone.id) as Claim;
    await store.commit([
      commitOf(ended, {
        remove: { tombstoneTtlMs: 3_600_000 },
        release: { dueInMs: null, resyncInMs: null },
      }),
    ]);
    const [owned, buried, nobody] = await store.describeOwners({
      tenantIds: [tenant.id, gone.id, randomUUID()],
    });
    assert.equal(owned?.tenant?.name, tenant.name);
    assert.equal(owned.tombstone, null);
    assert.equal(buried?.tenant, null);
    assert.equal(buried?.tombstone?.generation, 3);
    assert.deepEqual([nobody?.tenant, nobody?.tombstone], [null, null]);

    const [kept, lost, elsewhere] = [orphan(), orphan(), orphan({ scope: "there" })];
    await store.recordOrphans({
      computeProvider: "mock",
      scopes: ["here", "there"],
      orphans: [kept, lost, elsewhere],
    });
    await harness.pass(50);
    const again = await store.recordOrphans({ computeProvider: "mock", scopes: ["here"], orphans: [kept] });
    assert.equal(again.length, 1);
    assert.ok((again[0]?.ageMs ?? 0) >= 50, "its age counts from the first time that it was seen");
    assert.deepEqual(
      (await store.listOrphans({ limit: 10 })).map(({ tenantId }) => tenantId).sort(),
      [kept.tenantId, elsewhere.tenantId].sort(),
      "what is seen no more is forgotten; what was not looked for is not",
    );
  },
};

const adoptsOrphans: StoreBehaviour = {
  id: "adoption",
  title: "adopts what belongs to nobody once, as a tenant that is being deleted, and leaves tenants alone",
  essential: true,
  async prove(harness) {
    const store = await harness.open();
    const tenant = await created(store);
    await store.commit([commitOf(await claimOne(store), { release: { dueInMs: null, resyncInMs: null } })]);
    const seen = orphan();
    await store.recordOrphans({ computeProvider: "mock", scopes: ["here"], orphans: [seen] });
    const adoptive = newTenant({ id: seen.tenantId, status: "deleting", intent: "deleted", generation: 7 });
    const rival = newTenant({ id: tenant.id, status: "deleting", intent: "deleted" });
    const adopt = (): Promise<number> =>
      store.adoptOrphans({ tenants: [adoptive, rival], reason: "orphan_adopted", lane: "repair" });
    assert.equal(await adopt(), 1);
    assert.equal(await adopt(), 0, "once");
    assert.equal((await stored(store, tenant.id)).tenant.status, tenant.status, "a tenant stays what it is");
    const taken = await claimOne(store);
    assert.equal(taken.tenantId, seen.tenantId, "it is due");
    assert.equal(taken.stored.tenant.generation, 7);
    const [transition] = await historyOf(store, seen.tenantId);
    assert.deepEqual(
      [transition?.fromStatus, transition?.toStatus, transition?.reason],
      [null, "deleting", "orphan_adopted"],
    );
    assert.deepEqual(await store.listOrphans({ limit: 10 }), []);
  },
};

const sharesChores: StoreBehaviour = {
  id: "chores",
  title: "gives a chore to one server in its time, or when it is asked for, with its options",
  essential: true,
  async prove(harness) {
    const [store, other] = await Promise.all([harness.open(), harness.open()]);
    const chore = { name: "tidy", everyMs: 60_000 };
    const taken = await Promise.all([store.takeChore(chore), other.takeChore(chore)]);
    assert.equal(taken.filter((options) => options !== null).length, 1);
    await store.finishChore({ name: "tidy", report: { found: 1 } });
    assert.equal(await other.takeChore(chore), null, "not before its time");
    const requestedAt = await other.requestChore({ name: "tidy", options: { all: true } });
    assert.deepEqual(await store.takeChore(chore), { all: true }, "asked for, it is due at once");
    await store.finishChore({ name: "tidy", report: { found: 2 } });
    const known = await other.getChore({ name: "tidy" });
    assert.deepEqual(known?.report, { found: 2 });
    assert.ok(known.finishedAt !== null && known.finishedAt >= requestedAt, "its end is told");
    await other.requestChore({ name: "tidy", options: {} });
    assert.deepEqual(await store.takeChore(chore), {}, "options hold once");
    assert.equal(await other.getChore({ name: "unknown" }), null);
  },
};

export const fleetBehaviours: readonly StoreBehaviour[] = [
  takesTurns,
  boundsStarts,
  sharesRoom,
  starvesNoLane,
  boundsRates,
  looksAgain,
  restartsClocks,
  remembersOrphans,
  adoptsOrphans,
  sharesChores,
];
