/** Compute that is bound to a place: the place is known before anything begins there. */
import { afterEach, expect, test } from "vitest";
import { createMockComputeProvider } from "../../src/compute/mock/provider.ts";
import { ComputeError } from "../../src/compute/provider.ts";
import { nameInScope, WORKFLOW_NAME } from "../../src/contract/job.ts";
import { startMockSystem, type MockSystem } from "../support/mock-system.ts";

const SCOPE = "mock:memory";

let system: MockSystem;
afterEach(() => system.stop());

async function placeOf(id: string): Promise<unknown> {
  const [row] = await system.database.query(
    `SELECT t.scopes, o.workflow_name, o.request -> 'scopes' AS told FROM tenants t
     LEFT JOIN operations o ON o.tenant_id = t.id WHERE t.id = $1 ORDER BY o.created_at LIMIT 1`,
    [id],
  );
  return row;
}

test("a first job that never reports anything leaves its place in the ledger, and goes to no other", async () => {
  const mock = createMockComputeProvider();
  let isStuck = true;
  system = await startMockSystem({
    boundToScope: true,
    compute: {
      name: "mock",
      scopeOf: () => mock.scopeOf(),
      observe: (refs, signal) => mock.observe(refs, signal),
      plan: (spec, seen) => mock.plan(spec, seen),
      apply: (spec, options) =>
        isStuck
          ? Promise.reject(new ComputeError("stuck", "It does not get on.", { retryable: true }))
          : mock.apply(spec, options),
      destroy: (ref, options) => mock.destroy(ref, options),
      list: (instanceId, signal) => mock.list(instanceId, signal),
      logs: (ref, options) => mock.logs(ref, options),
    },
  });
  system.reconcile();
  const { id } = await system.create("acme");
  await system.until(id, ({ attempts }) => attempts > 0, "an attempt has failed");
  expect(await placeOf(id)).toEqual({
    scopes: [SCOPE],
    workflow_name: nameInScope(WORKFLOW_NAME, SCOPE),
    told: null,
  });
  isStuck = false;
  const ready = await system.until(id, ({ status }) => status === "ready", "ready");
  expect(ready.observed.scopes).toEqual([SCOPE]);
});

test("without a worker nothing is placed and nothing begins; the tenant says so, and goes on when one comes", async () => {
  system = await startMockSystem({ boundToScope: true });
  await system.worker.stop();
  system.reconcile();
  const { id } = await system.create("acme");
  const waiting = await system.until(id, ({ lastError }) => lastError !== null, "it says why");
  expect(waiting).toMatchObject({ status: "requested", attempts: 0, lastError: { code: "no_worker" } });
  expect(await placeOf(id)).toMatchObject({ scopes: [], workflow_name: null });
  await system.worker.register(new AbortController().signal);
  await system.until(id, ({ status }) => status === "ready", "ready");
});

test("a worker that cannot say where it is costs the tenant no attempt", async () => {
  const mock = createMockComputeProvider();
  system = await startMockSystem({
    boundToScope: true,
    compute: {
      name: "mock",
      scopeOf: () => mock.scopeOf(),
      observe: () =>
        Promise.reject(new ComputeError("no_folder", "The folder is gone.", { retryable: true })),
      plan: (spec, seen) => mock.plan(spec, seen),
      apply: (spec, options) => mock.apply(spec, options),
      destroy: (ref, options) => mock.destroy(ref, options),
      list: (instanceId, signal) => mock.list(instanceId, signal),
      logs: (ref, options) => mock.logs(ref, options),
    },
  });
  system.reconcile();
  const { id } = await system.create("acme");
  const waiting = await system.until(id, ({ lastError }) => lastError !== null, "it says why");
  expect(waiting).toMatchObject({
    attempts: 0,
    lastError: { code: "query_failed", message: expect.stringContaining("The folder is gone.") as string },
  });
});
