/** Fenced commits: all of it or nothing, and never over somebody else's write. */
import { randomUUID } from "node:crypto";
import pg from "pg";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { contents } from "../http/kit.ts";
import { eventually } from "../support/eventually.ts";
import {
  ALL_LANES,
  claim,
  claimOne,
  clientWrite,
  commitOf,
  created,
  dueIn,
  newOperation,
  openStoreUnderTest,
  stored,
  transitionTo,
  type StoreUnderTest,
} from "./kit.ts";

let under: StoreUnderTest;
beforeEach(async () => {
  under = await openStoreUnderTest();
});
afterEach(() => under.close());

/** A commit that touches every table. */
function everything(from: Awaited<ReturnType<typeof claimOne>>) {
  return commitOf(from, {
    tenant: { ...from.stored.tenant, status: "provisioning", statusMessage: "x" },
    newOperation: newOperation(from),
    transition: transitionTo(from, "provisioning"),
    release: { dueInMs: 5_000, resyncInMs: null },
  });
}

it("writes tenant, ledger, history and due time together", async () => {
  const { id } = await created(under.store);
  const taken = await claimOne(under.store);
  const commit = everything(taken);
  expect(await under.store.commit([commit])).toEqual(["committed"]);
  const after = await stored(under.store, id);
  expect(after).toMatchObject({
    revision: 2,
    tenant: { status: "provisioning", statusMessage: "x", version: 1 },
  });
  expect(await under.store.listOperations({ idOrName: id, limit: 10, offset: 0 })).toMatchObject([
    { id: commit.newOperation?.operation.id, outcome: null, finishedAt: null },
  ]);
  expect(await under.store.listTransitions({ idOrName: id, limit: 10, offset: 0 })).toMatchObject([
    { fromStatus: "requested", toStatus: "provisioning", actor: "reconciler" },
    { fromStatus: null, toStatus: "requested", actor: "anonymous" },
  ]);
  const due = await dueIn(under.database, id);
  expect(due).toBeGreaterThan(3);
  expect(due).toBeLessThan(6);
});

describe("lost: nothing is written in any table", () => {
  it.each([
    "an older token",
    "a token of the future",
    "a lease that was given back",
    "a tenant that is gone",
  ])("%s", async (how) => {
    await created(under.store);
    const taken = await claimOne(under.store);
    let commit = { ...everything(taken), operationUpdate: null };
    switch (how) {
      case "an older token":
        await under.database.query(`UPDATE tenant_work SET lease_token = lease_token + 1`);
        break;
      case "a token of the future":
        commit = { ...commit, leaseToken: taken.leaseToken + 1 };
        break;
      case "a lease that was given back":
        await under.store.commit([commitOf(taken, { release: { dueInMs: 60_000, resyncInMs: null } })]);
        break;
      default:
        await under.database.query(`DELETE FROM tenant_work`);
    }
    const before = await contents(under.database);
    expect(await under.store.commit([commit])).toEqual(["lost"]);
    expect(
      await under.store.commit([{ ...commit, newOperation: null, remove: { tombstoneTtlMs: 1_000 } }]),
    ).toEqual(["lost"]);
    expect(await contents(under.database)).toEqual(before);
  });
});

describe("outdated: a client wrote since the claim", () => {
  it.each(["a commit", "a removal"])(
    "%s changes nothing, gives the lease back, and the tenant is due now",
    async (what) => {
      const { id } = await created(under.store);
      const taken = await claimOne(under.store);
      await clientWrite(under.store, await stored(under.store, id));
      const before = await contents(under.database);
      const commit =
        what === "a commit"
          ? { ...everything(taken), release: null }
          : commitOf(taken, { remove: { tombstoneTtlMs: 1 }, release: { dueInMs: null, resyncInMs: null } });
      expect(await under.store.commit([commit])).toEqual(["outdated"]);
      const { tenant_work: _before, ...rest } = before;
      expect(await contents(under.database)).toMatchObject(rest);
      expect(await dueIn(under.database, id)).toBeLessThanOrEqual(0);
      const again = await claimOne(under.store, "b");
      expect(again.stored.tenant.generation).toBe(2);
      expect(again.leaseToken).toBe(taken.leaseToken + 1);
    },
  );

  it("also when the commit had to wait for the client's transaction", async () => {
    const { id } = await created(under.store);
    const taken = await claimOne(under.store);
    const writer = new pg.Client({ connectionString: under.database.url });
    await writer.connect();
    try {
      await writer.query(`BEGIN`);
      await writer.query(
        `UPDATE tenant_work SET wake_seq = wake_seq + 1, next_reconcile_at = now() WHERE tenant_id = $1`,
        [id],
      );
      await writer.query(`UPDATE tenants SET revision = revision + 1, generation = 2 WHERE id = $1`, [id]);
      const committing = under.store.commit([
        { ...everything(taken), release: { dueInMs: null, resyncInMs: null } },
      ]);
      await eventually(
        async () => (await under.database.query(`SELECT 1 FROM pg_locks WHERE NOT granted`)).length > 0,
        { what: "the commit waits for the client" },
      );
      await writer.query(`COMMIT`);
      expect(await committing).toEqual(["outdated"]);
    } finally {
      await writer.end();
    }
    expect((await stored(under.store, id)).tenant).toMatchObject({ status: "requested", generation: 2 });
    expect((await claimOne(under.store, "b")).stored.revision).toBe(2);
  });
});

