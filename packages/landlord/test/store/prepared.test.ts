/** Prepared statements, and what takes them away: a migration, and a pooler that hands out other sessions. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { sql, type Kysely } from "kysely";
import type pg from "pg";
import { openKysely, openPool, type Database } from "../../src/store/postgres/database.ts";
import { createPreparedStatements } from "../../src/store/postgres/prepared.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";

let database: TestDatabase;
let pool: pg.Pool;
let db: Kysely<Database>;
beforeAll(async () => {
  database = await createTestDatabase();
  pool = openPool(
    {
      url: database.url,
      // One session, so that every statement meets what the one before it left there.
      maxConnections: 1,
      connectTimeoutMs: 5_000,
      statementTimeoutMs: 5_000,
      applicationName: "test",
    },
    () => undefined,
  );
  db = openKysely(pool);
  await sql`CREATE TABLE things (id int PRIMARY KEY, name text)`.execute(db);
  await sql`INSERT INTO things VALUES (1, 'one'), (2, 'two')`.execute(db);
});
afterAll(async () => {
  await pool.end();
  await database.drop();
});

const read = async (id: number): Promise<readonly unknown[]> =>
  (await sql`SELECT * FROM things WHERE id = ${id} AND name IS NOT NULL`.execute(db)).rows;

const names = async (): Promise<readonly unknown[]> =>
  (await pool.query<{ name: string }>("SELECT name FROM pg_prepared_statements")).rows;

/** The pool replaces its only one. */
const beginSession = (): Promise<unknown> =>
  pool.query("SELECT pg_terminate_backend(pg_backend_pid())").catch(() => undefined);

it("prepares what is asked for again", async () => {
  expect(await read(1)).toEqual([{ id: 1, name: "one" }]);
  expect(await names()).toEqual([]);
  expect(await read(2)).toEqual([{ id: 2, name: "two" }]);
  expect(await names()).toHaveLength(1);
});

it("goes on when a migration changes the columns that a plan answers", async () => {
  await read(1);
  await read(1);
  await sql`ALTER TABLE things ADD COLUMN size int DEFAULT 7`.execute(db);
  expect(await read(1)).toEqual([{ id: 1, name: "one", size: 7 }]);
  expect(await read(2)).toEqual([{ id: 2, name: "two", size: 7 }]);
});

it("reads rows as a new session describes them, under the name that an old one gave", async () => {
  await sql`CREATE TABLE changing AS SELECT 1 AS id, '1' AS size`.execute(db);
  const row = async (): Promise<unknown> => (await sql`SELECT * FROM changing`.execute(db)).rows[0];
  await beginSession();
  await row();
  expect(await row()).toEqual({ id: 1, size: "1" });
  const before = await names();
  expect(before).toHaveLength(1);
  const changes = [
    { change: "ALTER COLUMN size TYPE int USING size::int", expected: { id: 1, size: 1 } },
    { change: "RENAME COLUMN size TO height", expected: { id: 1, height: 1 } },
    { change: "ADD COLUMN name text", expected: { id: 1, height: 1, name: null } },
  ];
  for (const { change, expected } of changes) {
    await pool.query(`ALTER TABLE changing ${change}`);
    await beginSession();
    expect(await row()).toEqual(expected);
    expect(await names()).toEqual(before);
  }
});

it("goes on behind a pooler whose sessions know no names", async () => {
  const text = async (id: number): Promise<number> =>
    (
      await sql`SELECT id, 'a text of its own that is long enough' AS text FROM things WHERE id = ${id}`.execute(
        db,
      )
    ).rows.length;
  await text(1);
  await text(1);
  await pool.query("DEALLOCATE ALL");
  expect(await text(2)).toBe(1);
  expect(await text(2)).toBe(1);
  expect(await names(), "from then on nothing is prepared").toEqual([]);
});

it("has a bound for names", () => {
  const prepared = createPreparedStatements();
  const named = Array.from({ length: 400 }, (_, index) => {
    const text = `SELECT ${index} FROM a_table_with_quite_a_long_name`;
    prepared.nameOf(text);
    return prepared.nameOf(text);
  }).filter((name) => name !== null);
  expect(new Set(named).size).toBe(named.length);
  expect(named.length).toBeLessThanOrEqual(200);
});
