/** A fleet as the first release left it in its database, taken over by this one. Holds for every later migration too. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { findWrongRecords } from "../../../../chaos/checks.ts";
import type { TenantBody } from "../../src/contract/tenant.ts";
import { configHash } from "../../src/domain/json.ts";
import { startServer } from "../../src/start/server.ts";
import { startWorker } from "../../src/start/worker.ts";
import { openKysely, openPool } from "../../src/store/postgres/database.ts";
import { migrate } from "../../src/store/postgres/migrate.ts";
import { MIGRATIONS } from "../../src/store/postgres/migrations/index.ts";
import { apiOf, type Api } from "../support/api.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { eventually } from "../support/eventually.ts";
import { openSql } from "../support/sql.ts";
import { randomNamespace, serverConfig, testLogger, testSettings, workerConfig } from "../support/system.ts";

const FIRST = "0001-initial";
const CREATED = { name: "requested", compute_provider: "mock", compute_config: { size: "a" } };

let database: TestDatabase;
let folder: string;
const closers: (() => Promise<void>)[] = [];

beforeEach(async () => {
  database = await createTestDatabase();
  folder = await mkdtemp(join(tmpdir(), "landlord-upgrade-"));
  closers.push(
    () => rm(folder, { recursive: true, force: true }),
    () => database.drop(),
  );
});
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

/** The schema of the first release, with its data. */
async function leaveBehind(): Promise<void> {
  const db = openKysely(
    openPool(
      {
        url: database.url,
        maxConnections: 1,
        connectTimeoutMs: 10_000,
        statementTimeoutMs: 10_000,
        applicationName: "upgrade-test",
      },
      () => undefined,
    ),
  );
  const first = MIGRATIONS[FIRST];
  if (first === undefined) throw new Error(`${FIRST} is no migration any more`);
  await migrate(db, { apply: true, migrations: { [FIRST]: first } });
  await db.destroy();
  const fixture = await readFile(new URL("fixtures/schema-0001.sql", import.meta.url), "utf8");
  await database.query(fixture.replaceAll(":'request_hash'", `'${configHash(CREATED)}'`));
}

const OLD_ROWS = {
  tenants: "SELECT id, name, created_at, annotations, labels FROM tenants ORDER BY id",
  history:
    "SELECT id, tenant_id, from_status, to_status, reason, at FROM transitions WHERE id <= 12 ORDER BY id",
  ledger:
    "SELECT id, tenant_id, kind, execution_id, created_at FROM operations WHERE id::text LIKE '1000%' ORDER BY id",
  generations: "SELECT tenant_id, generation, desired_config FROM generations ORDER BY 1, 2",
  tombstones: "SELECT tenant_id, generation, expires_at FROM tombstones ORDER BY 1",
} as const;

async function oldRows(): Promise<Record<string, readonly Record<string, unknown>[]>> {
  const entries = await Promise.all(
    Object.entries(OLD_ROWS).map(async ([name, text]) => [name, await database.query(text)] as const),
  );
  return Object.fromEntries(entries);
}

async function startAll(): Promise<Api> {
  const settings = testSettings(folder, randomNamespace());
  const signal = new AbortController().signal;
  const server = await startServer(
    serverConfig({
      ...settings,
      "database.url": database.url,
      "http.port": 0,
      "controller.status_poll_interval": "200ms",
      "controller.backoff_initial": "200ms",
      "controller.resync_interval": "500ms",
      "compute.mock": {},
    }),
    testLogger,
    signal,
  );
  closers.push(() => server.stop());
  const worker = await startWorker(
    workerConfig({
      ...settings,
      "workflow.restate.worker_listen_port": 0,
      "worker.api_url": server.url,
      "worker.absence_settle": "50ms",
      "worker.shutdown_timeout": "1s",
    }),
    testLogger,
    signal,
  );
  closers.push(() => worker.stop());
  return apiOf(server.url);
}

