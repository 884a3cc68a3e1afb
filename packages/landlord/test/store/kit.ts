/** What the tests of the PostgreSQL store share. */
import { openPostgresStore } from "../../src/store/postgres/postgres-store.ts";
import type { Store } from "../../src/store/store.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";

export {
  ALL_LANES,
  claim,
  claimOne,
  clientWrite,
  commitOf,
  created,
  newOperation,
  stored,
  transitionTo,
} from "../../src/testing/store/records.ts";

export interface StoreUnderTest {
  readonly database: TestDatabase;
  readonly store: Store;
  /** Another server over the same database. */
  open(): Promise<Store>;
  close(): Promise<void>;
}

export async function openStoreUnderTest(): Promise<StoreUnderTest> {
  const database = await createTestDatabase();
  const stores: Store[] = [];
  const open = async (): Promise<Store> => {
    const store = await openPostgresStore(
      {
        url: database.url,
        maxConnections: 10,
        connectTimeoutMs: 10_000,
        statementTimeoutMs: 10_000,
        applicationName: "store-test",
        autoMigrate: true,
      },
      () => undefined,
    );
    stores.push(store);
    return store;
  };
  return {
    database,
    store: await open(),
    open,
    async close() {
      await Promise.all(stores.map((store) => store.close()));
      await database.drop();
    },
  };
}

/** Seconds from now until the tenant is due; null for not until somebody writes. */
export async function dueIn(database: TestDatabase, id: string): Promise<number | null> {
  const [row] = await database.query(
    `SELECT extract(epoch FROM next_reconcile_at - now())::float8 AS due FROM tenant_work WHERE tenant_id = $1`,
    [id],
  );
  return (row?.["due"] ?? null) as number | null;
}
