/** Positions: gap-free over all tenants, in each tenant's own order, whoever gives them. */
import pg from "pg";
import { afterEach, beforeEach, expect, it } from "vitest";
import { EVENTS_CHANNEL } from "../../src/store/postgres/work-store.ts";
import { eventually } from "../support/eventually.ts";
import { clientWrite, created, openStoreUnderTest, stored, type StoreUnderTest } from "./kit.ts";

let under: StoreUnderTest;
beforeEach(async () => {
  under = await openStoreUnderTest();
});
afterEach(() => under.close());

const positions = async (): Promise<{ position: number; tenant: string; generation: number }[]> => {
  const rows = await under.database.query(
    `SELECT position::int, tenant_id AS tenant, generation::int FROM transitions ORDER BY position`,
  );
  return rows as { position: number; tenant: string; generation: number }[];
};

it("two sequencers beside many writers leave no gap and no repeat", { timeout: 30_000 }, async () => {
  const other = await under.open();
  let writing = true;
  const writers = Array.from({ length: 8 }, async () => {
    const { id } = await created(under.store);
    for (let round = 0; round < 15; round++) {
      expect((await clientWrite(under.store, await stored(under.store, id))).kind).toBe("written");
    }
  });
  const sequencers = [under.store, other].map(async (store) => {
    let count = 0;
    while (writing) count += (await store.sequenceTransitions()).count;
    return count;
  });
  await Promise.all(writers).finally(() => (writing = false));
  const given = (await Promise.all(sequencers)).reduce((sum, count) => sum + count, 0);
  const { count: rest } = await under.store.sequenceTransitions();
  const all = await positions();
  expect(given + rest).toBe(8 * 16);
  expect(all.map((row) => row.position)).toEqual(Array.from({ length: 8 * 16 }, (_, index) => index + 1));
  for (const tenant of new Set(all.map((row) => row.tenant))) {
    const own = all.filter((row) => row.tenant === tenant).map((row) => row.generation);
    expect(own).toEqual(Array.from({ length: 16 }, (_, index) => index + 1));
  }
});

it("a transaction that commits late gets a later position, not a hole", async () => {
  const late = new pg.Client({ connectionString: under.database.url });
  await late.connect();
  try {
    await late.query(`BEGIN`);
    await late.query(
      `INSERT INTO transitions (tenant_id, tenant_name, to_status, reason, message, generation, actor)
       VALUES (gen_random_uuid(), 'late', 'requested', 'created', '', 1, 'x')`,
    );
    await created(under.store);
    expect((await under.store.sequenceTransitions()).count).toBe(1);
    await late.query(`COMMIT`);
    expect((await under.store.sequenceTransitions()).count).toBe(1);
  } finally {
    await late.end();
  }
  expect((await positions()).map((row) => row.position)).toEqual([1, 2]);
  const [last] = await under.database.query(`SELECT tenant_name FROM transitions WHERE position = 2`);
  expect(last?.["tenant_name"]).toBe("late");
});

it("one batch sends one notification, which tells its sender; nothing to do sends none", async () => {
  const heard: string[] = [];
  const listener = new pg.Client({ connectionString: under.database.url });
  await listener.connect();
  try {
    listener.on("notification", (message) => heard.push(message.payload ?? ""));
    await listener.query(`LISTEN ${EVENTS_CHANNEL}`);
    await Promise.all(Array.from({ length: 5 }, () => created(under.store)));
    expect((await under.store.sequenceTransitions()).count).toBe(5);
    expect((await under.store.sequenceTransitions()).count).toBe(0);
    await created(under.store);
    await under.store.sequenceTransitions();
    await eventually(() => heard.length >= 2, { what: "two notifications" });
    expect(heard).toHaveLength(2);
    expect(new Set(heard).size, "by which a server knows its own").toBe(1);
  } finally {
    await listener.end();
  }
});

it("positions go on after history was deleted", async () => {
  await created(under.store);
  await under.store.sequenceTransitions();
  await under.database.query(`UPDATE transitions SET at = now() - interval '1 year'`);
  await under.store.collectGarbage({ historyRetentionMs: 1_000 });
  await created(under.store);
  await under.store.sequenceTransitions();
  expect((await positions()).map((row) => row.position)).toEqual([1, 2]);
});
