/** Leases: who may work on a tenant, and for how long. */
import pg from "pg";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { UNBOUNDED } from "../../src/testing/store/records.ts";
import type { Claim } from "../../src/store/store.ts";
import { eventually } from "../support/eventually.ts";
import type { StoreUnderTest } from "./kit.ts";
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
} from "./kit.ts";

let under: StoreUnderTest;
beforeEach(async () => {
  under = await openStoreUnderTest();
});
afterEach(() => under.close());

it("a claim has the tenant, its unfinished operation and the payload as recorded", async () => {
  const tenant = await created(under.store, { labels: { owner: "o" } });
  const first = await claimOne(under.store);
  expect(first).toMatchObject({
    tenantId: tenant.id,
    leaseOwner: "a",
    leaseToken: 1,
    wakeSeq: 0,
    operation: null,
    request: null,
  });
  expect(first.stored).toEqual({ tenant, revision: 1 });

  const opening = newOperation(first);
  const commit = commitOf(first, { newOperation: opening, release: { dueInMs: 0, resyncInMs: null } });
  expect(await under.store.commit([commit])).toEqual(["committed"]);
  const second = await claimOne(under.store);
  expect(second.leaseToken).toBe(2);
  expect(second.request).toEqual(opening.request);
  expect(second.operation).toEqual({
    ...opening.operation,
    createdAt: expect.any(Date) as Date,
    executionHandle: null,
    subState: null,
  });
});

it("many claimers at once never share a tenant, and leave none", async () => {
  const ids = await Promise.all(Array.from({ length: 120 }, async () => (await created(under.store)).id));
  const other = await under.open();
  const limits = { interactive: 7, repair: 0, background: 0 };
  const taken = await Promise.all(
    Array.from({ length: 16 }, async (_, index) => {
      const mine: string[] = [];
      for (let round = 0; round < 40; round++) {
        const claims = await claim(index % 2 === 0 ? under.store : other, `claimer-${index}`, limits);
        expect(claims.length).toBeLessThanOrEqual(7);
        mine.push(...claims.map((each) => each.tenantId));
        if (claims.length === 0) break;
      }
      return mine;
    }),
  );
  const all = taken.flat();
  expect(new Set(all).size).toBe(all.length);
  // A claimer that found all due rows locked by others stopped early; what is left is still there to be claimed.
  const rest = (await claim(under.store, "last", { ...ALL_LANES, interactive: 500 })).map(
    (each) => each.tenantId,
  );
  expect([...all, ...rest].sort()).toEqual(ids.sort());
});

it("a locked row is skipped, not waited for", async () => {
  const [locked, free] = [await created(under.store), await created(under.store)];
  const holder = new pg.Client({ connectionString: under.database.url });
  await holder.connect();
  try {
    await holder.query(`BEGIN`);
    await holder.query(`SELECT 1 FROM tenant_work WHERE tenant_id = $1 FOR UPDATE`, [locked.id]);
    expect((await claim(under.store)).map((each) => each.tenantId)).toEqual([free.id]);
  } finally {
    await holder.query(`ROLLBACK`);
    await holder.end();
  }
  expect((await claim(under.store)).map((each) => each.tenantId)).toEqual([locked.id]);
});

it("a leased tenant is not claimed; an expired lease is, with a higher token, and fences the late holder", async () => {
  const { id } = await created(under.store);
  const late = await claimOne(under.store, "late");
  expect(await claim(under.store, "b")).toEqual([]);
  await under.database.query(`UPDATE tenant_work SET lease_until = now() - interval '1 ms'`);
  const next = await claimOne(under.store, "b");
  expect(next.leaseToken).toBe(late.leaseToken + 1);
  expect(
    await under.store.commit([commitOf(late, { release: { dueInMs: null, resyncInMs: null } })]),
  ).toEqual(["lost"]);
  const [row] = await under.database.query(`SELECT lease_holder FROM tenant_work WHERE tenant_id = $1`, [id]);
  expect(row?.["lease_holder"]).toBe("b");
});

it("a claim writes its rows in place, and no index", async () => {
  for (let index = 0; index < 20; index++) await created(under.store);
  const updates = async (): Promise<Record<string, unknown> | undefined> =>
    (
      await under.database.query(
        `SELECT n_tup_upd::int AS all, n_tup_hot_upd::int AS in_place FROM pg_stat_user_tables WHERE relname = 'tenant_work'`,
      )
    )[0];
  expect(await claim(under.store, "a", { ...ALL_LANES, interactive: 20 })).toHaveLength(20);
  // Other sessions hear of it with the next report of the one that claimed, at most a second later.
  await eventually(async () => (await updates())?.["all"] === 20, { what: "the updates are counted" });
  expect(await updates()).toEqual({ all: 20, in_place: 20 });
});

