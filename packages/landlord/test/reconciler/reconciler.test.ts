/** The reconciler against what an engine and a fellow server may do to it. */
import { afterEach, expect, test, vi } from "vitest";
import { randomUUID } from "node:crypto";
import { EngineUnavailableError, type WorkflowProvider } from "../../src/workflow/provider.ts";
import { createMockComputeProvider } from "../../src/compute/mock/provider.ts";
import type { Tenant } from "../../src/domain/tenant.ts";
import { startMockSystem, type MockSystem } from "../support/mock-system.ts";
import { eventually } from "../support/eventually.ts";

let system: MockSystem;
afterEach(() => system.stop());

const isReady = (tenant: Tenant): boolean =>
  tenant.status === "ready" && tenant.observedGeneration === tenant.generation;

async function ledgerOf(id: string): Promise<{ execution: string; outcome: string | null; kind: string }[]> {
  const operations = await system.store.listOperations({ idOrName: id, limit: 100, offset: 0 });
  return operations
    .map(({ executionId, outcome, kind }) => ({ execution: executionId, outcome, kind }))
    .reverse();
}

test("a requested tenant is invoked, an updated one again, and a deleted one leaves only its history", async () => {
  system = await startMockSystem();
  system.reconcile();
  const { id } = await system.create("acme");
  await system.until(id, isReady, "ready");
  await system.change(id, { configHash: "hash-2" });
  expect((await system.until(id, isReady, "ready again")).observedGeneration).toBe(2);
  await system.change(id, { intent: "deleted" });
  await system.untilGone(id);
  expect((await ledgerOf(id)).map(({ kind, outcome }) => [kind, outcome])).toEqual([
    ["create", "succeeded"],
    ["update", "succeeded"],
    ["delete", "succeeded"],
  ]);
  const [tombstone] = await system.store.listTombstones({ limit: 10 });
  expect(tombstone).toMatchObject({ tenantId: id, generation: 3 });
  expect([...system.world.running(system.store.instanceId)]).toEqual([]);
});

/** How often a tenant was claimed. */
async function claimsOf(id: string): Promise<number> {
  const [row] = await system.database.query(`SELECT lease_token FROM tenant_work WHERE tenant_id = '${id}'`);
  return Number(row?.["lease_token"]);
}

test("a short job is finished by the pass that invoked it; of a long one the tenant is given back", async () => {
  system = await startMockSystem();
  await system.restart({ completionWaitMs: 30_000 });
  const short = await system.create("short");
  await system.until(short.id, isReady, "ready");
  expect(await claimsOf(short.id), "claims of the short one").toBe(1);
  await system.restart({ completionWaitMs: 0 });
  const long = await system.create("long");
  await system.until(long.id, isReady, "ready");
  expect(await claimsOf(long.id), "claims of the long one").toBeGreaterThan(1);
});

test("a pass that nobody waits for listens for a tenth of the time", async () => {
  const compute = createMockComputeProvider({ latency_ms: 400 });
  system = await startMockSystem({ compute });
  await system.restart({ completionWaitMs: 3_000 });
  const awaited = await system.create("awaited");
  const bulk = await system.create("bulk", {}, "background");
  await system.until(awaited.id, isReady, "ready");
  await system.until(bulk.id, isReady, "ready");
  expect(await claimsOf(awaited.id), "claims of the awaited one").toBe(1);
  expect(await claimsOf(bulk.id), "claims of the other one").toBeGreaterThan(1);
});

test("an answer of the engine that is lost is asked for again under the same id", async () => {
  system = await startMockSystem();
  let lost = 0;
  system.reconcile({}, (provider) => ({
    ...provider,
    async invoke(params) {
      const execution = await provider.invoke(params);
      if (lost++ < 2) throw new EngineUnavailableError("engine_unreachable", "the answer was lost");
      return execution;
    },
  }));
  const { id } = await system.create("acme");
  await system.until(id, isReady, "ready");
  const ledger = await ledgerOf(id);
  expect(ledger).toHaveLength(1);
  expect(system.engine.invocationsOf(ledger[0]?.execution ?? "")).toBe(3);
  expect(system.world.find({ instanceId: system.store.instanceId, tenantId: id })?.starts).toBe(1);
});

test("an engine that is down stops claims, costs no tenant an attempt, and is found again by one probe", async () => {
  system = await startMockSystem();
  system.engine.setDown(true);
  system.reconcile();
  const { id } = await system.create("acme");
  const key = "engine:mock";
  const breakerOf = async (): Promise<{ state: string; lastError: string | null } | undefined> =>
    (await system.store.listBreakers()).find((breaker) => breaker.key === key);
  await eventually(async () => (await breakerOf())?.state === "open", { what: "the breaker opens" });
  // While it is open a new tenant is not even claimed.
  const second = await system.create("second");
  const claims = await system.database.query("SELECT lease_token FROM tenant_work WHERE tenant_id = $1", [
    second.id,
  ]);
  await eventually(async () => (await breakerOf())?.lastError !== null, { what: "a probe failed" });
  expect(claims[0]?.["lease_token"]).toBe("0");
  const waiting = await system.store.getTenant({ idOrName: id });
  expect(waiting?.tenant).toMatchObject({ attempts: 0, nextAttemptAt: null });
  system.engine.setDown(false);
  await Promise.all([id, second.id].map((each) => system.until(each, isReady, "ready")));
  expect((await breakerOf())?.state).toBe("closed");
});

