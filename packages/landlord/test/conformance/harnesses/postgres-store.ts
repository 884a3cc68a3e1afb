/** The store on a real PostgreSQL, a database for each behaviour. */
import { setTimeout as delay } from "node:timers/promises";
import { openPostgresStore } from "../../../src/store/postgres/postgres-store.ts";
import { StoreUnavailableError, type Store } from "../../../src/store/store.ts";
import type { ConformanceSubject, StoreHarness } from "../../../src/plugin/testing.ts";
import { createTestDatabase } from "../../support/database.ts";

/** `wrap` stands between the store and its user. */
export async function openPostgresHarness(
  wrap: (store: Store) => Store = (store) => store,
): Promise<StoreHarness> {
  const database = await createTestDatabase();
  const stores: Store[] = [];
  const open = async (): Promise<Store> => {
    const store = await openPostgresStore(
      {
        url: database.url,
        maxConnections: 6,
        connectTimeoutMs: 10_000,
        statementTimeoutMs: 10_000,
        applicationName: "store-conformance",
        autoMigrate: true,
      },
      () => undefined,
    );
    stores.push(store);
    return store;
  };
  return {
    open: async () => wrap(await open()),
    async openLosingAnswer() {
      const store = wrap(await open());
      let isLost = false;
      return {
        ...store,
        async commit(commits) {
          const outcomes = await store.commit(commits);
          if (isLost) return outcomes;
          isLost = true;
          throw new StoreUnavailableError("database_unavailable", "The answer was lost.");
        },
      };
    },
    pass: (durationMs) => delay(durationMs),
    async close() {
      await Promise.all(stores.map((store) => store.close()));
      await database.drop();
    },
  };
}

export const postgresStore: ConformanceSubject<StoreHarness> = {
  name: "postgres",
  open: () => openPostgresHarness(),
};