describe("a wake-up during a lease is not lost", () => {
  it.each([null, 60_000])("released for %s ms, the tenant is due now", async (dueInMs) => {
    const { id } = await created(under.store);
    const taken = await claimOne(under.store);
    await under.store.wake({ tenantIds: [id] });
    expect(await claim(under.store, "b")).toEqual([]);
    expect(await under.store.commit([commitOf(taken, { release: { dueInMs, resyncInMs: null } })])).toEqual([
      "committed",
    ]);
    expect((await claimOne(under.store, "b")).tenantId).toBe(id);
  });

  it("also when the release had to wait for the waker's transaction", async () => {
    const { id } = await created(under.store);
    const taken = await claimOne(under.store);
    const waker = new pg.Client({ connectionString: under.database.url });
    await waker.connect();
    try {
      await waker.query(`BEGIN`);
      await waker.query(`UPDATE tenant_work SET wake_seq = wake_seq + 1 WHERE tenant_id = $1`, [id]);
      const releasing = under.store.commit([
        commitOf(taken, { release: { dueInMs: null, resyncInMs: null } }),
      ]);
      await eventually(
        async () => (await under.database.query(`SELECT 1 FROM pg_locks WHERE NOT granted`)).length > 0,
        { what: "the release waits for the waker" },
      );
      await waker.query(`COMMIT`);
      expect(await releasing).toEqual(["committed"]);
    } finally {
      await waker.end();
    }
    expect((await claimOne(under.store, "b")).tenantId).toBe(id);
  });
});

describe("the ledger", () => {
  it("has one unfinished operation for each tenant", async () => {
    await created(under.store);
    const taken = await claimOne(under.store);
    await under.store.commit([commitOf(taken, { newOperation: newOperation(taken) })]);
    const before = await contents(under.database);
    const second = commitOf(taken, {
      newOperation: newOperation(taken),
      transition: transitionTo(taken, "provisioning"),
    });
    await expect(under.store.commit([second])).rejects.toThrow(/operations_one_unfinished/);
    expect(await contents(under.database)).toEqual(before);
  });

  it("closes a row once, forgets its payload, and opens the next", async () => {
    const { id } = await created(under.store);
    const taken = await claimOne(under.store);
    const opening = newOperation(taken);
    await under.store.commit([commitOf(taken, { newOperation: opening })]);
    const update = {
      id: opening.operation.id,
      executionHandle: "inv",
      invoked: true,
      stopPhase: null,
      stopReason: null,
      subState: "running",
      retryCount: 2,
      error: null,
      outcome: null,
    } as const;
    await under.store.commit([commitOf(taken, { operationUpdate: update })]);
    const close = { ...update, outcome: "failed", error: { code: "c", message: "m" } } as const;
    await under.store.commit([commitOf(taken, { operationUpdate: close })]);
    await under.store.commit([commitOf(taken, { operationUpdate: { ...close, outcome: "succeeded" } })]);
    expect(await under.store.commit([commitOf(taken, { newOperation: newOperation(taken) })])).toEqual([
      "committed",
    ]);
    const rows = await under.database.query(
      `SELECT outcome, request, invoked_at IS NOT NULL AS invoked FROM operations ORDER BY created_at`,
    );
    expect(rows).toMatchObject([
      { outcome: "failed", request: null, invoked: true },
      { outcome: null, request: { payload: id } },
    ]);
  });
});

describe("a batch", () => {
  it("has one outcome for each commit, in order", async () => {
    await Promise.all(Array.from({ length: 4 }, () => created(under.store)));
    const claims = await claim(under.store);
    const [a, b, c, d] = claims;
    if (a === undefined || b === undefined || c === undefined || d === undefined)
      throw new Error("four were expected");
    await clientWrite(under.store, await stored(under.store, b.tenantId));
    const outcomes = await under.store.commit([
      everything(d),
      { ...everything(c), leaseToken: 99 },
      everything(b),
      everything(a),
    ]);
    expect(outcomes).toEqual(["committed", "lost", "outdated", "committed"]);
    expect(await under.store.commit([])).toEqual([]);
  });

  it("with a row that the database refuses commits all others", async () => {
    await Promise.all(Array.from({ length: 5 }, () => created(under.store)));
    const claims = await claim(under.store);
    const executionId = randomUUID();
    const commits = claims.map((each, index) => {
      const commit = everything(each);
      // Two rows with one execution id: the second is refused by its unique index.
      const operation = {
        ...newOperation(each).operation,
        ...(index === 1 || index === 2 ? { executionId } : {}),
      };
      return { ...commit, newOperation: { operation, request: {} } };
    });
    await expect(under.store.commit(commits)).rejects.toThrow(/operations_execution_id_key/);
    const rows = await under.database.query(`SELECT id FROM tenants WHERE status = 'provisioning'`);
    expect(rows.map((row) => row["id"]).sort()).toEqual(
      claims
        .filter((_, index) => index !== 2)
        .map((each) => each.tenantId)
        .sort(),
    );
  });
});

