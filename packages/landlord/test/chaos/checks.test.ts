/** The checks of a chaos run find what they are for: each is shown a world with one thing wrong. */
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { findWrongRecords, type Findings } from "../../../../chaos/checks.ts";
import { createExpectations, problemOf, type TenantRecord } from "../../../../chaos/expectation.ts";
import { slopePerMinute } from "../../../../chaos/least-squares.ts";
import { createRandom } from "../../../../chaos/random.ts";
import type { TenantBody } from "../../src/contract/tenant.ts";
import { migrateDatabase } from "../../src/start/migrate.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { openSql, type SqlClient } from "../support/sql.ts";
import { serverConfig } from "../support/system.ts";

function body(change: Partial<TenantBody> = {}, tag = "a.1", note = ""): TenantBody {
  return {
    id: "11111111-1111-4111-8111-111111111111",
    name: "a",
    status: "ready",
    status_message: "",
    compute_provider: "process",
    desired_config: { env: { CHAOS_TAG: tag } },
    compute_config: {},
    observed_config: {},
    observed_resource_ids: {},
    endpoints: [],
    generation: 1,
    observed_generation: 1,
    intent: "present",
    paused: false,
    conditions: [],
    labels: { note },
    annotations: {},
    version: 1,
    created_at: "",
    updated_at: "",
    ...change,
  };
}

/** A tenant whose versions 1 and 2 were answered. */
function known(): TenantRecord {
  const expectations = createExpectations();
  expectations.answered(body());
  return expectations.answered(body({ version: 2 }, "a.2"));
}

describe("a tenant against what its user was answered", () => {
  it("is as the last answer said", () => {
    expect(problemOf(known(), body({ version: 2 }, "a.2"))).toBeNull();
    expect(problemOf(known(), body({ version: 1 }))).toMatch(/version 2 was answered/);
    expect(problemOf(known(), body({ version: 2 }, "a.1"))).toMatch(/config a.2 .* was accepted/);
    expect(problemOf(known(), body({ version: 3 }, "a.2"))).toMatch(/0 answers were lost/);
    expect(problemOf(known(), null)).toMatch(/nobody asked for it/);
  });

  it("may be as a request says whose answer was lost, and as nothing else", () => {
    const record = known();
    record.open.add({ tag: "a.3" });
    expect(problemOf(record, body({ version: 2 }, "a.2"))).toBeNull();
    expect(problemOf(record, body({ version: 3 }, "a.3"))).toBeNull();
    expect(problemOf(record, body({ version: 3 }, "a.4"))).toMatch(/nobody asked for its tag/);
    expect(problemOf(record, body({ version: 4 }, "a.3"))).toMatch(/1 answers were lost/);
    expect(problemOf(record, null)).toMatch(/nobody asked for it/);
    record.open.add({ wanted: "deleted" });
    expect(problemOf(record, null)).toBeNull();
  });

  it("is gone once its deletion was accepted, and stays gone", () => {
    const expectations = createExpectations();
    const record = expectations.answered(body({ status: "deleting", intent: "deleted", version: 3 }));
    expect(problemOf(record, null)).toBeNull();
    expect(problemOf(record, body({ status: "deleting", intent: "deleted", version: 3 }))).toMatch(
      /deletion was accepted/,
    );
    record.isGone = true;
    expect(problemOf(record, body({ status: "ready", version: 3 }))).toMatch(/is there again/);
  });

  it("has one state at a version", () => {
    const expectations = createExpectations();
    expectations.answered(body());
    expectations.answered(body());
    expect(expectations.violations).toEqual([]);
    expectations.answered(body({}, "a.2"));
    expect(expectations.violations).toMatchObject([expect.stringMatching(/at the same version/)]);
  });
});