it("what is leased to be started counts, also where others of its queue have waited for longer", async () => {
  const ids = [];
  for (let index = 0; index < 4; index++) ids.push((await created(under.store)).id);
  await under.database.query(
    `UPDATE tenant_work SET next_reconcile_at = now() - interval '1 s', lease_holder = 'other', lease_token = 1,
       lease_until = now() + interval '30 s' WHERE tenant_id = $1`,
    [ids[3]],
  );
  await under.database.query(
    `UPDATE tenant_work SET next_reconcile_at = now() - interval '9 s' WHERE lease_until IS NULL`,
  );
  const started = (maxInFlight: number): Promise<readonly Claim[]> =>
    claim(under.store, "a", ALL_LANES, 60_000, { ...UNBOUNDED, maxInFlight });
  expect(await started(1)).toEqual([]);
  expect(await started(3)).toHaveLength(2);
  expect(await started(3)).toEqual([]);
});

describe("a server of the release before, which knows no lease_holder", () => {
  const FENCE = `SELECT 1 FROM tenant_work WHERE lease_token = $1 AND lease_owner IS NOT DISTINCT FROM 'before'`;
  const claimsAsBefore = (): Promise<readonly Record<string, unknown>[]> =>
    under.database.query(
      `UPDATE tenant_work SET lease_owner = 'before', lease_until = now() + interval '30 s', lease_token = lease_token + 1
       WHERE lease_until IS NULL OR lease_until <= now() RETURNING lease_token`,
    );
  const expire = (): Promise<unknown> =>
    under.database.query(`UPDATE tenant_work SET lease_until = now() - interval '1 ms'`);

  it("keeps what it claimed until its lease is over, and is fenced off after that", async () => {
    await created(under.store);
    const [held] = await claimsAsBefore();
    expect(await claim(under.store)).toEqual([]);
    expect(await under.database.query(FENCE, [held?.["lease_token"]])).toHaveLength(1);
    await expire();
    await claimOne(under.store);
    expect(await under.database.query(FENCE, [held?.["lease_token"]])).toEqual([]);
    expect(
      await under.database.query(
        `SELECT 1 FROM tenant_work WHERE lease_owner IS NULL AND lease_holder IS NOT NULL`,
      ),
    ).toHaveLength(1);
  });

  it("fences off a holder of this release whose lease it took over", async () => {
    await created(under.store);
    const late = await claimOne(under.store);
    expect(await claimsAsBefore()).toEqual([]);
    await expire();
    expect(await claimsAsBefore()).toHaveLength(1);
    const release = { dueInMs: null, resyncInMs: null };
    expect(await under.store.commit([commitOf(late, { release })])).toEqual(["lost"]);
  });
});

it("what is not due is not claimed; a write makes it due", async () => {
  const { id } = await created(under.store);
  const first = await claimOne(under.store);
  await under.store.commit([commitOf(first, { release: { dueInMs: 60_000, resyncInMs: null } })]);
  expect(await claim(under.store)).toEqual([]);
  expect((await clientWrite(under.store, await stored(under.store, id))).kind).toBe("written");
  const second = await claimOne(under.store);
  await under.store.commit([commitOf(second, { release: { dueInMs: null, resyncInMs: null } })]);
  expect(await dueIn(under.database, id)).toBeNull();
  await under.store.wake({ tenantIds: [id, "11111111-1111-4111-8111-111111111111"] });
  expect((await claimOne(under.store)).tenantId).toBe(id);
});

describe("lanes", () => {
  it("each has its own limit, and the longest due comes first", async () => {
    const lanes = ["interactive", "repair", "background"] as const;
    const ids: Record<string, string[]> = { interactive: [], repair: [], background: [] };
    for (const lane of lanes) {
      for (let index = 0; index < 4; index++) ids[lane]?.push((await created(under.store, {}, lane)).id);
    }
    // The last made is the longest due.
    for (const lane of lanes) {
      for (const [index, id] of (ids[lane] ?? []).entries()) {
        await under.database.query(
          `UPDATE tenant_work SET next_reconcile_at = now() - $2 * interval '1 second' WHERE tenant_id = $1`,
          [id, index + 1],
        );
      }
    }
    const taken = (await claim(under.store, "a", { interactive: 3, repair: 1, background: 2 })).map(
      (each) => each.tenantId,
    );
    const expected = [
      ...(ids["interactive"] ?? []).slice(1),
      ...(ids["repair"] ?? []).slice(3),
      ...(ids["background"] ?? []).slice(2),
    ];
    expect(taken.sort()).toEqual(expected.sort());
  });

  it("a client's write moves a tenant to its lane", async () => {
    const { id } = await created(under.store, {}, "background");
    const none = { interactive: 1, repair: 0, background: 0 };
    expect(await claim(under.store, "a", none)).toEqual([]);
    await clientWrite(under.store, await stored(under.store, id));
    expect(await claim(under.store, "a", none)).toHaveLength(1);
  });
});
