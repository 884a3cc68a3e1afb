/** Where compute lives is configured at the server; workers fetch it, keep it, and can be told otherwise. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { WORKFLOW_NAME, type ProvisionRequest } from "../../src/contract/job.ts";
import type { WorkflowProvider } from "../../src/workflow/provider.ts";
import { pickFreePorts } from "../../src/os/supervised.ts";
import { startServer, type RunningServer } from "../../src/start/server.ts";
import { startWorker, type RunningWorker } from "../../src/start/worker.ts";
import type { TenantBody } from "../../src/contract/tenant.ts";
import { apiOf } from "../support/api.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { provisionRequest, restateProvider, signal, untilStatus } from "../support/restate.ts";
import { randomNamespace, serverConfig, testLogger, testSettings, workerConfig } from "../support/system.ts";
import { sleeper, webServer } from "../support/workloads.ts";

let folder: string;
let namespace: string;
let database: TestDatabase;
let provider: WorkflowProvider;
let apiPort: number;
const closing: (() => Promise<unknown>)[] = [];

beforeEach(async () => {
  [folder, database, [apiPort = 0]] = await Promise.all([
    mkdtemp(join(tmpdir(), "landlord-engines-")),
    createTestDatabase(),
    pickFreePorts(1),
  ]);
  namespace = randomNamespace();
  provider = restateProvider(namespace);
});
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
  await provider.close();
  await database.drop();
  await rm(folder, { recursive: true, force: true });
});

function launchServer(settings: Readonly<Record<string, unknown>>): Promise<RunningServer> {
  return startServer(
    serverConfig({
      ...testSettings(folder, namespace),
      "database.url": database.url,
      "http.port": apiPort,
      ...settings,
    }),
    testLogger,
    new AbortController().signal,
  );
}

async function launchWorker(settings: Readonly<Record<string, unknown>> = {}): Promise<RunningWorker> {
  const worker = await startWorker(
    workerConfig({
      ...testSettings(folder, namespace),
      "workflow.restate.worker_listen_port": 0,
      "worker.api_url": `http://127.0.0.1:${apiPort}`,
      "worker.absence_settle": "20ms",
      "worker.shutdown_timeout": "1s",
      ...settings,
    }),
    testLogger,
    new AbortController().signal,
  );
  closing.push(() => worker.stop());
  return worker;
}

async function createReady(name: string): Promise<TenantBody> {
  const api = apiOf(`http://127.0.0.1:${apiPort}`);
  const { body } = await api.call<TenantBody>("POST", "/v1/tenants", {
    name,
    compute_config: webServer(name),
  });
  return api.waitFor(body.id, "ready");
}

async function removeAll(): Promise<void> {
  const api = apiOf(`http://127.0.0.1:${apiPort}`);
  const { body } = await api.call<{ tenants: TenantBody[] }>("GET", "/v1/tenants");
  await Promise.all(body.tenants.map(({ id }) => api.call("DELETE", `/v1/tenants/${id}`)));
  await Promise.all(body.tenants.map(({ id }) => api.waitGone(id)));
}

test("a change at the server applies to the next job, without a restart of the worker", async () => {
  const before = await launchServer({ "compute.process.port_min": 31000, "compute.process.port_max": 31099 });
  await launchWorker();
  expect((await createReady("before")).endpoints[0]?.port).toBeLessThan(31100);
  await before.stop();
  const after = await launchServer({ "compute.process.port_min": 31100, "compute.process.port_max": 31199 });
  closing.push(() => after.stop());
  expect((await createReady("after")).endpoints[0]?.port).toBeGreaterThanOrEqual(31100);
  await removeAll();
});

/** What a server would send; here no server is needed for it. */
function jobFor(operation: ProvisionRequest["operation"], like?: ProvisionRequest): ProvisionRequest {
  const { execution_id } = provisionRequest();
  const request = like ?? provisionRequest({ compute_provider: "process", desired_config: sleeper() });
  return { ...request, operation, execution_id, generation: operation === "create" ? 1 : 2 };
}

async function run(request: ProvisionRequest): Promise<{ executionId: string; handle: string }> {
  return provider.invoke({ workflowName: WORKFLOW_NAME, request, signal: signal() });
}

async function succeeds(request: ProvisionRequest): Promise<void> {
  const status = await untilStatus(
    provider,
    await run(request),
    ({ state }) => state === "succeeded",
    "the job ends",
  );
  expect(status.output).toMatchObject({ outcome: "succeeded" });
}

test("with the API stopped a warm worker finishes", async () => {
  const server = await launchServer({ "compute.process": {} });
  await launchWorker({ "worker.compute_cache_ttl": "0s" });
  await createReady("warm");
  await removeAll();
  await server.stop();
  // Its cache is stale by now, and still better than nothing.
  const create = jobFor("create");
  await succeeds(create);
  await succeeds(jobFor("delete", create));
});

test("with the API stopped a cold worker retries, and goes on when the API is back", async () => {
  await launchWorker();
  const create = jobFor("create");
  const execution = await run(create);
  const retrying = await untilStatus(
    provider,
    execution,
    ({ subState, retryCount }) => subState === "backing-off" && retryCount > 0,
    "retries",
  );
  expect(retrying.error?.message).toContain("does not answer");
  const server = await launchServer({ "compute.process": {} });
  closing.push(() => server.stop());
  await untilStatus(provider, execution, ({ state }) => state === "succeeded", "goes on");
  await succeeds(jobFor("delete", create));
});

test("a local override needs no API at all", async () => {
  await launchWorker({ "worker.compute_overrides.process": { port_min: 31200, port_max: 31299 } });
  const create = jobFor(
    "create",
    provisionRequest({ compute_provider: "process", desired_config: webServer("x") }),
  );
  const status = await untilStatus(
    provider,
    await run(create),
    ({ state }) => state === "succeeded",
    "the job ends",
  );
  expect(status.output?.endpoints[0]?.port).toBeGreaterThanOrEqual(31200);
  await succeeds(jobFor("delete", create));
});
