/** Leases that are given back while somebody else writes: nobody's change is passed over. */
import pg from "pg";
import { afterEach, beforeEach, expect, it } from "vitest";
import { eventually } from "../support/eventually.ts";
import { claim, commitOf, created, openStoreUnderTest, type StoreUnderTest } from "./kit.ts";

let under: StoreUnderTest;
beforeEach(async () => {
  under = await openStoreUnderTest();
});
afterEach(() => under.close());

async function work(id: string): Promise<unknown> {
  const rows = await under.database.query(
    `SELECT lease_holder, next_reconcile_at <= now() AS due, resync_at IS NOT NULL AS looked FROM tenant_work
     WHERE tenant_id = $1`,
    [id],
  );
  return rows[0];
}

/** Begins a transaction with these statements, lets `act` run into its locks, and commits. */
async function whileHeld<T>(statements: readonly string[], act: () => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: under.database.url });
  await client.connect();
  try {
    await client.query("BEGIN");
    for (const statement of statements) await client.query(statement);
    const acting = act();
    await eventually(
      async () =>
        (await under.database.query("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'")).length >
        0,
      { what: "the release waits" },
    );
    await client.query("COMMIT");
    return await acting;
  } finally {
    await client.end();
  }
}

it.each([
  ["a write", ["UPDATE tenants SET revision = revision + 1"], "outdated"],
  ["a wake-up", [], "committed"],
] as const)("%s that commits while a release waits for it", async (_, also, outcome) => {
  const { id } = await created(under.store);
  const [taken] = await claim(under.store);
  if (taken === undefined) throw new Error("nothing was claimed");
  const outcomes = await whileHeld(
    ["UPDATE tenant_work SET wake_seq = wake_seq + 1, next_reconcile_at = now()", ...also],
    () => under.store.commit([commitOf(taken, { release: { dueInMs: null, resyncInMs: 60_000 } })]),
  );
  expect(outcomes).toEqual([outcome]);
  expect(await work(id)).toEqual({ lease_holder: null, due: true, looked: outcome === "committed" });
});

it("releases and changes share a batch, and each is answered in its place", async () => {
  const first = await created(under.store);
  const second = await created(under.store);
  const claims = await claim(under.store, "a", { interactive: 2, repair: 0, background: 0 });
  const [changed, released] = claims;
  if (changed === undefined || released === undefined) throw new Error("too little was claimed");
  const release = { dueInMs: null, resyncInMs: null };
  const outcomes = await under.store.commit([
    commitOf(released, { release }),
    { ...commitOf(released, { release }), leaseToken: released.leaseToken - 1 },
    commitOf(changed, { tenant: { ...changed.stored.tenant, statusMessage: "changed" }, release }),
  ]);
  expect(outcomes).toEqual(["committed", "lost", "committed"]);
  for (const { id } of [first, second])
    expect(await work(id)).toMatchObject({ lease_holder: null, due: null });
});

it("a rate of looks may divide time into any part", async () => {
  await created(under.store);
  const params = { leaseOwner: "a", leaseDurationMs: 1_000, limit: 100, everyMs: 10_000 / 3 };
  await expect(under.store.claimResync(params)).resolves.toEqual([]);
});
