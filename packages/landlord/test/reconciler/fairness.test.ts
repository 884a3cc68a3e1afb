/** Who is started when there is more to do than may be done at once. */
import { afterEach, expect, test } from "vitest";
import { createMockComputeProvider } from "../../src/compute/mock/provider.ts";
import type { Tenant } from "../../src/domain/tenant.ts";
import { eventually } from "../support/eventually.ts";
import { startMockSystem, type MockSystem } from "../support/mock-system.ts";

let system: MockSystem;
afterEach(() => system.stop());

const isReady = ({ status }: Tenant): boolean => status === "ready";

async function createMany(count: number, prefix: string): Promise<string[]> {
  const tenants = await Promise.all(
    Array.from({ length: count }, (_, index) => system.create(`${prefix}-${index}`)),
  );
  return tenants.map(({ id }) => id);
}

/** The most operations that were ever in flight until all of these were ready. */
async function mostInFlight(ids: readonly string[]): Promise<number> {
  let most = 0;
  await eventually(
    async () => {
      const [row] = await system.database.query(
        `SELECT count(*) FILTER (WHERE finished_at IS NULL)::int AS in_flight,
                count(*) FILTER (WHERE outcome = 'succeeded')::int AS done FROM operations`,
      );
      most = Math.max(most, row?.["in_flight"] as number);
      return row?.["done"] === ids.length;
    },
    { what: "all are ready", everyMs: 5 },
  );
  return most;
}

test("a compute provider never has more operations in flight than its limit, and everybody gets there", async () => {
  system = await startMockSystem({ compute: createMockComputeProvider({ latency_ms: 30 }) });
  const ids = await createMany(20, "acme");
  system.reconcile({ computeLimits: { mock: { maxInFlight: 3, startsPerSecond: null } } });
  const most = await mostInFlight(ids);
  expect(most).toBeGreaterThan(1);
  expect(most).toBeLessThanOrEqual(3);
});

test("a compute provider gets no more starts a second than it takes", async () => {
  system = await startMockSystem();
  const ids = await createMany(6, "acme");
  const startedMs = performance.now();
  system.reconcile({ computeLimits: { mock: { maxInFlight: null, startsPerSecond: 4 } } });
  await mostInFlight(ids);
  // One at once, then a quarter of a second for each of the five others.
  expect(performance.now() - startedMs).toBeGreaterThan(1_200);
});

test("one tenant that somebody waits for goes before a thousand that nobody does", async () => {
  system = await startMockSystem({ compute: createMockComputeProvider({ latency_ms: 20 }) });
  const bulk = await createMany(200, "bulk");
  await system.database.query(`UPDATE tenant_work SET lane = 2`);
  system.reconcile({ maxInFlight: 10 });
  await system.until(bulk[0] ?? "", isReady, "bulk work has begun");
  const { id } = await system.create("urgent");
  await system.until(id, isReady, "ready");
  const [row] = await system.database.query(
    `SELECT count(*)::int AS waiting FROM tenants WHERE status = 'requested'`,
  );
  expect(row?.["waiting"]).toBeGreaterThan(100);
});