test("an execution that the engine forgot is occupied and attempted anew", async () => {
  system = await startMockSystem({ compute: createMockComputeProvider({ health_after_ms: 300 }) });
  system.reconcile();
  const { id } = await system.create("acme");
  await eventually(
    async () => (await system.store.listOperations({ idOrName: id, limit: 1, offset: 0 }))[0]?.invokedAt,
    { what: "invoked" },
  );
  const [first] = await ledgerOf(id);
  system.engine.wipe();
  await system.until(id, isReady, "ready");
  const ledger = await ledgerOf(id);
  expect(ledger.length).toBeGreaterThanOrEqual(2);
  expect(ledger[0]).toMatchObject({ execution: first?.execution, outcome: "lost" });
  expect(ledger.at(-1)?.outcome).toBe("succeeded");
});

test("a database older than reality continues above what serves", async () => {
  system = await startMockSystem();
  const { id } = await system.create("acme");
  // What a later generation left behind before the database was restored.
  const compute = createMockComputeProvider({}, { world: system.world });
  await compute.apply(
    {
      instanceId: system.store.instanceId,
      tenantId: id,
      tenantName: "acme",
      generation: 5,
      configHash: "later",
      config: {},
      labels: {},
    },
    { idempotencyKey: "k", signal: new AbortController().signal },
  );
  system.reconcile();
  const ready = await system.until(id, isReady, "ready");
  expect(ready.generation).toBe(6);
  const history = await system.store.listTransitions({ idOrName: id, limit: 10, offset: 0 });
  expect(history.map(({ reason }) => reason)).toContain("generation_recovered");
  expect(system.world.find({ instanceId: system.store.instanceId, tenantId: id })?.compute?.configHash).toBe(
    "hash-1",
  );
});

test("a job that starts after its window touches nothing, and the next one runs", async () => {
  system = await startMockSystem();
  system.engine.detachWorker();
  system.reconcile({ startTimeoutMs: 50, statusPollMs: 2_000, statusPollMaxMs: 2_000 });
  const { id } = await system.create("acme");
  await eventually(
    async () => (await system.store.listOperations({ idOrName: id, limit: 1, offset: 0 }))[0]?.invokedAt,
    { what: "invoked" },
  );
  await eventually(
    async () => {
      const rows = await system.database.query(
        "SELECT start_before < now() AS late FROM operations WHERE tenant_id = $1",
        [id],
      );
      return rows[0]?.["late"] === true;
    },
    { what: "the window has passed" },
  );
  await system.worker.register(new AbortController().signal);
  await eventually(
    async () => (await ledgerOf(id)).some(({ outcome }) => outcome === "expired" || outcome === "failed"),
    { what: "the late job ended" },
  );
  expect(
    system.world.find({ instanceId: system.store.instanceId, tenantId: id })?.starts ?? 0,
  ).toBeLessThanOrEqual(1);
  await system.until(id, isReady, "ready");
});

test("past the deadline a tenant that cannot be made fails, if so configured, and says why", async () => {
  system = await startMockSystem({ compute: createMockComputeProvider({ fail_apply: "retryable" }) });
  system.reconcile({ operationDeadlineMs: 300, onDeadline: "fail" });
  const { id } = await system.create("acme");
  const failed = await system.until(id, ({ status }) => status === "failed", "failed");
  expect(failed.lastError?.code).toBe("deadline_exceeded");
  expect(failed.statusMessage).toContain("Last error");
});

test("a tenant that cannot be made keeps retrying with backoff, says so, and is stalled past its deadline", async () => {
  system = await startMockSystem({ compute: createMockComputeProvider({ fail_apply: "retryable" }) });
  system.reconcile({ operationDeadlineMs: 300 });
  const { id } = await system.create("acme");
  const stalled = await system.until(
    id,
    ({ conditions }) => conditions.some(({ type, status }) => type === "Stalled" && status === "True"),
    "stalled",
  );
  expect(stalled.status).toBe("provisioning");
  expect(stalled.attempts).toBeGreaterThan(0);
  expect(stalled.lastError?.message).toBeTruthy();
  // A delete gets through all the same.
  await system.change(id, { intent: "deleted" });
  await system.untilGone(id);
});

test("a rejected desired state fails the tenant, and a new generation mends it", async () => {
  system = await startMockSystem();
  system.reconcile();
  const { id } = await system.create("acme", { fail: "terminal" });
  const failed = await system.until(id, ({ status }) => status === "failed", "failed");
  expect(failed.attempts).toBe(0);
  expect(failed.statusMessage).not.toBe("");
  await system.change(id, { configHash: "hash-2", desiredConfig: {} });
  await system.until(id, isReady, "ready");
});

