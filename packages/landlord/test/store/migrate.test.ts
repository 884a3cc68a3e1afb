/** Replicas of several versions start together on one schema. */
import type { Migration } from "kysely";
import { sql } from "kysely";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openKysely, openPool } from "../../src/store/postgres/database.ts";
import { migrate, versionOf, type MigrationReport } from "../../src/store/postgres/migrate.ts";
import { MIGRATIONS } from "../../src/store/postgres/migrations/index.ts";
import { openPostgresStore } from "../../src/store/postgres/postgres-store.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";

const OWN = Math.max(...Object.keys(MIGRATIONS).map(versionOf));
const adding = (name: string): Migration => ({
  up: async (db) => void (await sql.raw(`CREATE TABLE ${name} (id int)`).execute(db)),
});
/** The migrations of a binary that is `ahead` versions newer than this one. */
function newer(ahead: number): Record<string, Migration> {
  const more = Array.from({ length: ahead }, (_, index) => {
    const version = String(OWN + index + 1).padStart(4, "0");
    return [`${version}-later`, adding(`later_${version}`)] as const;
  });
  return { ...MIGRATIONS, ...Object.fromEntries(more) };
}

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase();
});
afterEach(() => database.drop());

const settings = () => ({
  url: database.url,
  maxConnections: 2,
  connectTimeoutMs: 10_000,
  statementTimeoutMs: 10_000,
  applicationName: "migrate-test",
});

/** One start of a binary. */
async function start(
  options: { migrations?: Record<string, Migration>; apply?: boolean } = {},
): Promise<MigrationReport> {
  const db = openKysely(openPool(settings(), () => undefined));
  try {
    return await migrate(db, { apply: options.apply ?? true, migrations: options.migrations ?? MIGRATIONS });
  } finally {
    await db.destroy();
  }
}

it("five replicas at once: one migrates, all agree", async () => {
  const reports = await Promise.all(Array.from({ length: 5 }, () => start()));
  expect(reports.map((report) => report.schemaVersion)).toEqual([OWN, OWN, OWN, OWN, OWN]);
  expect(reports.flatMap((report) => report.applied)).toEqual(Object.keys(MIGRATIONS));
  expect(await database.query(`SELECT count(*)::int AS count FROM instance`)).toEqual([{ count: 1 }]);
});

it("a second start changes nothing, and the instance keeps its identity", async () => {
  await start();
  const before = await database.query(`SELECT id FROM instance`);
  expect(await start()).toEqual({ applied: [], schemaVersion: OWN });
  expect(await database.query(`SELECT id FROM instance`)).toEqual(before);
});

it("one version ahead is accepted, by a whole store", async () => {
  await start({ migrations: newer(1) });
  expect(await start()).toEqual({ applied: [], schemaVersion: OWN + 1 });
  const store = await openPostgresStore({ ...settings(), autoMigrate: true }, () => undefined);
  await store.ping();
  await store.close();
});

it("two versions ahead are refused, with what to do", async () => {
  await start({ migrations: newer(2) });
  await expect(start()).rejects.toMatchObject({
    code: "schema_too_new",
    message: expect.stringMatching(/newer version/) as string,
  });
  await expect(
    openPostgresStore({ ...settings(), autoMigrate: false }, () => undefined),
  ).rejects.toMatchObject({
    code: "schema_too_new",
  });
});

describe("without auto_migrate", () => {
  it("an empty database is refused and stays empty", async () => {
    await expect(start({ apply: false })).rejects.toMatchObject({ code: "schema_too_old" });
    const tables = await database.query(
      `SELECT 1 FROM information_schema.tables WHERE table_schema = 'public'`,
    );
    expect(tables).toEqual([]);
  });

  it("an old schema is refused, the right one accepted", async () => {
    await start();
    await expect(start({ apply: false, migrations: newer(1) })).rejects.toMatchObject({
      code: "schema_too_old",
    });
    expect(await start({ apply: false })).toEqual({ applied: [], schemaVersion: OWN });
  });
});

it("an older binary that starts together with a newer one runs too", async () => {
  for (let round = 0; round < 3; round++) {
    const reports = await Promise.all([
      start({ migrations: newer(1) }),
      start(),
      start(),
      start({ migrations: newer(1) }),
    ]);
    for (const report of reports) expect([OWN, OWN + 1]).toContain(report.schemaVersion);
    await database.drop();
    database = await createTestDatabase();
  }
});

it("a migration that fails is rolled back and named", async () => {
  const broken: Migration = {
    async up(db) {
      await sql.raw(`CREATE TABLE half_done (id int)`).execute(db);
      await sql.raw(`SELECT * FROM no_such_table`).execute(db);
    },
  };
  const failed = start({ migrations: { ...MIGRATIONS, "0099-broken": broken } });
  await expect(failed).rejects.toMatchObject({
    code: "migration_failed",
    message: expect.stringContaining("0099-broken") as string,
  });
  expect(await database.query(`SELECT to_regclass('half_done') AS found`)).toEqual([{ found: null }]);
});
