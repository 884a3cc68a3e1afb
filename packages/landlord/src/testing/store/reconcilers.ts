/** What reconcilers of several servers do to one database. */
import assert from "node:assert/strict";
import type { Behaviour } from "../behaviour.ts";
import type { Claim, Store } from "../../store/store.ts";
import type { StoreHarness } from "./harness.ts";
import {
  ALL_LANES,
  claim,
  claimOne,
  clientWrite,
  commitOf,
  created,
  everything,
  historyOf,
  newOperation,
  stored,
  transitionTo,
  updateOf,
  visible,
} from "./records.ts";

type StoreBehaviour = Behaviour<StoreHarness>;

const leasesOnce: StoreBehaviour = {
  id: "leases",
  title: "leases each due tenant to one of many claimers, and leaves none",
  essential: true,
  async prove(harness) {
    const stores = await Promise.all([harness.open(), harness.open()]);
    const ids = await Promise.all(
      Array.from({ length: 40 }, async (_, index) => (await created(stores[index % 2] as Store)).id),
    );
    const limits = { interactive: 7, repair: 0, background: 0 };
    const taken = await Promise.all(
      Array.from({ length: 8 }, async (_, index) => {
        const mine: string[] = [];
        for (;;) {
          const claims = await claim(stores[index % 2] as Store, `claimer-${index}`, limits);
          assert.ok(claims.length <= 7, "no claim is larger than its limit");
          if (claims.length === 0) return mine;
          mine.push(...claims.map(({ tenantId }) => tenantId));
        }
      }),
    );
    const rest = (await claim(stores[0])).map(({ tenantId }) => tenantId);
    assert.deepEqual([...taken.flat(), ...rest].sort(), [...ids].sort());
    assert.deepEqual(await claim(stores[1]), [], "what is leased is not claimed");
  },
};

const shortensLeases: StoreBehaviour = {
  id: "shorter-lease",
  title: "shortens a lease on request, and never makes one longer",
  essential: true,
  async prove(harness) {
    const store = await harness.open();
    await created(store);
    const taken = await claimOne(store, "a", 60_000);
    assert.deepEqual(await store.commit([commitOf(taken, { leaseMs: 100 })]), ["committed"]);
    assert.deepEqual(await claim(store, "b"), [], "it is a lease still");
    assert.deepEqual(await store.commit([commitOf(taken, { leaseMs: 60_000 })]), ["committed"]);
    await harness.pass(150);
    const next = await claimOne(store, "b", 60_000);
    assert.equal(next.tenantId, taken.tenantId, "and is over when it was asked to be");
  },
};

const takesOverExpiredLeases: StoreBehaviour = {
  id: "take-over",
  title: "gives a tenant whose lease ran out to the next claimer, and fences the late holder off",
  essential: true,
  async prove(harness) {
    const [store, other] = await Promise.all([harness.open(), harness.open()]);
    const { id } = await created(store);
    const late = await claimOne(store, "late", 100);
    await harness.pass(150);
    const present = await claimOne(other, "present");
    assert.ok(present.leaseToken > late.leaseToken, "the fence rises");
    const impostor = {
      ...commitOf(present, { release: { dueInMs: 0, resyncInMs: null } }),
      leaseOwner: "late",
    };
    assert.deepEqual(await other.commit([impostor]), ["lost"], "a token alone opens nothing");
    const before = await visible(store, id);
    assert.deepEqual(await store.commit([everything(late)]), ["lost"]);
    assert.deepEqual(
      await store.commit([commitOf(late, { remove: { tombstoneTtlMs: 1_000 } })]),
      ["lost"],
      "nor can it remove",
    );
    assert.deepEqual(
      await store.commit([
        commitOf(late, { tenant: { ...late.stored.tenant, statusMessage: "late" } }),
        commitOf(present),
      ]),
      ["lost", "committed"],
      "nor in one batch with the present holder",
    );
    assert.deepEqual(await visible(store, id), before, "a late holder changes nothing");
    assert.deepEqual(await claim(store, "third"), [], "and does not end the present lease");
    assert.deepEqual(await other.commit([everything(present)]), ["committed"]);
  },
};

