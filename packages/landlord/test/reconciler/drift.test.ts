/** Drift on a real store: what is repaired, how much of it at once, and what keeps from repairing. */
import { afterEach, expect, test } from "vitest";
import { createMockComputeProvider } from "../../src/compute/mock/provider.ts";
import { MockWorld } from "../../src/compute/mock/world.ts";
import { ComputeError, type ComputeProvider, type Observation } from "../../src/compute/provider.ts";
import type { Tenant } from "../../src/domain/tenant.ts";
import type { ReconcilerSettings } from "../../src/reconciler/settings.ts";
import { eventually } from "../support/eventually.ts";
import { startMockSystem, type MockSystem } from "../support/mock-system.ts";

let system: MockSystem;
let world: MockWorld;
afterEach(() => system.stop());

/** As fast as the metronome can beat. */
const WATCHFUL: Partial<ReconcilerSettings> = { resyncRate: 2_000, resyncIntervalMs: 20 };

const isReady = (tenant: Tenant): boolean =>
  tenant.status === "ready" && tenant.observedGeneration === tenant.generation;

async function reasonsOf(id: string): Promise<readonly string[]> {
  const transitions = await system.store.listTransitions({ idOrName: id, limit: 100, offset: 0 });
  return transitions.map(({ reason }) => reason).reverse();
}

/** Compute of the mock, and a look at it that a test may change. */
function scripted(look: { change: (seen: Observation) => Observation }): ComputeProvider {
  const mock = createMockComputeProvider();
  return {
    name: mock.name,
    scopeOf: () => mock.scopeOf(),
    observe: async (refs, signal) => (await mock.observe(refs, signal)).map((seen) => look.change(seen)),
    plan: (spec, seen) => mock.plan(spec, seen),
    apply: (spec, options) => mock.apply(spec, options),
    destroy: (ref, options) => mock.destroy(ref, options),
    list: (instanceId, signal) => mock.list(instanceId, signal),
    logs: (ref, options) => mock.logs(ref, options),
  };
}

test("compute that is gone is made again by a recorded operation, at the same generation", async () => {
  system = await startMockSystem();
  system.reconcile(WATCHFUL);
  const { id } = await system.create("acme");
  await system.until(id, isReady, "ready");
  const tenant = system.world.find({ instanceId: system.store.instanceId, tenantId: id });
  if (tenant === null) throw new Error("the world has no such tenant");
  tenant.compute = null;
  await eventually(() => Promise.resolve(tenant.compute !== null), { what: "it runs again" });
  await system.until(id, isReady, "ready again");
  expect(tenant.starts).toBe(2);
  expect(await reasonsOf(id)).toContain("drift_missing");
  expect((await system.store.getTenant({ idOrName: id }))?.tenant.generation).toBe(1);
});

test("compute that stays unhealthy, or is not what was applied, is replaced by a new generation", async () => {
  const look = { change: (seen: Observation): Observation => seen };
  system = await startMockSystem({ compute: scripted(look) });
  system.reconcile({ ...WATCHFUL });
  const { id } = await system.create("acme");
  await system.until(id, isReady, "ready");
  look.change = (seen) =>
    seen.generation === 1 ? { ...seen, health: "unhealthy", message: "it answers 500" } : seen;
  const replaced = await system.until(id, (tenant) => isReady(tenant) && tenant.generation === 2, "replaced");
  expect(replaced.statusMessage).toBe("");
  expect(await reasonsOf(id)).toContain("drift_unhealthy");
  look.change = (seen) => (seen.generation === 2 ? { ...seen, configHash: "other" } : seen);
  await system.until(id, (tenant) => isReady(tenant) && tenant.generation === 3, "replaced again");
  expect(await reasonsOf(id)).toContain("drift_changed");
});

test("a fleet that lost its compute is repaired in small portions", async () => {
  system = await startMockSystem({
    compute: createMockComputeProvider({ latency_ms: 20 }, { world: (world = new MockWorld()) }),
  });
  system.reconcile();
  const tenants = await Promise.all(Array.from({ length: 30 }, (_, index) => system.create(`acme-${index}`)));
  for (const { id } of tenants) await system.until(id, isReady, "ready");
  await system.restart({ ...WATCHFUL, repairsInFlight: 3 });
  world.clear();
  await system.database.query(`UPDATE tenant_work SET resync_at = now()`);
  let most = 0;
  await eventually(
    async () => {
      const [row] = await system.database.query(
        `SELECT count(*)::int AS in_flight FROM operations WHERE finished_at IS NULL AND kind = 'update'`,
      );
      most = Math.max(most, row?.["in_flight"] as number);
      const [repaired] = await system.database.query(
        `SELECT count(DISTINCT tenant_id)::int AS tenants FROM operations WHERE kind = 'update' AND outcome = 'succeeded'`,
      );
      return repaired?.["tenants"] === 30;
    },
    { what: "all are repaired" },
  );
  expect(most).toBeGreaterThan(0);
  expect(most).toBeLessThanOrEqual(3);
});

