/** `landlord migrate` apart from the servers, and servers that must not migrate. */
import { tmpdir } from "node:os";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { spawnLandlord, startLandlord } from "../support/landlord-process.ts";

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase();
});
afterEach(() => database.drop());

const settings = (): Record<string, unknown> => ({ data_dir: tmpdir(), "database.url": database.url });
const serving = (): Record<string, unknown> => ({
  ...settings(),
  "http.port": 0,
  "controller.enabled": false,
  "database.auto_migrate": false,
  "compute.process": {},
});

async function tables(): Promise<number> {
  const rows = await database.query("SELECT count(*)::int AS n FROM pg_tables WHERE schemaname = 'public'");
  return Number(rows[0]?.["n"]);
}

test("a server that may not migrate refuses an empty database, and says which command helps", async () => {
  const server = spawnLandlord("serve", serving());
  expect(await server.exited).not.toBe(0);
  expect(server.log()).toContain("landlord migrate");
  expect(await tables()).toBe(0);
});

test("landlord migrate brings the schema, once; then the server starts", async () => {
  const first = spawnLandlord("migrate", settings());
  expect(await first.exited).toBe(0);
  expect(first.log()).toMatch(/schema version \d+: applied 0001-initial/);
  const second = spawnLandlord("migrate", settings());
  expect(await second.exited).toBe(0);
  expect(second.log()).toMatch(/schema version \d+: nothing to do/);
  const server = await startLandlord("serve", serving());
  expect((await fetch(`${server.url}/ready`)).status).toBe(200);
  expect(await server.stop()).toBe(0);
});

test("a database that is not there is waited for", async () => {
  const absent = new URL(database.url);
  absent.port = "1";
  const server = spawnLandlord("serve", { ...serving(), "database.url": absent.toString() });
  await expect
    .poll(() => server.log(), { timeout: 20_000 })
    .toContain("the database is not reachable yet; retrying");
  server.child.kill("SIGTERM");
  expect(await server.exited).not.toBeNull();
});