const refusesOutdatedCommits: StoreBehaviour = {
  id: "outdated-commits",
  title: "refuses a commit to a tenant that a client wrote since, and makes it due at once",
  essential: true,
  async prove(harness) {
    const store = await harness.open();
    for (const kind of ["commit", "removal"] as const) {
      const { id } = await created(store);
      const taken = await claimOne(store);
      await clientWrite(store, await stored(store, id));
      const before = await visible(store, id);
      const commit =
        kind === "commit" ? everything(taken) : commitOf(taken, { remove: { tombstoneTtlMs: 1_000 } });
      assert.deepEqual(await store.commit([commit]), ["outdated"]);
      assert.deepEqual(await visible(store, id), before);
      const again = await claimOne(store, "next");
      assert.equal(again.stored.tenant.generation, 2, "the client's write is what is seen next");
      await store.commit([commitOf(again, { release: { dueInMs: null, resyncInMs: null } })]);
    }
  },
};

const keepsWakeUps: StoreBehaviour = {
  id: "wake-ups",
  title: "never loses a wake-up, also when it comes while the tenant is leased",
  essential: true,
  async prove(harness) {
    const store = await harness.open();
    const { id } = await created(store);
    for (const dueInMs of [null, 3_600_000]) {
      for (const how of ["wake", "write"] as const) {
        const taken = await claimOne(store);
        if (how === "wake") await store.wake({ tenantIds: [id] });
        assert.deepEqual(await claim(store, "b"), [], "the lease holds");
        assert.deepEqual(await store.commit([commitOf(taken, { release: { dueInMs, resyncInMs: null } })]), [
          "committed",
        ]);
        if (how === "write") {
          assert.deepEqual(await claim(store, "b"), [], "it is not due");
          await clientWrite(store, await stored(store, id));
        }
        const woken = await claimOne(store, "b");
        assert.equal(woken.tenantId, id, `released for ${dueInMs} ms, a ${how} makes it due`);
        await store.commit([commitOf(woken, { release: { dueInMs: 0, resyncInMs: null } })]);
      }
    }
  },
};

const waitsUntilDue: StoreBehaviour = {
  id: "due-times",
  title: "gives a tenant out when it is due, by the database's clock, and not before",
  essential: true,
  async prove(harness) {
    const store = await harness.open();
    await created(store);
    const taken = await claimOne(store);
    await store.commit([commitOf(taken, { release: { dueInMs: 400, resyncInMs: null } })]);
    assert.deepEqual(await claim(store), [], "not before");
    await harness.pass(450);
    const again = await claimOne(store);
    assert.ok(again.now.getTime() - taken.now.getTime() >= 400, "the claim tells the database's time");
  },
};

const keepsLanesApart: StoreBehaviour = {
  id: "lanes",
  title: "limits each lane by itself, and a client's write moves its tenant to its own",
  essential: true,
  async prove(harness) {
    const store = await harness.open();
    const lanes = ["interactive", "repair", "background"] as const;
    for (const lane of lanes) {
      for (let index = 0; index < 3; index += 1) await created(store, {}, lane);
    }
    const limits = { interactive: 2, repair: 0, background: 1 };
    assert.equal((await claim(store, "a", limits)).length, 3);
    assert.equal(
      (await claim(store, "a", { ...limits, background: 0 })).length,
      1,
      "one interactive is left",
    );
    const moved = await created(store, {}, "background");
    const only = { interactive: 10, repair: 0, background: 0 };
    assert.deepEqual(await claim(store, "a", only), []);
    await clientWrite(store, await stored(store, moved.id));
    assert.deepEqual(
      (await claim(store, "a", only)).map(({ tenantId }) => tenantId),
      [moved.id],
    );
  },
};

const commitsAllOrNothing: StoreBehaviour = {
  id: "atomic-commits",
  title: "writes tenant, ledger, history and due time together, and answers for each commit of a batch",
  essential: true,
  async prove(harness) {
    const store = await harness.open();
    await Promise.all(Array.from({ length: 4 }, () => created(store)));
    const claims = await claim(store);
    const [a, b, c, d] = claims as [Claim, Claim, Claim, Claim];
    await clientWrite(store, await stored(store, b.tenantId));
    const outcomes = await store.commit([
      everything(d),
      { ...everything(c), leaseToken: c.leaseToken + 1 },
      everything(b),
      everything(a),
    ]);
    assert.deepEqual(outcomes, ["committed", "lost", "outdated", "committed"]);
    for (const [taken, isCommitted] of [
      [a, true],
      [b, false],
      [c, false],
      [d, true],
    ] as const) {
      const { tenant } = await stored(store, taken.tenantId);
      const operations = await store.listOperations({ idOrName: taken.tenantId, limit: 10, offset: 0 });
      const history = await historyOf(store, taken.tenantId);
      assert.equal(tenant.statusMessage === "by a commit", isCommitted);
      assert.equal(operations.length, isCommitted ? 1 : 0);
      assert.equal(
        history.some(({ reason }) => reason === "conformance"),
        isCommitted,
      );
    }
    assert.deepEqual(await store.commit([]), []);
  },
};

