/** A database that accepts and never answers: a stop ends all the same. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { tmpdir } from "node:os";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { eventually } from "../support/eventually.ts";
import { startLandlord } from "../support/landlord-process.ts";

let database: TestDatabase;
beforeEach(async () => {
  database = await createTestDatabase();
});
afterEach(() => database.drop());

test("SIGTERM ends a server whose database went silent", { timeout: 60_000 }, async () => {
  const server = await startLandlord("serve", {
    data_dir: tmpdir(),
    "database.url": database.url,
    "http.port": 0,
    "controller.shutdown_timeout": "2s",
    "http.shutdown_timeout": "2s",
    "compute.process": {},
  });
  // The pool's, and the listener's.
  const backends = await eventually(
    async () => {
      const rows = await database.query(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'landlord%'",
      );
      return rows.length >= 2 && rows.map(({ pid }) => Number(pid));
    },
    { what: "the server has its connections" },
  );
  for (const pid of backends) process.kill(pid, "SIGSTOP");
  try {
    expect(await server.stop()).toBe(0);
  } finally {
    for (const pid of backends) process.kill(pid, "SIGCONT");
  }
});