test("a paused tenant's loss is shown, and repaired only after it is resumed", async () => {
  system = await startMockSystem();
  system.reconcile(WATCHFUL);
  const { id } = await system.create("acme");
  await system.until(id, isReady, "ready");
  await system.database.query(`UPDATE tenants SET paused = true, revision = revision + 1 WHERE id = $1`, [
    id,
  ]);
  const tenant = system.world.find({ instanceId: system.store.instanceId, tenantId: id });
  if (tenant === null) throw new Error("the world has no such tenant");
  tenant.compute = null;
  const noted = await system.until(id, ({ observed }) => observed.health === "absent", "it is noted");
  expect(noted.status).toBe("ready");
  expect(noted.conditions.find(({ type }) => type === "Healthy")?.status).toBe("False");
  expect(tenant.starts).toBe(1);
  await system.database.query(`UPDATE tenants SET paused = false, revision = revision + 1 WHERE id = $1`, [
    id,
  ]);
  await eventually(() => Promise.resolve(tenant.starts === 2), { what: "it is repaired" });
});

test("a provider that is out of reach starts nothing, costs its tenants no attempt, and wakes by itself", async () => {
  const look = { change: (seen: Observation): Observation => seen };
  const provider = scripted(look);
  let isDown = false;
  const down = (): never => {
    throw new ComputeError("compute_unreachable", "The daemon does not answer.", { retryable: true });
  };
  system = await startMockSystem({
    compute: {
      ...provider,
      apply: (spec, options) => (isDown ? down() : provider.apply(spec, options)),
      observe: async (refs, signal) => {
        const seen = await provider.observe(refs, signal);
        return isDown ? seen.map((each) => ({ ...each, presence: "unknown", health: "unknown" })) : seen;
      },
    },
  });
  system.reconcile(WATCHFUL);
  const { id } = await system.create("settled");
  await system.until(id, isReady, "ready");
  isDown = true;
  await eventually(
    async () =>
      (await system.store.listBreakers()).some(
        ({ key, state }) => key === "compute:mock" && state === "open",
      ),
    {
      what: "its breaker opens",
    },
  );
  const late = await system.create("late");
  await eventually(
    async () =>
      (await system.store.listBreakers()).some(
        ({ nextProbeAt, openedAt }) =>
          nextProbeAt !== null && openedAt !== null && nextProbeAt.getTime() - openedAt.getTime() > 6_000,
      ),
    {
      what: "it was probed again",
      timeoutMs: 20_000,
    },
  );
  expect((await system.store.getTenant({ idOrName: late.id }))?.tenant).toMatchObject({
    status: "requested",
    attempts: 0,
  });
  expect(await system.store.listOperations({ idOrName: late.id, limit: 1, offset: 0 })).toEqual([]);
  isDown = false;
  await system.until(late.id, isReady, "what waited is started");
});

test("two servers look at a large fleet no more often than one", async () => {
  const seen: number[] = [];
  const look = { change: (each: Observation): Observation => each };
  const provider = scripted(look);
  system = await startMockSystem({
    compute: {
      ...provider,
      observe(refs, signal) {
        seen.push(refs.length);
        return provider.observe(refs, signal);
      },
    },
  });
  const first = system.reconcile();
  const tenants = await Promise.all(Array.from({ length: 60 }, (_, index) => system.create(`acme-${index}`)));
  for (const { id } of tenants) await system.until(id, isReady, "ready");
  await first.stop();
  seen.length = 0;
  await system.database.query(`UPDATE tenant_work SET resync_at = now()`);
  const startedMs = performance.now();
  const rate = { resyncRate: 20, resyncIntervalMs: 1 };
  system.reconcile(rate);
  system.reconcile(rate);
  await eventually(() => Promise.resolve(seen.reduce((sum, count) => sum + count, 0) >= 60), {
    what: "looks",
    timeoutMs: 20_000,
  });
  const elapsedMs = performance.now() - startedMs;
  const total = seen.reduce((sum, count) => sum + count, 0);
  // A batch may come at once; from then on the rate holds.
  expect(total).toBeLessThanOrEqual(100 + (20 * elapsedMs) / 1_000);
  expect(Math.max(...seen)).toBeLessThanOrEqual(100);
});
