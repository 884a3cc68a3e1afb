/** Breakers, worker hints, kept generations, and the deletion of what is old. */
import { randomUUID } from "node:crypto";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  claimOne,
  clientWrite,
  commitOf,
  created,
  newOperation,
  openStoreUnderTest,
  stored,
  type StoreUnderTest,
} from "./kit.ts";

let under: StoreUnderTest;
beforeEach(async () => {
  under = await openStoreUnderTest();
});
afterEach(() => under.close());

describe("breakers", () => {
  const key = "engine:restate";

  it("one prober at a time, however many servers ask", async () => {
    const other = await under.open();
    expect(await under.store.takeProbe({ key, probeInMs: 60_000 })).toBe(false);
    await under.store.openBreaker({ key, error: "down", probeInMs: 0 });
    const asked = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        (index % 2 === 0 ? under.store : other).takeProbe({ key, probeInMs: 60_000 }),
      ),
    );
    expect(asked.filter(Boolean)).toHaveLength(1);
    expect(await under.store.takeProbe({ key, probeInMs: 60_000 })).toBe(false);
  });

  it("keeps since when it is open, counts failures, and closes for all", async () => {
    await under.store.openBreaker({ key, error: "first", probeInMs: 60_000 });
    const [first] = await under.store.listBreakers();
    await under.store.openBreaker({ key, error: "second", probeInMs: 1 });
    const [second] = await under.store.listBreakers();
    expect(second).toEqual({ ...first, failures: 2, lastError: "second" });
    await under.store.closeBreaker({ key });
    expect(await under.store.listBreakers()).toMatchObject([
      { key, state: "closed", failures: 0, openedAt: null, nextProbeAt: null },
    ]);
    expect(await under.store.takeProbe({ key, probeInMs: 1 })).toBe(false);
    await under.store.openBreaker({ key, error: "again", probeInMs: 60_000 });
    expect(await under.store.listBreakers()).toMatchObject([
      { state: "open", failures: 1, lastError: "again" },
    ]);
  });
});

describe("worker hints", () => {
  it("keeps the newest 100 of an operation, and only of operations that exist", async () => {
    const { id: idOrName } = await created(under.store);
    const taken = await claimOne(under.store);
    const opening = newOperation(taken);
    await under.store.commit([commitOf(taken, { newOperation: opening })]);
    const { id: operationId, executionId } = opening.operation;
    for (let index = 0; index < 105; index++) {
      expect(await under.store.recordProgress({ executionId, phase: "p", message: `m${index}` })).toBe(true);
    }
    const events = await under.store.listOperationEvents({ idOrName, operationId });
    expect(events?.map((event) => event.message)).toEqual(
      Array.from({ length: 100 }, (_, index) => `m${index + 5}`),
    );
    expect(await under.store.recordProgress({ executionId: "nope", phase: "p", message: "" })).toBe(false);
    const unknown = { idOrName, operationId: randomUUID() };
    expect(await under.store.listOperationEvents(unknown)).toBeNull();
  });
});

it("keeps the newest 100 generations for rollback", async () => {
  const { id } = await created(under.store);
  for (let index = 0; index < 103; index++) await clientWrite(under.store, await stored(under.store, id));
  const [row] = await under.database.query(
    `SELECT count(*)::int AS count, min(generation)::int AS oldest, max(generation)::int AS newest FROM generations`,
  );
  expect(row).toEqual({ count: 100, oldest: 5, newest: 104 });
});

it("collects what has outlived its retention, and nothing else", async () => {
  const { id } = await created(under.store);
  const taken = await claimOne(under.store);
  const opening = newOperation(taken);
  await under.store.commit([commitOf(taken, { newOperation: opening })]);
  await under.store.recordProgress({ executionId: opening.operation.executionId, phase: "p", message: "" });
  await under.database.query(
    `INSERT INTO idempotency_keys (key, request_hash, tenant, expires_at)
     VALUES ('old', '', '{}', now() - interval '1 s'), ('new', '', '{}', now() + interval '1 h')`,
  );
  await under.database.query(
    `INSERT INTO tombstones (tenant_id, name, generation, compute_provider, scopes, expires_at)
     VALUES (gen_random_uuid(), 'old', 1, 'mock', '[]', now() - interval '1 s'), (gen_random_uuid(), 'new', 1, 'mock', '[]', now() + interval '1 h')`,
  );
  await under.database.query(
    `INSERT INTO operations (id, tenant_id, tenant_name, kind, generation, config_hash, execution_id, workflow_provider, workflow_name, start_before, finished_at)
     VALUES (gen_random_uuid(), gen_random_uuid(), 'old', 'create', 1, '', 'old', 'r', 'w', now(), now() - interval '2 days'),
            (gen_random_uuid(), gen_random_uuid(), 'new', 'create', 1, '', 'new', 'r', 'w', now(), now())`,
  );
  await under.database.query(
    `INSERT INTO transitions (position, tenant_id, tenant_name, reason, message, generation, actor, at)
     VALUES (1, gen_random_uuid(), 'old', 'r', '', 1, 'a', now() - interval '2 days'), (2, gen_random_uuid(), 'newer', 'r', '', 1, 'a', now()),
            (NULL, gen_random_uuid(), 'unsequenced', 'r', '', 1, 'a', now() - interval '2 days')`,
  );
  expect(await under.store.collectGarbage({ historyRetentionMs: 86_400_000 })).toBe(4);
  expect(await under.store.collectGarbage({ historyRetentionMs: 86_400_000 })).toBe(0);

  const left = async (table: string, column: string): Promise<unknown[]> =>
    (await under.database.query(`SELECT ${column} AS left FROM ${table} ORDER BY 1`)).map(
      (row) => row["left"],
    );
  expect(await left("idempotency_keys", "key")).toEqual(["new"]);
  expect(await left("tombstones", "name")).toEqual(["new"]);
  // The unfinished operation stays however old it is.
  expect(await left("operations", "tenant_name")).toEqual([taken.stored.tenant.name, "new"].sort());
  expect(await left("operation_events", "phase")).toEqual(["p"]);
  expect(await left("transitions", "tenant_name")).toEqual(
    [taken.stored.tenant.name, "newer", "unsequenced"].sort(),
  );
  expect((await stored(under.store, id)).tenant.id).toBe(id);
});

it("deletes in bounded steps", async () => {
  await under.database.query(
    `INSERT INTO idempotency_keys (key, request_hash, tenant, expires_at)
     SELECT i::text, '', '{}', now() - interval '1 s' FROM generate_series(1, 2500) i`,
  );
  const steps = [];
  for (let step = 0; step < 4; step++)
    steps.push(await under.store.collectGarbage({ historyRetentionMs: 1_000 }));
  expect(steps).toEqual([1_000, 1_000, 500, 0]);
});