it("keeps what a worker reported even if PostgreSQL has no text for it", async () => {
  const { id } = await created(under.store);
  const taken = await claimOne(under.store);
  const message = "bad\0output \ud800 here \\u0000 😀";
  const observed = { ...taken.stored.tenant.observed, config: { a: "\0" } };
  const tenant = {
    ...taken.stored.tenant,
    statusMessage: message,
    observed,
    lastError: { code: "c", message },
  };
  expect(
    await under.store.commit([commitOf(taken, { tenant, release: { dueInMs: null, resyncInMs: null } })]),
  ).toEqual(["committed"]);
  const kept = "bad\ufffdoutput \ufffd here \\u0000 😀";
  expect((await stored(under.store, id)).tenant).toMatchObject({
    statusMessage: kept,
    lastError: { message: kept },
  });
});

it("a removal leaves a tombstone and the history, and frees the name", async () => {
  const scopes = ["docker:host:1"];
  const { id, name } = await created(under.store, {
    observed: { config: null, resourceIds: {}, endpoints: [], health: "absent", scopes },
  });
  const first = await claimOne(under.store);
  const opening = newOperation(first);
  await under.store.commit([commitOf(first, { newOperation: opening })]);
  const removal = commitOf(first, {
    remove: { tombstoneTtlMs: 60_000 },
    transition: transitionTo(first, null),
    operationUpdate: {
      id: opening.operation.id,
      executionHandle: null,
      invoked: true,
      stopPhase: null,
      stopReason: null,
      subState: null,
      retryCount: 0,
      error: null,
      outcome: "succeeded",
    },
    release: { dueInMs: null, resyncInMs: null },
  });
  expect(await under.store.commit([removal])).toEqual(["committed"]);
  expect(await under.store.getTenant({ idOrName: id })).toBeNull();
  for (const table of ["tenants", "tenant_work", "generations"]) {
    expect(await under.database.query(`SELECT * FROM ${table}`)).toEqual([]);
  }
  expect(await under.store.listTombstones({ limit: 10 })).toMatchObject([
    { tenantId: id, name, generation: 1, scopes },
  ]);
  for (const idOrName of [id, name]) {
    expect(
      (await under.store.listTransitions({ idOrName, limit: 10, offset: 0 })).map((each) => each.toStatus),
    ).toEqual([null, "requested"]);
    expect(await under.store.listOperations({ idOrName, limit: 10, offset: 0 })).toMatchObject([
      { outcome: "succeeded" },
    ]);
  }
  expect((await created(under.store, { name })).id).not.toBe(id);
  expect(await under.store.commit([removal])).toEqual(["lost"]);
});

it("a late holder is fenced off also when its commit shares a batch with that of the present one", async () => {
  const { id } = await created(under.store);
  const [late] = await claim(under.store, "a", ALL_LANES, 1);
  if (late === undefined) throw new Error("not claimed");
  const present = await eventually(async () => (await claim(under.store, "b"))[0], {
    what: "the lease ran out",
  });
  const outcomes = await under.store.commit([
    commitOf(late, {
      tenant: { ...late.stored.tenant, statusMessage: "from the late holder" },
      transition: transitionTo(late, "provisioning"),
      release: { dueInMs: null, resyncInMs: null },
    }),
    commitOf(present),
  ]);
  expect(outcomes).toEqual(["lost", "committed"]);
  expect((await stored(under.store, id)).tenant.statusMessage).toBe("");
  const work = await under.database.query("SELECT lease_holder, next_reconcile_at FROM tenant_work");
  expect(work[0]?.["lease_holder"]).toBe("b");
  expect(work[0]?.["next_reconcile_at"]).not.toBeNull();
  expect(await under.store.listTransitions({ idOrName: id, limit: 10, offset: 0 })).toHaveLength(1);
});

it("names that PostgreSQL cannot keep are mended like values", async () => {
  const { id } = await created(under.store);
  const taken = await claimOne(under.store);
  const observed = { ...taken.stored.tenant.observed, resourceIds: { "a\0b": "c" } };
  const tenant = { ...taken.stored.tenant, observed };
  expect(await under.store.commit([commitOf(taken, { tenant })])).toEqual(["committed"]);
  expect((await stored(under.store, id)).tenant.observed.resourceIds).toEqual({ "a\ufffdb": "c" });
});