const keepsOneOperation: StoreBehaviour = {
  id: "one-operation",
  title: "holds one unfinished operation of a tenant, closes it once, and keeps its request until then",
  essential: true,
  async prove(harness) {
    const store = await harness.open();
    const { id } = await created(store);
    const taken = await claimOne(store);
    const opening = newOperation(taken);
    await store.commit([
      commitOf(taken, { newOperation: opening, release: { dueInMs: 0, resyncInMs: null } }),
    ]);
    const next = await claimOne(store);
    assert.deepEqual(next.request, opening.request);
    assert.equal(next.operation?.id, opening.operation.id);
    assert.equal(next.operation.invokedAt, null);
    const before = await visible(store, id);
    await assert.rejects(store.commit([commitOf(next, { newOperation: newOperation(next) })]));
    assert.deepEqual(await visible(store, id), before, "a second unfinished operation is refused, whole");

    const running = updateOf(opening, { invoked: true, executionHandle: "handle", subState: "running" });
    await store.commit([
      commitOf(next, { operationUpdate: running, release: { dueInMs: 0, resyncInMs: null } }),
    ]);
    const watched = await claimOne(store);
    assert.ok(watched.operation?.invokedAt instanceof Date);
    assert.equal(watched.operation.executionHandle, "handle");
    const error = { code: "c", message: "m" };
    const close = updateOf(opening, { ...running, outcome: "failed", error });
    await store.commit([commitOf(watched, { operationUpdate: close })]);
    await store.commit([commitOf(watched, { operationUpdate: { ...close, outcome: "succeeded" } })]);
    const second = newOperation(watched);
    assert.deepEqual(await store.commit([commitOf(watched, { newOperation: second })]), ["committed"]);
    const ledger = await store.listOperations({ idOrName: id, limit: 10, offset: 0 });
    assert.deepEqual(
      new Map(ledger.map((row) => [row.id, row.outcome])),
      new Map([
        [opening.operation.id, "failed"],
        [second.operation.id, null],
      ]),
      "what was closed stays as it was closed",
    );
  },
};

const removesForGood: StoreBehaviour = {
  id: "removal",
  title: "removes a tenant and leaves a tombstone and its history; its name is free again",
  essential: true,
  async prove(harness) {
    const store = await harness.open();
    const scopes = ["docker:one"];
    const { id, name } = await created(store, {
      observed: { config: null, resourceIds: {}, endpoints: [], health: "absent", scopes },
    });
    const taken = await claimOne(store);
    const opening = newOperation(taken);
    await store.commit([commitOf(taken, { newOperation: opening })]);
    const removal = commitOf(taken, {
      remove: { tombstoneTtlMs: 60_000 },
      transition: transitionTo(taken, null),
      operationUpdate: updateOf(opening, { invoked: true, outcome: "succeeded" }),
    });
    assert.deepEqual(await store.commit([removal]), ["committed"]);
    assert.equal(await store.getTenant({ idOrName: id }), null);
    assert.deepEqual(await claim(store), [], "nothing of it is due");
    const [tombstone] = await store.listTombstones({ limit: 10 });
    assert.deepEqual(
      { id: tombstone?.tenantId, generation: tombstone?.generation, scopes: tombstone?.scopes },
      { id, generation: 1, scopes },
    );
    assert.deepEqual(
      (await historyOf(store, id)).map(({ toStatus }) => toStatus),
      [null, "requested"],
    );
    assert.notEqual((await created(store, { name })).id, id);
    assert.deepEqual(await store.commit([removal]), ["lost"], "again, it is gone");
  },
};

const keepsBreakers: StoreBehaviour = {
  id: "breakers",
  title: "opens a breaker for all, and lets one of many probe at a time",
  essential: true,
  async prove(harness) {
    const [store, other] = await Promise.all([harness.open(), harness.open()]);
    const key = "engine:conformance";
    assert.equal(await store.takeProbe({ key, probeInMs: 1_000 }), false, "a closed one is not probed");
    await store.openBreaker({ key, error: "down", probeInMs: 0 });
    const asked = await Promise.all(
      Array.from({ length: 10 }, (_, index) =>
        (index % 2 === 0 ? store : other).takeProbe({ key, probeInMs: 60_000 }),
      ),
    );
    assert.equal(asked.filter(Boolean).length, 1);
    const [open] = await other.listBreakers();
    assert.deepEqual([open?.state, open?.failures, open?.lastError], ["open", 1, "down"]);
    await other.closeBreaker({ key });
    assert.equal((await store.listBreakers())[0]?.state, "closed");
    assert.equal(await store.takeProbe({ key, probeInMs: 0 }), false);
  },
};

