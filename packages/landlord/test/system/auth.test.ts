/** Workers of a server that asks for credentials. */
import { inject, afterEach, expect, test } from "vitest";
import type { TenantBody } from "../../src/contract/tenant.ts";
import { ADMIN_TOKEN, as, newKey, startAccessSystem } from "../auth/access-system.ts";
import { eventually } from "../support/eventually.ts";
import { startLandlord, type LandlordProcess } from "../support/landlord-process.ts";
import type { TestSystem } from "../support/system.ts";
import { sleeper } from "../support/workloads.ts";

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function startServer(): Promise<TestSystem> {
  const system = await startAccessSystem({ server: { "controller.enabled": "true" } });
  closing.push(() => system.stop());
  return system;
}

/** `landlord worker`, as an operator starts it. */
async function startWorker(system: TestSystem, token: string | null): Promise<LandlordProcess> {
  const worker = await startLandlord("worker", {
    data_dir: system.dataDir,
    "workflow.restate.endpoint": inject("restateIngressUrl"),
    "workflow.restate.admin_endpoint": inject("restateAdminUrl"),
    "workflow.restate.worker_namespace": system.namespace,
    "workflow.restate.worker_listen_port": 0,
    "worker.api_url": system.url,
    ...(token === null ? {} : { "worker.api_token": token }),
  });
  closing.push(() => worker.stop());
  return worker;
}

async function createSleeper(system: TestSystem): Promise<TenantBody> {
  const body = { name: "acme", compute_provider: "process", compute_config: sleeper() };
  const answer = await as(system.url, ADMIN_TOKEN).call<TenantBody>("POST", "/v1/tenants", body);
  expect(answer.status).toBe(201);
  return answer.body;
}

async function tenantOf(system: TestSystem, id: string): Promise<TenantBody> {
  return (await as(system.url, ADMIN_TOKEN).call<TenantBody>("GET", `/v1/tenants/${id}`)).body;
}

test("a worker with a key of the role worker does its jobs, and may do nothing else", async () => {
  const system = await startServer();
  const { secret, name } = await newKey(system.url, "worker");
  await startWorker(system, secret);
  const { id } = await createSleeper(system);
  await eventually(async () => (await tenantOf(system, id)).status === "ready", {
    what: "the tenant is ready",
    timeoutMs: 40_000,
  });
  const admin = as(system.url, ADMIN_TOKEN);
  const ledger = await admin.call<{ operations: { id: string }[] }>("GET", `/v1/tenants/${id}/operations`);
  const path = `/v1/tenants/${id}/operations/${ledger.body.operations[0]?.id}/events`;
  await eventually(
    async () => ((await admin.call<{ events: unknown[] }>("GET", path)).body.events.length > 0 ? true : null),
    { what: "the worker's progress was taken" },
  );
  for (const [method, target] of [
    ["GET", "/v1/tenants"],
    ["DELETE", `/v1/tenants/${id}`],
    ["POST", "/v1/tokens"],
    ["GET", "/v1/audit"],
  ] as const)
    expect((await as(system.url, secret).call(method, target)).status, target).toBe(403);
  await eventually(
    async () => {
      const [row] = await system.database.query(`SELECT last_used_at FROM tokens WHERE name = $1`, [name]);
      return row?.["last_used_at"] instanceof Date;
    },
    { what: "its use is noted" },
  );
});

test.each([
  ["with a token that nobody knows", "not-a-token-at-all"],
  ["without a token", null],
])(
  "a worker %s says so, and goes on trying; one with the right key takes over",
  async (_, token) => {
    const system = await startServer();
    const wrong = await startWorker(system, token);
    const { id } = await createSleeper(system);
    await eventually(
      () => /set worker\.api_token to the secret of a key with the role worker/.test(wrong.log()),
      {
        what: "the worker says what is wrong",
      },
    );
    const stuck = await eventually(
      async () => {
        const tenant = await tenantOf(system, id);
        return tenant.workflow_error_message?.includes("worker.api_token") === true && tenant;
      },
      { what: "the tenant says what is wrong" },
    );
    expect(stuck.status).not.toBe("failed");
    expect(wrong.child.exitCode).toBeNull();
    await wrong.stop();
    await startWorker(system, (await newKey(system.url, "worker")).secret);
    await eventually(async () => (await tenantOf(system, id)).status === "ready", {
      what: "the tenant is ready",
      timeoutMs: 60_000,
    });
  },
  150_000,
);

test("a worker with a viewer's key says so, too", async () => {
  const system = await startServer();
  const worker = await startWorker(system, (await newKey(system.url, "viewer")).secret);
  await eventually(
    () => /set worker\.api_token to the secret of a key with the role worker/.test(worker.log()),
    {
      what: "the worker says what is wrong",
    },
  );
});