describe("records", () => {
  let database: TestDatabase;
  let sql: SqlClient;
  const tenant = "22222222-2222-4222-8222-222222222222";
  beforeAll(async () => {
    database = await createTestDatabase();
    await migrateDatabase(serverConfig({ "database.url": database.url }));
    sql = openSql(database.url);
  });
  afterAll(async () => {
    await sql.close();
    await database.drop();
  });

  /** What is found after `statements`, which are undone. */
  async function foundAfter(...statements: readonly string[]): Promise<Findings> {
    await sql.query("TRUNCATE tenants, tenant_work, operations, transitions, tombstones CASCADE");
    for (const statement of [...WHOLE, ...statements]) await sql.query(statement);
    return findWrongRecords(sql);
  }

  const clean = { lost: [], duplicated: [], orphaned: [], stuck: [] };
  /** One tenant that became ready in one operation, and one that is gone. */
  const gone = "33333333-3333-4333-8333-333333333333";
  const WHOLE = [
    `INSERT INTO tenants (id, name, status, status_message, intent, compute_provider, desired_config, config_hash, generation,
       observed_generation, observed_resource_ids, endpoints, health, scopes, paused, attempts, conditions, labels, annotations, version, revision)
     VALUES ('${tenant}', 'a', 'ready', '', 'present', 'process', '{}', 'h', 1, 1, '{}', '[]', 'healthy', '[]', false, 0, '[]', '{}', '{}', 1, 1)`,
    `INSERT INTO tenant_work (tenant_id) VALUES ('${tenant}')`,
    `INSERT INTO transitions (position, tenant_id, tenant_name, from_status, to_status, reason, message, generation, actor)
     VALUES (1, '${tenant}', 'a', NULL, 'requested', '', '', 1, ''), (2, '${tenant}', 'a', 'requested', 'provisioning', '', '', 1, ''),
            (3, '${tenant}', 'a', 'provisioning', 'ready', '', '', 1, ''), (4, '${gone}', 'b', NULL, 'requested', '', '', 1, ''),
            (5, '${gone}', 'b', 'requested', 'deleting', '', '', 2, ''), (6, '${gone}', 'b', 'deleting', NULL, '', '', 2, '')`,
    `INSERT INTO operations (id, tenant_id, tenant_name, kind, generation, config_hash, execution_id, workflow_provider, workflow_name, start_before, outcome, created_at, finished_at)
     VALUES ('${randomUUID()}', '${tenant}', 'a', 'create', 1, 'h', 'e1', 'r', 'w', now(), 'succeeded', now() - interval '2 s', now() - interval '1 s')`,
    `INSERT INTO tombstones (tenant_id, name, generation, compute_provider, scopes, expires_at) VALUES ('${gone}', 'b', 2, 'process', '[]', now() + interval '1 h')`,
  ];

  it("are whole", async () => {
    expect(await foundAfter()).toEqual(clean);
  });

  test.each<readonly [string, keyof Findings, RegExp, string]>([
    [
      "a transition is missing",
      "lost",
      /goes from provisioning, and the one before went to requested/,
      `DELETE FROM transitions WHERE to_status = 'provisioning'`,
    ],
    [
      "a generation goes back",
      "lost",
      /generation 1 follows 2/,
      `UPDATE transitions SET generation = 2 WHERE to_status = 'provisioning'`,
    ],
    [
      "a history ends elsewhere",
      "lost",
      /ends with ready at generation 1, and the tenant is updating/,
      `UPDATE tenants SET status = 'updating'`,
    ],
    ["a tenant vanished", "lost", /ends with ready, and the tenant is gone/, `DELETE FROM tenants`],
    ["a position is missing", "lost", /6 after 4/, `DELETE FROM transitions WHERE position = 5`],
    [
      "a position is not given",
      "lost",
      /positions/,
      `UPDATE transitions SET position = NULL WHERE position = 6`,
    ],
    [
      "positions are in another order",
      "lost",
      /position 1 comes after 2/,
      `UPDATE transitions SET position = 10 - position WHERE position IN (1, 2); UPDATE transitions SET position = position - 7 WHERE position > 7`,
    ],
    ["ready without a success", "lost", /last success is of/, `UPDATE operations SET outcome = 'failed'`],
    [
      "a success of another config",
      "lost",
      /last success is of/,
      `UPDATE operations SET config_hash = 'other'`,
    ],
    ["a work row is missing", "lost", /has no work row/, `DELETE FROM tenant_work`],
    [
      "a work row is left",
      "orphaned",
      /work row of/,
      `INSERT INTO tenant_work (tenant_id) VALUES (gen_random_uuid())`,
    ],
    ["a tombstone is missing", "lost", /no tombstone/, `DELETE FROM tombstones`],
    [
      "an operation never ended",
      "stuck",
      /never finished/,
      `UPDATE operations SET finished_at = NULL, outcome = NULL`,
    ],
    [
      "two operations overlap",
      "duplicated",
      /overlap/,
      `INSERT INTO operations (id, tenant_id, tenant_name, kind, generation, config_hash, execution_id, workflow_provider, workflow_name, start_before, outcome, created_at, finished_at)
       SELECT gen_random_uuid(), tenant_id, tenant_name, kind, generation, config_hash, 'e2', 'r', 'w', now(), 'failed', created_at + interval '500 ms', finished_at FROM operations`,
    ],
  ])("%s", async (_what, kind, pattern, statement) => {
    const found = await foundAfter(statement);
    expect(found[kind].join("\n")).toMatch(pattern);
  });
});

it("the same seed chooses the same, and actors do not take each other's choices", () => {
  const choices = (seed: number): number[] => {
    const random = createRandom(seed);
    const user = random.fork("user");
    return Array.from({ length: 20 }, () => user.between(0, 1_000));
  };
  expect(choices(1)).toEqual(choices(1));
  expect(choices(1)).not.toEqual(choices(2));
  const random = createRandom(1);
  const before = random.fork("user");
  random.next();
  expect(Array.from({ length: 20 }, () => before.between(0, 1_000))).toEqual(choices(1));
});

describe("the slope of a memory", () => {
  const samples = (values: readonly number[]) =>
    values.map((value, index) => ({ atMs: index * 1_000, value }));

  it("is that of the nearest straight line, per minute", () => {
    expect(slopePerMinute(samples([5, 5, 5, 5]))).toBe(0);
    expect(slopePerMinute(samples([0, 1, 2, 3]))).toBeCloseTo(60);
    // A sawtooth around a rise of 0.1 a second.
    const saw = Array.from({ length: 600 }, (_, index) => index * 0.1 + (index % 10) * 3);
    expect(slopePerMinute(samples(saw))).toBeCloseTo(6, 1);
  });

  it("needs two moments", () => {
    expect(slopePerMinute([])).toBeNull();
    expect(slopePerMinute(samples([1]))).toBeNull();
  });
});
