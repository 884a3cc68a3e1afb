/** What the hot statements cost with a fleet in the tables: the plans that PostgreSQL really chooses. */
import pg from "pg";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { claim, created, openStoreUnderTest, type StoreUnderTest } from "./kit.ts";

const FLEET = 20_000;

interface Statement {
  readonly text: string;
  readonly values: readonly unknown[];
}

interface Plan {
  readonly "Node Type": string;
  readonly "Relation Name"?: string;
  readonly "Index Name"?: string;
  readonly "Actual Rows": number;
  readonly "Actual Loops": number;
  readonly "Rows Removed by Filter"?: number;
  readonly Plans?: readonly Plan[];
}

let under: StoreUnderTest;
let plans: Plan[];
let client: pg.Client;

beforeAll(async () => {
  under = await openStoreUnderTest();
  const { id } = await created(under.store);
  // A settled fleet: nearly nothing is due, a few are failed.
  await under.database.query(
    `INSERT INTO tenants SELECT (jsonb_populate_record(t, jsonb_build_object('id', gen_random_uuid(), 'name', 'fleet-' || i,
        'status', CASE WHEN i % 1000 = 0 THEN 'failed' ELSE 'ready' END))).*
     FROM tenants t, generate_series(1, $2::int) i WHERE t.id = $1`,
    [id, FLEET],
  );
  await under.database.query(
    `INSERT INTO tenant_work (tenant_id, next_reconcile_at)
     SELECT id, CASE WHEN random() < 0.5 THEN now() + random() * interval '1 hour' END FROM tenants ON CONFLICT DO NOTHING`,
  );
  await under.database.query(
    `INSERT INTO operations (id, tenant_id, tenant_name, kind, generation, config_hash, execution_id, workflow_provider,
       workflow_name, start_before, outcome, finished_at)
     SELECT gen_random_uuid(), id, name, 'create', 1, '', gen_random_uuid()::text, 'r', 'w', now(), 'succeeded', now() FROM tenants`,
  );
  await under.database.query(`ANALYZE`);
  client = new pg.Client({ connectionString: under.database.url });
  await client.connect();
});
afterAll(async () => {
  await client.end();
  await under.close();
});

async function explain({ text, values }: Statement): Promise<void> {
  const result = await client.query<{ "QUERY PLAN": { Plan: Plan }[] }>(
    `EXPLAIN (ANALYZE, FORMAT JSON) ${text}`,
    [...values],
  );
  plans = result.rows.flatMap((row) => row["QUERY PLAN"].map((each) => each.Plan));
}

function* nodes(plan: Plan): Generator<Plan> {
  yield plan;
  for (const child of plan.Plans ?? []) yield* nodes(child);
}
const all = (): Plan[] => plans.flatMap((plan) => [...nodes(plan)]);
const sequentialScans = (): (string | undefined)[] =>
  all()
    .filter((node) => node["Node Type"] === "Seq Scan")
    .map((node) => node["Relation Name"]);
const indexes = (): (string | undefined)[] =>
  all()
    .map((node) => node["Index Name"])
    .filter((name) => name !== undefined);

/** The statements that `run` makes the store send, taken where the driver gets them. */
async function captured(run: () => Promise<unknown>): Promise<Statement[]> {
  const seen: Statement[] = [];
  const spy = vi.spyOn(pg.Client.prototype, "query");
  try {
    await run();
    for (const [query] of spy.mock.calls as unknown[][]) {
      if (typeof query === "object" && query !== null && "text" in query) seen.push(query as Statement);
    }
  } finally {
    spy.mockRestore();
  }
  return seen;
}

it("a claim with nothing due reads a handful of rows, by the index of those that may start", async () => {
  // Takes the one that is due; from then on the fleet is idle.
  await claim(under.store);
  const [statement] = await captured(() => claim(under.store));
  if (statement === undefined) throw new Error("nothing was sent");
  await explain(statement);
  expect(indexes()).toContain("tenant_work_startable");
  // It has a row for each provider whose rate is limited: here none.
  expect(sequentialScans().filter((name) => name !== "start_rates")).toEqual([]);
  expect(
    Math.max(...all().map((node) => (node["Rows Removed by Filter"] ?? 0) * node["Actual Loops"])),
  ).toBeLessThan(50);
});

it("a claim in front of a long backlog reads a part of it that does not grow with its length", async () => {
  await under.database.query(
    `UPDATE tenant_work SET next_reconcile_at = now() - random() * interval '1 hour', compute_provider = 'mock',
       owner = 'owner-' || (abs(hashtext(tenant_id::text)) % 30), lane = 2`,
  );
  await under.database.query(`ANALYZE tenant_work`);
  const [statement] = await captured(() =>
    claim(under.store, "a", { interactive: 48, repair: 8, background: 8 }),
  );
  if (statement === undefined) throw new Error("nothing was sent");
  await explain(statement);
  expect(sequentialScans().filter((name) => name !== "start_rates")).toEqual([]);
  expect(Math.max(...all().map((node) => node["Actual Rows"] * node["Actual Loops"]))).toBeLessThan(1_000);
});

it("a beat of looks reads its batch, however many tenants wait for one", async () => {
  await under.database.query(
    `UPDATE tenant_work SET next_reconcile_at = NULL, lease_holder = NULL, lease_until = NULL,
       resync_at = now() - random() * interval '1 hour'`,
  );
  await under.database.query(`ANALYZE tenant_work`);
  const beat = { leaseOwner: "a", leaseDurationMs: 60_000, limit: 100, everyMs: 1 };
  const [statement] = await captured(() => under.store.claimResync(beat));
  if (statement === undefined) throw new Error("nothing was sent");
  // The beat that was captured is over.
  await under.database.query(`UPDATE chores SET next_run_at = now() - interval '1 second'`);
  await explain(statement);
  expect(indexes()).toContain("tenant_work_resync");
  expect(sequentialScans().filter((name) => name !== "chores")).toEqual([]);
  expect(Math.max(...all().map((node) => node["Actual Rows"] * node["Actual Loops"]))).toBeLessThan(500);
});

it("a list of failed tenants uses the index on status", async () => {
  const statements = await captured(() =>
    under.store.listTenants({
      statuses: ["failed"],
      includeArchived: true,
      workflowSubState: null,
      hasWorkflowError: null,
      minRetryCount: null,
      limit: 50,
      offset: 0,
    }),
  );
  expect(statements).toHaveLength(2);
  for (const statement of statements) {
    await explain(statement);
    expect(indexes()).toContain("tenants_by_status");
    expect(sequentialScans()).toEqual([]);
  }
});

it("a get, a history and a ledger, by id or by name, read their own rows", async () => {
  for (const run of [
    () => under.store.getTenant({ idOrName: "fleet-77" }),
    () => under.store.getTenant({ idOrName: "11111111-1111-4111-8111-111111111111" }),
    () => under.store.listTransitions({ idOrName: "fleet-77", limit: 50, offset: 0 }),
    () => under.store.listOperations({ idOrName: "fleet-77", limit: 50, offset: 0 }),
  ]) {
    const [statement] = await captured(run);
    if (statement === undefined) throw new Error("nothing was sent");
    await explain(statement);
    expect(Math.max(...all().map((node) => node["Rows Removed by Filter"] ?? 0))).toBeLessThan(10);
    // The history of this fleet is empty: the planner may well scan a table without rows.
    expect(sequentialScans().filter((name) => name !== "transitions")).toEqual([]);
  }
});
