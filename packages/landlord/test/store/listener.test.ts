import { afterAll, beforeAll, expect, it } from "vitest";
import { startEventListener } from "../../src/store/postgres/listener.ts";
import { created } from "../../src/testing/store/records.ts";
import { silentLogger } from "../../src/telemetry/logger.ts";
import { eventually } from "../support/eventually.ts";
import { openPostgresStore } from "../../src/store/postgres/postgres-store.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";

let database: TestDatabase;
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

const open = () =>
  openPostgresStore(
    {
      url: database.url,
      maxConnections: 2,
      connectTimeoutMs: 5_000,
      statementTimeoutMs: 5_000,
      applicationName: "test",
      autoMigrate: true,
    },
    () => undefined,
  );

it("hears of what others numbered, and not of what its own server did", async () => {
  const own = await open();
  const other = await open();
  let heard = 0;
  const listener = startEventListener(database.url, own.senderId, () => (heard += 1), silentLogger);
  try {
    await eventually(() => listener.isListening(), { what: "it listens" });
    // What was committed while nobody listened.
    expect(heard).toBe(1);
    for (let round = 0; round < 5; round += 1) {
      await created(own);
      expect((await own.sequenceTransitions()).count).toBe(1);
    }
    await created(other);
    expect((await other.sequenceTransitions()).count).toBe(1);
    await eventually(() => heard >= 2, { what: "the other's is heard" });
    // Notifications come in the order of their commits: the own ones were before.
    expect(heard).toBe(2);
  } finally {
    await listener.stop();
    await Promise.all([own.close(), other.close()]);
  }
});
