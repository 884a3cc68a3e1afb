/** Creates that come together are written together, and are told apart all the same. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { newTenant } from "../../src/testing/store/records.ts";
import type { CreateOutcome } from "../../src/store/store.ts";
import type { Tenant } from "../../src/domain/tenant.ts";
import { openStoreUnderTest, type StoreUnderTest } from "./kit.ts";

let under: StoreUnderTest;
beforeAll(async () => {
  under = await openStoreUnderTest();
});
afterAll(() => under.close());

function create(change: Partial<Tenant>): Promise<CreateOutcome> {
  return under.store.createTenant({
    tenant: { ...newTenant(), ...change },
    actor: { name: "test", requestId: null },
    lane: "interactive",
    idempotency: null,
  });
}

const count = async (name: string): Promise<unknown> =>
  (await under.database.query(`SELECT count(*)::int AS count FROM tenants WHERE name LIKE '${name}'`))[0]?.[
    "count"
  ];

it("makes one of those that ask for one name at once, and tells the others whose it is", async () => {
  const outcomes = await Promise.all(Array.from({ length: 20 }, () => create({ name: "wanted" })));
  const [winner] = outcomes.filter(({ kind }) => kind === "created") as { tenant: Tenant }[];
  expect(outcomes.filter(({ kind }) => kind === "created")).toHaveLength(1);
  for (const outcome of outcomes) {
    if (outcome.kind === "created") continue;
    expect(outcome).toMatchObject({ kind: "name_taken", tenant: { id: winner?.tenant.id } });
  }
  expect(await count("wanted")).toBe(1);
});

it("lets one that the database refuses fail alone", async () => {
  const results = await Promise.allSettled([
    create({ name: "good-1" }),
    create({ name: "good-2", observedGeneration: 7 }),
    create({ name: "good-3" }),
  ]);
  expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
  expect(await count("good-%")).toBe(2);
});

it("writes many with few statements", async () => {
  const before = await statements();
  const outcomes = await Promise.all(
    Array.from({ length: 200 }, (_, index) => create({ name: `many-${index}` })),
  );
  expect(outcomes.every(({ kind }) => kind === "created")).toBe(true);
  expect((await statements()) - before).toBeLessThan(40);
});

/** The transactions that wrote what is there, as the rows tell them. */
async function statements(): Promise<number> {
  const [row] = await under.database.query(`SELECT count(DISTINCT xmin::text)::int AS count FROM tenants`);
  return Number(row?.["count"]);
}