test("two servers never run two operations of one tenant, and invoke each once", async () => {
  system = await startMockSystem();
  const invoked = new Map<string, number>();
  const counting = (provider: WorkflowProvider): WorkflowProvider => ({
    ...provider,
    invoke: (params) => {
      invoked.set(params.request.execution_id, (invoked.get(params.request.execution_id) ?? 0) + 1);
      return provider.invoke(params);
    },
  });
  system.reconcile({}, counting);
  system.reconcile({}, counting);
  const tenants = await Promise.all(Array.from({ length: 40 }, (_, index) => system.create(`t-${index}`)));
  await Promise.all(tenants.map(({ id }) => system.change(id, { configHash: randomUUID() })));
  await Promise.all(tenants.map(({ id }) => system.until(id, isReady, "ready")));
  expect([...invoked.values()].filter((count) => count !== 1)).toEqual([]);
  const overlapping = await system.database.query(
    `SELECT a.tenant_id FROM operations a JOIN operations b ON a.tenant_id = b.tenant_id AND a.id < b.id
     WHERE a.created_at < coalesce(b.finished_at, 'infinity') AND b.created_at < coalesce(a.finished_at, 'infinity')`,
  );
  expect(overlapping).toEqual([]);
});

test("no more tenants are worked on at once than there are workers", async () => {
  system = await startMockSystem();
  let now = 0;
  let most = 0;
  system.reconcile({ workers: 3 }, (provider) => ({
    ...provider,
    async invoke(params) {
      most = Math.max(most, ++now);
      // Until all workers are at it.
      await eventually(() => most >= 3, { what: "three at once" });
      now -= 1;
      return provider.invoke(params);
    },
  }));
  const tenants = await Promise.all(Array.from({ length: 20 }, (_, index) => system.create(`t-${index}`)));
  await Promise.all(tenants.map(({ id }) => system.until(id, isReady, "ready")));
  expect(most).toBe(3);
});

test("a stop waits for the pass in flight, and what it leaves is taken up by the next server", async () => {
  system = await startMockSystem();
  let release: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => (release = resolve));
  let entered = false;
  const reconciler = system.reconcile({}, (provider) => ({
    ...provider,
    async invoke(params) {
      entered = true;
      await gate;
      return provider.invoke(params);
    },
  }));
  const { id } = await system.create("acme");
  await eventually(() => entered, { what: "a pass is in the middle of its effect" });
  let stopped = false;
  const stop = reconciler.stop().then(() => (stopped = true));
  await new Promise((resolve) => setImmediate(resolve));
  expect(stopped).toBe(false);
  release();
  await stop;
  expect(
    (await system.store.listOperations({ idOrName: id, limit: 1, offset: 0 }))[0]?.invokedAt,
  ).not.toBeNull();
  system.reconcile();
  await system.until(id, isReady, "ready");
});

test("a delete below reality continues above it, and leaves nothing", async () => {
  system = await startMockSystem();
  const { id } = await system.create("acme");
  const compute = createMockComputeProvider({}, { world: system.world });
  await compute.apply(
    {
      instanceId: system.store.instanceId,
      tenantId: id,
      tenantName: "acme",
      generation: 5,
      configHash: "later",
      config: {},
      labels: {},
    },
    { idempotencyKey: "k", signal: new AbortController().signal },
  );
  await system.change(id, { intent: "deleted" });
  system.reconcile();
  await system.untilGone(id);
  expect([...system.world.running(system.store.instanceId)]).toEqual([]);
});

test("a clock that jumps back does not keep an open breaker from being probed", async () => {
  system = await startMockSystem();
  system.engine.setDown(true);
  system.reconcile();
  const { id } = await system.create("acme");
  await eventually(async () => (await system.store.listBreakers()).some(({ state }) => state === "open"), {
    what: "the breaker opens",
  });
  const real = Date.now;
  const jumped = vi.spyOn(Date, "now").mockImplementation(() => real() - 3_600_000);
  try {
    system.engine.setDown(false);
    await system.until(id, isReady, "ready");
  } finally {
    jumped.mockRestore();
  }
});

test("an engine that is healthy and refuses a tenant's calls is told of by the tenant, which stalls", async () => {
  system = await startMockSystem();
  let refusing = true;
  system.reconcile({ operationDeadlineMs: 300 }, (provider) => ({
    ...provider,
    invoke: (params) =>
      refusing
        ? Promise.reject(new EngineUnavailableError("engine_unauthorized", "check the token"))
        : provider.invoke(params),
  }));
  const { id } = await system.create("acme");
  const told = await system.until(
    id,
    ({ conditions }) => conditions.some(({ type, status }) => type === "Stalled" && status === "True"),
    "stalled",
  );
  expect(told).toMatchObject({
    attempts: 0,
    lastError: { code: "engine_unauthorized" },
    statusMessage: "check the token",
  });
  refusing = false;
  expect((await system.until(id, isReady, "ready")).lastError).toBeNull();
});
