/** Compute that was made on another host: it is neither joined by a second set nor declared absent from here. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { apiOf, type Api } from "../support/api.ts";
import { takeCensus } from "../support/census.ts";
import { pickFreePorts } from "../../src/os/supervised.ts";
import { eventually } from "../support/eventually.ts";
import { startTestSystem, type TestSystem } from "../support/system.ts";
import { sleeper } from "../support/workloads.ts";
import type { TenantBody } from "../../src/contract/tenant.ts";

let system: TestSystem;
let api: Api;
let elsewhere: string;
/** Each host has its own address and keeps it: an execution in flight retries its worker's. */
let home: Readonly<Record<string, unknown>>;
let foreign: Readonly<Record<string, unknown>>;

beforeEach(async () => {
  elsewhere = await mkdtemp(join(tmpdir(), "landlord-elsewhere-"));
  system = await startTestSystem({ worker: false });
  api = apiOf(system.url);
  const [homePort = 0, foreignPort = 0] = await pickFreePorts(2);
  home = { "workflow.restate.worker_listen_port": homePort };
  foreign = { "workflow.restate.worker_listen_port": foreignPort, data_dir: elsewhere };
});
afterEach(async () => {
  await system.stop();
  await rm(elsewhere, { recursive: true, force: true });
});

async function create(config: Record<string, unknown>, name = "far"): Promise<string> {
  const { body } = await api.call<TenantBody>("POST", "/v1/tenants", {
    name,
    compute_provider: "process",
    compute_config: config,
  });
  return body.id;
}

const unreachable = (id: string): Promise<TenantBody> =>
  eventually(
    async () => {
      const tenant = await api.tenant(id);
      return tenant?.workflow_error_message?.includes("process:") && tenant;
    },
    { what: "it says that another host is needed" },
  );

test("jobs go to the host of the tenant, whichever worker came last", async () => {
  await system.startWorker(home);
  const id = await create(sleeper());
  await api.waitFor(id, "ready");
  await system.startWorker(foreign);
  const elsewhereId = await create(sleeper(), "near");
  await api.waitFor(elsewhereId, "ready");
  const scopes = await system.database.query("SELECT DISTINCT scopes FROM tenants");
  expect(scopes).toHaveLength(2);
  for (const tenant of [id, elsewhereId]) {
    await api.call("PUT", `/v1/tenants/${tenant}`, { compute_config: sleeper(200_000) });
  }
  for (const tenant of [id, elsewhereId]) {
    await eventually(async () => (await api.tenant(tenant))?.observed_generation === 2, { what: "updated" });
    expect(takeCensus(new Set([tenant])).leaders.get(tenant)).toHaveLength(1);
  }
  for (const tenant of [id, elsewhereId]) await api.call("DELETE", `/v1/tenants/${tenant}`);
  for (const tenant of [id, elsewhereId]) await api.waitGone(tenant);
});

test("an update waits for the host of the tenant, starts no second set elsewhere, and says where it waits", async () => {
  const worker = await system.startWorker(home);
  const id = await create(sleeper());
  await api.waitFor(id, "ready");
  await worker.stop();
  await system.startWorker(foreign);
  await api.call("PUT", `/v1/tenants/${id}`, { compute_config: sleeper(200_000) });
  const waiting = await unreachable(id);
  expect(waiting.status).toBe("updating");
  expect(takeCensus(new Set([id])).leaders.get(id)).toHaveLength(1);
  await system.startWorker(home);
  await api.waitFor(id, "ready");
  expect(takeCensus(new Set([id])).leaders.get(id)).toHaveLength(1);
  await api.call("DELETE", `/v1/tenants/${id}`);
  await api.waitGone(id);
});

test("what a failed create left behind is not declared absent from another host", async () => {
  const worker = await system.startWorker(home);
  const id = await create({
    ...sleeper(),
    ports: [{}],
    health_check: { type: "tcp", interval_seconds: 1, timeout_seconds: 1, deadline_seconds: 1 },
  });
  await eventually(
    async () => {
      const { body } = await api.call<{ operations: { outcome: string | null }[] }>(
        "GET",
        `/v1/tenants/${id}/operations`,
      );
      return body.operations.some(({ outcome }) => outcome === "failed");
    },
    { what: "an attempt has failed" },
  );
  await worker.stop();
  await system.startWorker(foreign);
  await api.call("DELETE", `/v1/tenants/${id}`);
  await unreachable(id);
  expect((await api.tenant(id))?.status).toBe("deleting");
  await system.startWorker(home);
  await api.waitGone(id);
  expect(takeCensus(new Set([id])).leaders.size).toBe(0);
});