test("the fixture has a row in every table of the first schema", async () => {
  await leaveBehind();
  const tables = await database.query(
    `SELECT table_name AS name FROM information_schema.tables
     WHERE table_schema = 'public' AND table_name NOT LIKE 'kysely%' ORDER BY 1`,
  );
  expect(tables.length).toBeGreaterThan(8);
  for (const { name } of tables) {
    const [row] = await database.query(`SELECT count(*)::int AS count FROM ${String(name)}`);
    expect(row?.["count"], String(name)).toBeGreaterThan(0);
  }
  const statuses = await database.query("SELECT DISTINCT status FROM tenants");
  expect(statuses).toHaveLength(8);
});

test("this release migrates it, keeps every row, and the tenants go on", { timeout: 120_000 }, async () => {
  await leaveBehind();
  const before = await oldRows();
  const [instance] = await database.query("SELECT id FROM instance");
  const api = await startAll();
  const applied = await database.query("SELECT name FROM kysely_migration ORDER BY name");
  expect(applied.map(({ name }) => name)).toEqual(Object.keys(MIGRATIONS));

  // The answer of a creation before the upgrade is repeated.
  const replayed = await api.call<TenantBody>("POST", "/v1/tenants", CREATED, { "idempotency-key": "key-1" });
  expect(replayed.status).toBe(201);
  expect(replayed.headers.get("idempotent-replayed")).toBe("true");
  expect(replayed.body.id).toBe("00000000-0000-4000-8000-000000000001");

  const wanted = {
    requested: "ready",
    provisioning: "ready",
    ready: "ready",
    updating: "ready",
    archived: "archived",
    archiving: "archived",
    failed: "failed",
  };
  const statuses = async (): Promise<Record<string, string>> => {
    const answer = await api.call<{ tenants: TenantBody[] }>("GET", "/v1/tenants?include_deleted=true");
    const settled = answer.body.tenants.map(({ name, status, generation, observed_generation }) => [
      name,
      status === "failed" || generation === observed_generation ? status : `${status}, not settled`,
    ]);
    return Object.fromEntries(settled) as Record<string, string>;
  };
  const expected = JSON.stringify(Object.entries(wanted).toSorted());
  let last: Record<string, string> = {};
  await eventually(
    async () => {
      last = await statuses();
      return JSON.stringify(Object.entries(last).toSorted()) === expected;
    },
    { what: "the tenants are where they were going", timeoutMs: 25_000, everyMs: 200 },
  ).catch((error: unknown) => {
    expect(last, String(error)).toEqual(wanted);
    throw error;
  });

  // The one that was ready had lost its compute: it is looked at like every other, and has it again.
  await eventually(async () => (await api.tenant("ready"))?.observed_resource_ids["mock"]?.endsWith("-2"), {
    what: "drift was found and repaired",
    timeoutMs: 30_000,
  });
  const failed = await api.call<TenantBody>("PUT", "/v1/tenants/failed", { compute_config: { size: "h2" } });
  expect(failed.status).toBe(202);
  await api.waitFor("failed", "ready");

  // Nothing of what was there is gone or different, but what the tenants' own way has changed.
  const after = await oldRows();
  expect(after["tenants"]).toEqual(before["tenants"]?.filter(({ name }) => name !== "deleting"));
  expect(after["history"]).toEqual(before["history"]);
  expect(after["ledger"]).toEqual(before["ledger"]);
  expect(after["tombstones"]).toEqual(expect.arrayContaining([...(before["tombstones"] ?? [])]));
  expect(after["generations"]).toEqual(
    expect.arrayContaining(
      (before["generations"] ?? []).filter(({ tenant_id: id }) => !String(id).endsWith("7")),
    ),
  );
  expect(await database.query("SELECT id FROM instance")).toEqual([instance]);
  const gone = await api.call<{ transitions: unknown[] }>("GET", "/v1/tenants/gone/history");
  expect(gone.body.transitions).toHaveLength(3);

  const sql = openSql(database.url);
  closers.push(() => sql.close());
  await eventually(
    async () => (await database.query("SELECT 1 FROM transitions WHERE position IS NULL")).length === 0,
    { what: "the sequencer went on" },
  );
  expect(await findWrongRecords(sql)).toEqual({ lost: [], duplicated: [], orphaned: [], stuck: [] });
});
