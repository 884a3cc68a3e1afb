/** The orphan sweep on a real store: what is removed, what is only reported, and what is looked at again. */
import { randomUUID } from "node:crypto";
import { afterEach, expect, test } from "vitest";
import type { Tenant } from "../../src/domain/tenant.ts";
import { SWEEP_CHORE } from "../../src/contract/system.ts";
import { nodeRuntime } from "../../src/reconciler/runtime.ts";
import { createSweep, type Sweep, type SweepReport, type SweepSettings } from "../../src/reconciler/sweep.ts";

import type { WorkflowProvider } from "../../src/workflow/provider.ts";
import { eventually } from "../support/eventually.ts";
import { startMockSystem, type MockSystem } from "../support/mock-system.ts";
import { testLogger } from "../support/system.ts";

let system: MockSystem;
const sweeps: Sweep[] = [];
afterEach(async () => {
  await Promise.all(sweeps.splice(0).map((running) => running.stop()));
  await system.stop();
});

const isReady = ({ status }: Tenant): boolean => status === "ready";

function sweep(
  settings: Partial<SweepSettings> = {},
  boundToScope = false,
  engine: Pick<WorkflowProvider, "query"> = system.engine.provider,
): void {
  const running = createSweep({
    store: system.store,
    engine,
    computeProviders: [{ name: "mock", boundToScope }],
    settings: { intervalMs: 50, orphanGraceMs: 0, removeOrphans: false, queryTimeoutMs: 2_000, ...settings },
    onAdopted: () => undefined,
    runtime: nodeRuntime,
    logger: testLogger,
  });
  running.start();
  sweeps.push(running);
}

async function report(isWanted: (report: SweepReport) => boolean, what: string): Promise<SweepReport> {
  return eventually(
    async () => {
      const found = (await system.store.getChore({ name: SWEEP_CHORE }))
        ?.report as unknown as SweepReport | null;
      return found !== null && found !== undefined && isWanted(found) && found;
    },
    { what },
  );
}

/** Compute that nobody asked for, as a lost database or a late effect leaves it. */
function leave(tenantId: string, generation = 1): void {
  const tenant = system.world.touch({ instanceId: system.store.instanceId, tenantId });
  tenant.compute = { generation, configHash: "hash", config: {}, startedAtMs: 0 };
}
const runs = (tenantId: string): boolean =>
  (system.world.find({ instanceId: system.store.instanceId, tenantId })?.compute ?? null) !== null;

test("what belongs to nobody is reported, and stays", async () => {
  system = await startMockSystem();
  system.reconcile();
  const { id } = await system.create("acme");
  await system.until(id, isReady, "ready");
  const stranger = randomUUID();
  leave(stranger, 4);
  sweep();
  expect(await report(({ orphans }) => orphans === 1, "it is found")).toMatchObject({
    resources: 2,
    adopted: 0,
  });
  const before = await system.store.listOrphans({ limit: 10 });
  expect(before).toMatchObject([{ tenantId: stranger, generation: 4, computeProvider: "mock" }]);
  await eventually(
    async () => {
      const [again] = await system.store.listOrphans({ limit: 10 });
      return again !== undefined && again.lastSeenAt > (before[0]?.lastSeenAt ?? 0);
    },
    { what: "another sweep" },
  );
  expect(runs(stranger)).toBe(true);
  expect((await system.store.listOrphans({ limit: 10 }))[0]?.firstSeenAt).toEqual(before[0]?.firstSeenAt);
});

test("what belongs to nobody is removed after its grace time, with proof and history, if that is configured", async () => {
  system = await startMockSystem();
  system.reconcile();
  const { id } = await system.create("acme");
  await system.until(id, isReady, "ready");
  const stranger = randomUUID();
  leave(stranger, 4);
  sweep({ removeOrphans: true, orphanGraceMs: 600 });
  await report(({ orphans }) => orphans === 1, "it is found");
  expect(runs(stranger)).toBe(true);
  await eventually(() => Promise.resolve(!runs(stranger)), { what: "it is gone" });
  await system.untilGone(stranger);
  const history = await system.store.listTransitions({ idOrName: stranger, limit: 10, offset: 0 });
  expect(history.map(({ toStatus, reason }) => [toStatus, reason])).toEqual([
    [null, "deleted"],
    ["deleting", "orphan_adopted"],
  ]);
  const [first] = await system.store.listOperations({ idOrName: stranger, limit: 10, offset: 0 });
  expect(first).toMatchObject({ kind: "delete", generation: 4, outcome: "succeeded" });
  expect(runs(id)).toBe(true);
  await report(({ orphans }) => orphans === 0, "nothing is left");
});

