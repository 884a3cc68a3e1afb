/** What looking again costs does not depend on how many tenants there are, nor on how many servers ask. */
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Store } from "../../src/store/store.ts";
import { created, openStoreUnderTest, type StoreUnderTest } from "./kit.ts";

const LIMIT = 10;
const EVERY_MS = 50;
const WATCH_MS = 2_000;

let under: StoreUnderTest;
let servers: readonly Store[];

beforeAll(async () => {
  under = await openStoreUnderTest();
  servers = [under.store, await under.open()];
  await created(under.store);
});
afterAll(() => under.close());

async function growTo(tenants: number): Promise<void> {
  await under.database.query(
    `INSERT INTO tenants SELECT (jsonb_populate_record(t, jsonb_build_object('id', gen_random_uuid(), 'name', 'f-' || gen_random_uuid(),
        'status', 'ready'))).*
     FROM tenants t, generate_series(1, $1::int - (SELECT count(*)::int FROM tenants))
     WHERE t.id = (SELECT id FROM tenants LIMIT 1)`,
    [tenants],
  );
  await under.database.query(
    `INSERT INTO tenant_work (tenant_id, compute_provider) SELECT id, 'mock' FROM tenants ON CONFLICT DO NOTHING`,
  );
  // All of them are overdue: the worst that there is.
  await under.database.query(
    `UPDATE tenant_work SET next_reconcile_at = NULL, lease_holder = NULL, lease_until = NULL, resync_at = now() - interval '1 hour'`,
  );
  await under.database.query(`ANALYZE`);
}

/** How many looks two servers get that ask far more often than they may. */
async function looksTaken(): Promise<{ readonly taken: number; readonly elapsedMs: number }> {
  const startedMs = performance.now();
  let taken = 0;
  const ask = async (store: Store, leaseOwner: string): Promise<void> => {
    while (performance.now() - startedMs < WATCH_MS) {
      taken += (
        await store.claimResync({ leaseOwner, leaseDurationMs: 60_000, limit: LIMIT, everyMs: EVERY_MS })
      ).length;
      await delay(5);
    }
  };
  await Promise.all(servers.map((store, index) => ask(store, `server-${index}`)));
  return { taken, elapsedMs: performance.now() - startedMs };
}

test.each([1_000, 100_000])("with %i tenants", { timeout: 120_000 }, async (tenants) => {
  await growTo(tenants);
  const { taken, elapsedMs } = await looksTaken();
  expect(taken).toBeLessThanOrEqual(LIMIT * (elapsedMs / EVERY_MS + 1));
  // How far below that it stays is the machine's; but nobody is starved.
  expect(taken).toBeGreaterThan(LIMIT);
});