const sequencesTransitions: StoreBehaviour = {
  id: "positions",
  title: "gives transitions positions without gap or repeat, in each tenant's order, whoever gives them",
  essential: true,
  async prove(harness) {
    const stores = await Promise.all([harness.open(), harness.open()]);
    const ids = await Promise.all([0, 1, 2, 3].map(async () => (await created(stores[0])).id));
    let writing = true;
    const sequencers = stores.map(async (store) => {
      let given = 0;
      while (writing) given += (await store.sequenceTransitions()).count;
      return given;
    });
    await Promise.all(
      ids.map(async (id) => {
        for (let round = 0; round < 5; round += 1) {
          assert.equal((await clientWrite(stores[1], await stored(stores[1], id))).kind, "written");
        }
      }),
    ).finally(() => (writing = false));
    const given = (await Promise.all(sequencers)).reduce((sum, count) => sum + count, 0);
    const { count: rest } = await stores[0].sequenceTransitions();
    assert.equal(given + rest, ids.length * 6);
    const positions: number[] = [];
    for (const id of ids) {
      const own = [...(await historyOf(stores[0], id))].reverse().map(({ position }) => position ?? 0);
      assert.deepEqual(
        own,
        [...own].sort((x, y) => x - y),
        "a tenant's positions rise",
      );
      positions.push(...own);
    }
    assert.deepEqual(
      positions.sort((x, y) => x - y),
      Array.from({ length: ids.length * 6 }, (_, index) => index + 1),
    );
  },
};

const keepsHints: StoreBehaviour = {
  id: "worker-hints",
  title: "keeps workers' hints with the operation that they are about, and no others",
  essential: false,
  async prove(harness) {
    const store = await harness.open();
    const { id: idOrName } = await created(store);
    const taken = await claimOne(store);
    const opening = newOperation(taken);
    await store.commit([commitOf(taken, { newOperation: opening })]);
    const { id: operationId, executionId } = opening.operation;
    assert.equal(await store.recordProgress({ executionId, phase: "pulling", message: "half" }), true);
    assert.equal(await store.recordProgress({ executionId: "stranger", phase: "p", message: "" }), false);
    const events = await store.listOperationEvents({ idOrName, operationId });
    assert.deepEqual(
      events?.map(({ phase, message }) => [phase, message]),
      [["pulling", "half"]],
    );
    const other = await created(store);
    assert.equal(
      await store.listOperationEvents({ idOrName: other.id, operationId }),
      null,
      "nobody else's operation",
    );
  },
};

const collectsGarbage: StoreBehaviour = {
  id: "retention",
  title: "forgets tombstones and history when their time is over, and no living tenant",
  essential: true,
  async prove(harness) {
    const store = await harness.open();
    const living = await created(store);
    const claims = await claim(store);
    await store.commit(
      claims.map((each) => commitOf(each, { release: { dueInMs: null, resyncInMs: null } })),
    );
    await created(store);
    const [doomed] = await claim(store, "a", ALL_LANES);
    assert.ok(doomed !== undefined);
    await store.commit([
      commitOf(doomed, { remove: { tombstoneTtlMs: 200 }, transition: transitionTo(doomed, null) }),
    ]);
    // The newest line of history may stay whatever its age: positions go on from it.
    const last = await created(store);
    while ((await store.sequenceTransitions()).count > 0);
    await store.collectGarbage({ historyRetentionMs: 3_600_000 });
    assert.equal((await store.listTombstones({ limit: 10 })).length, 1, "not before");
    await harness.pass(300);
    while ((await store.collectGarbage({ historyRetentionMs: 100 })) > 0);
    assert.deepEqual(await store.listTombstones({ limit: 10 }), []);
    assert.deepEqual(await historyOf(store, doomed.tenantId), []);
    for (const { id } of [living, last]) assert.equal((await stored(store, id)).tenant.id, id);
  },
};

export const reconcilerBehaviours: readonly StoreBehaviour[] = [
  leasesOnce,
  shortensLeases,
  takesOverExpiredLeases,
  refusesOutdatedCommits,
  keepsWakeUps,
  waitsUntilDue,
  keepsLanesApart,
  commitsAllOrNothing,
  keepsOneOperation,
  removesForGood,
  keepsBreakers,
  sequencesTransitions,
  keepsHints,
  collectsGarbage,
];