test("a removal that is asked for once spares what was seen only just now", async () => {
  system = await startMockSystem();
  system.reconcile();
  const stranger = randomUUID();
  leave(stranger);
  sweep({ intervalMs: 3_600_000, orphanGraceMs: 3_600_000 });
  await report(({ orphans }) => orphans === 1, "it is found");
  await system.store.requestChore({ name: SWEEP_CHORE, options: { remove_orphans: true } });
  await eventually(
    async () => {
      const chore = await system.store.getChore({ name: SWEEP_CHORE });
      return (chore?.finishedAt ?? 0) > (chore?.requestedAt ?? 0);
    },
    { what: "the sweep that was asked for" },
  );
  expect((await system.store.getChore({ name: SWEEP_CHORE }))?.report).toMatchObject({
    orphans: 1,
    adopted: 0,
  });
  expect(runs(stranger)).toBe(true);
  await system.database.query(`UPDATE orphans SET first_seen_at = now() - interval '2 hours'`);
  await system.store.requestChore({ name: SWEEP_CHORE, options: { remove_orphans: true } });
  await eventually(() => Promise.resolve(!runs(stranger)), { what: "it is gone" });
});

test("what comes late of a deleted tenant is always removed, and its fence stays", async () => {
  system = await startMockSystem();
  system.reconcile();
  const { id } = await system.create("acme");
  await system.until(id, isReady, "ready");
  await system.change(id, { intent: "deleted" });
  await system.untilGone(id);
  await system.database.query(`UPDATE tombstones SET created_at = now() - interval '1 minute'`);
  leave(id, 1);
  sweep();
  await eventually(() => Promise.resolve(!runs(id)), { what: "it is gone" });
  await system.untilGone(id);
  const history = await system.store.listTransitions({ idOrName: id, limit: 2, offset: 0 });
  expect(history.map(({ reason }) => reason)).toEqual(["deleted", "tombstone_adopted"]);
  const [tombstone] = await system.store.listTombstones({ limit: 10 });
  expect(tombstone).toMatchObject({ tenantId: id, generation: 2 });
});

test("compute of an archived tenant, and compute ahead of the database, are looked at again and put right", async () => {
  system = await startMockSystem();
  system.reconcile({ resyncRate: 1_000, resyncIntervalMs: 3_600_000 });
  const [archived, behind] = await Promise.all([system.create("archived"), system.create("behind")]);
  await system.until(archived.id, isReady, "ready");
  await system.until(behind.id, isReady, "ready");
  await system.change(archived.id, { intent: "archived" });
  await system.until(archived.id, ({ status }) => status === "archived", "archived");
  leave(archived.id, 1);
  leave(behind.id, 9);
  sweep();
  await eventually(() => Promise.resolve(!runs(archived.id)), { what: "its compute is gone again" });
  await system.until(archived.id, ({ status }) => status === "archived", "archived again");
  const recovered = await system.until(
    behind.id,
    (tenant) => tenant.generation === 10 && tenant.status === "ready" && tenant.observedGeneration === 10,
    "it continues above what was found",
  );
  expect(recovered.name).toBe("behind");
});

test("where a worker sees one scope only, what is in two is removed one after the other", async () => {
  system = await startMockSystem();
  const stranger = randomUUID();
  const resources = ["one", "two"].map((scope) => ({
    tenant_id: stranger,
    generation: 1,
    scope,
    resource_ids: {},
  }));
  sweep({ removeOrphans: true }, true, { query: () => Promise.resolve({ truncated: false, resources }) });
  const adopted = await eventually(
    async () => (await system.store.getTenant({ idOrName: stranger }))?.tenant,
    { what: "it is adopted" },
  );
  expect(adopted.observed.scopes).toEqual(["one"]);
});

test("what a shortened list leaves out is not forgotten", async () => {
  system = await startMockSystem();
  const stranger = randomUUID();
  leave(stranger);
  sweep();
  await report(({ orphans }) => orphans === 1, "it is found");
  await Promise.all(sweeps.splice(0).map((running) => running.stop()));
  const other = randomUUID();
  sweep({}, false, {
    query: () =>
      Promise.resolve({
        truncated: true,
        resources: [{ tenant_id: other, generation: 1, scope: "mock:memory", resource_ids: {} }],
      }),
  });
  await eventually(async () => (await system.store.listOrphans({ limit: 10 })).length === 2, {
    what: "the other one is found",
  });
  expect((await system.store.listOrphans({ limit: 10 })).map(({ tenantId }) => tenantId)).toContain(stranger);
});

test("what cannot be listed is said, and nothing is forgotten because of it", async () => {
  system = await startMockSystem();
  const stranger = randomUUID();
  leave(stranger);
  sweep();
  await report(({ orphans }) => orphans === 1, "it is found");
  await system.worker.stop();
  const blind = await report(({ unseen }) => unseen.length > 0, "nobody answers");
  expect(blind.unseen[0]).toMatchObject({ compute_provider: "mock", scope: null });
  expect(await system.store.listOrphans({ limit: 10 })).toHaveLength(1);
});
