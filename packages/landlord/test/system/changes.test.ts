/** Desired state that changes while reality is still being made. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { apiOf, type Api } from "../support/api.ts";
import { takeCensus, watchForDoubles } from "../support/census.ts";
import { eventually } from "../support/eventually.ts";
import { startTestSystem, type TestSystem } from "../support/system.ts";
import { webServer } from "../support/workloads.ts";
import type { TenantBody } from "../../src/contract/tenant.ts";

let system: TestSystem;
let api: Api;

beforeAll(async () => {
  system = await startTestSystem();
  api = apiOf(system.url);
});
afterAll(() => system.stop());

async function create(name: string, config: Record<string, unknown>): Promise<string> {
  const answer = await api.call<TenantBody>("POST", "/v1/tenants", {
    name,
    compute_provider: "process",
    compute_config: config,
  });
  expect(answer.status).toBe(201);
  return answer.body.id;
}

test("ten updates sent while provisioning end in the last one, without ten executions", async () => {
  const id = await create("ten-updates", webServer("zero", { startMs: 700 }));
  const watch = watchForDoubles(new Set([id]));
  await api.waitFor(id, "provisioning");
  for (let count = 1; count <= 10; count++) {
    const answer = await api.call("PUT", `/v1/tenants/${id}`, { compute_config: webServer(`text ${count}`) });
    expect(answer.status).toBe(202);
  }
  const ready = await eventually(
    async () => {
      const tenant = await api.tenant(id);
      return tenant?.status === "ready" && tenant;
    },
    { what: "ready" },
  );
  expect(ready.generation).toBe(11);
  expect(ready.observed_generation).toBe(11);
  expect(await (await fetch(ready.endpoints[0]?.url ?? "")).text()).toBe("text 10");
  expect(watch.stop()).toEqual([]);
  const operations = await api.call<{ operations: { outcome: string }[] }>(
    "GET",
    `/v1/tenants/${id}/operations`,
  );
  expect(operations.body.operations.length).toBeLessThanOrEqual(4);
  expect(takeCensus(new Set([id])).leaders.get(id)).toHaveLength(1);
});

test("a delete sent while provisioning wins, and leaves nothing", async () => {
  const id = await create("deleted-early", webServer("x", { startMs: 20_000 }));
  await eventually(() => takeCensus(new Set([id])).leaders.get(id), { what: "its process runs" });
  expect((await api.call("DELETE", `/v1/tenants/${id}`)).status).toBe(202);
  await api.waitGone(id);
  expect(takeCensus(new Set([id])).leaders.size).toBe(0);
  const history = await api.call<{ transitions: { to_status: string | null }[] }>(
    "GET",
    `/v1/tenants/${id}/history`,
  );
  expect(history.body.transitions.map((transition) => transition.to_status)).not.toContain("ready");
});

test("a delete sent before anything was started wins too", async () => {
  const id = await create("deleted-at-once", webServer("x"));
  expect((await api.call("DELETE", `/v1/tenants/${id}`)).status).toBe(202);
  await api.waitGone(id);
  expect(takeCensus(new Set([id])).leaders.size).toBe(0);
  // The name is free again, and the old incarnation does not come back.
  const second = await create("deleted-at-once", webServer("y"));
  expect(second).not.toBe(id);
  await api.waitFor(second, "ready");
  const history = await api.call<{ transitions: { tenant_id: string }[] }>(
    "GET",
    "/v1/tenants/deleted-at-once/history",
  );
  expect(new Set(history.body.transitions.map((transition) => transition.tenant_id))).toEqual(
    new Set([id, second]),
  );
});

test("a bad command that is being retried says so, and the next PUT repairs it", async () => {
  const id = await create("bad-command", { ...webServer("x"), command: ["/nonexistent/program"] });
  const retrying = await eventually(
    async () => {
      const tenant = await api.tenant(id);
      return (
        tenant?.workflow_sub_state === "backing-off" && (tenant.workflow_retry_count ?? 0) >= 1 && tenant
      );
    },
    { what: "retries are visible" },
  );
  expect(retrying.status).toBe("provisioning");
  expect(retrying.workflow_error_message).toContain("/nonexistent/program");
  const filtered = await api.call<{ tenants: TenantBody[] }>(
    "GET",
    "/v1/tenants?workflow_sub_state=backing-off&min_retry_count=1",
  );
  expect(filtered.body.tenants.map((tenant) => tenant.id)).toContain(id);

  await api.call("PUT", `/v1/tenants/${id}`, { compute_config: webServer("mended") });
  const ready = await api.waitFor(id, "ready");
  expect(ready.observed_generation).toBe(2);
  expect(ready.workflow_error_message).toBeUndefined();
  expect(await (await fetch(ready.endpoints[0]?.url ?? "")).text()).toBe("mended");
});

test("a workload that never gets healthy is replaced by the next PUT without waiting for its deadline", async () => {
  const id = await create("never-healthy", webServer("x", { startMs: 60_000 }));
  await eventually(async () => (await api.tenant(id))?.workflow_sub_state === "waiting", {
    what: "it only waits",
  });
  await api.call("PUT", `/v1/tenants/${id}`, { compute_config: webServer("healthy") });
  const ready = await api.waitFor(id, "ready", 15_000);
  expect(ready.observed_generation).toBe(2);
});

test("a workload that exits at once is retried with its output in the message", async () => {
  const id = await create("crash-loop", { command: ["sh", "-c", "echo cannot find my config; exit 3"] });
  const tenant = await eventually(
    async () => {
      const found = await api.tenant(id);
      return found?.workflow_error_message?.includes("cannot find my config") && found;
    },
    { what: "the output is shown" },
  );
  expect(tenant.status).toBe("provisioning");
  expect((await api.call("DELETE", `/v1/tenants/${id}`)).status).toBe(202);
  await api.waitGone(id);
});

test("archive from every stage, and delete from archived", async () => {
  const id = await create("archived-early", webServer("x", { startMs: 20_000 }));
  await eventually(() => takeCensus(new Set([id])).leaders.get(id), { what: "its process runs" });
  expect((await api.call("POST", `/v1/tenants/${id}/archive`)).status).toBe(202);
  await api.waitFor(id, "archived");
  expect(takeCensus(new Set([id])).leaders.size).toBe(0);
  expect((await api.call("POST", `/v1/tenants/${id}/archive`)).status).toBe(200);
  expect((await api.call("DELETE", `/v1/tenants/${id}`)).status).toBe(202);
  await api.waitGone(id);
});
