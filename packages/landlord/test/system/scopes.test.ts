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
/** An execution in flight retries its worker's address, so the workers of this test share one. */
let sameAddress: Readonly<Record<string, number>>;

beforeEach(async () => {
  elsewhere = await mkdtemp(join(tmpdir(), "landlord-elsewhere-"));
  system = await startTestSystem({ worker: false });
  api = apiOf(system.url);
  const [port = 0] = await pickFreePorts(1);
  sameAddress = { "workflow.restate.worker_listen_port": port };
});
afterEach(async () => {
  await system.stop();
  await rm(elsewhere, { recursive: true, force: true });
});

async function create(config: Record<string, unknown>): Promise<string> {
  const { body } = await api.call<TenantBody>("POST", "/v1/tenants", {
    name: "far",
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

test("an update on another host does not start a second set, and says which host is needed", async () => {
  const home = await system.startWorker(sameAddress);
  const id = await create(sleeper());
  await api.waitFor(id, "ready");
  await home.stop();
  const foreign = await system.startWorker({ ...sameAddress, data_dir: elsewhere });
  await api.call("PUT", `/v1/tenants/${id}`, { compute_config: sleeper(200_000) });
  const waiting = await unreachable(id);
  expect(waiting.status).toBe("updating");
  expect(takeCensus(new Set([id])).leaders.get(id)).toHaveLength(1);
  await foreign.stop();
  await system.startWorker(sameAddress);
  await api.waitFor(id, "ready");
  expect(takeCensus(new Set([id])).leaders.get(id)).toHaveLength(1);
  await api.call("DELETE", `/v1/tenants/${id}`);
  await api.waitGone(id);
});

test("what a failed create left behind is not declared absent from another host", async () => {
  const home = await system.startWorker(sameAddress);
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
  await home.stop();
  const foreign = await system.startWorker({ ...sameAddress, data_dir: elsewhere });
  await api.call("DELETE", `/v1/tenants/${id}`);
  await unreachable(id);
  expect((await api.tenant(id))?.status).toBe("deleting");
  await foreign.stop();
  await system.startWorker(sameAddress);
  await api.waitGone(id);
  expect(takeCensus(new Set([id])).leaders.size).toBe(0);
});
