/** Providers from packages, in real processes; and several engines and kinds of compute side by side. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterEach, expect, test } from "vitest";
import { z } from "zod";
import type { TenantBody } from "../../src/contract/tenant.ts";
import type { WorkflowPlugin } from "../../src/plugin/workflow.ts";
import { startServer } from "../../src/start/server.ts";
import { startWorker } from "../../src/start/worker.ts";
import { createInProcessWorkerEngine } from "../../src/worker/in-process/in-process-worker-engine.ts";
import { createMockEngine } from "../../src/workflow/mock/mock-engine.ts";
import { apiOf } from "../support/api.ts";
import { createTestDatabase } from "../support/database.ts";
import { eventually } from "../support/eventually.ts";
import { startLandlord } from "../support/landlord-process.ts";
import { randomNamespace, serverConfig, testLogger, testSettings, workerConfig } from "../support/system.ts";
import { sleeper } from "../support/workloads.ts";

const EXAMPLE = fileURLToPath(new URL("../../../../examples/landlord-compute-static", import.meta.url));

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "landlord-plugins-"));
  closing.push(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

test("the example package passes the conformance kit with its own tests", async () => {
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ["--conditions=source", "--import", "tsx", "--test", "--test-reporter=tap"],
    { cwd: EXAMPLE, env: { PATH: process.env["PATH"] } },
  );
  expect(stdout).toMatch(/^# fail 0$/m);
  expect(Number(/^# pass (\d+)$/m.exec(stdout)?.[1])).toBeGreaterThan(25);
}, 120_000);

test("a tenant of a package's compute lives its whole life, beside one of ours", async () => {
  const [folder, database] = await Promise.all([newFolder(), createTestDatabase()]);
  closing.push(() => database.drop());
  const sites = join(folder, "sites");
  const file = join(folder, "landlord.yaml");
  await writeFile(
    file,
    `compute: {static: {package: ${EXAMPLE}/src/index.js, root: ${sites}}, process: {}}\n`,
  );
  await mkdir(sites);
  const common = {
    ...testSettings(folder, randomNamespace()),
    config: file,
    "compute.default_provider": "static",
  };
  const server = await startLandlord("serve", {
    ...common,
    "database.url": database.url,
    "http.port": 0,
  });
  closing.push(() => server.stop());
  const worker = await startLandlord("worker", {
    ...common,
    "workflow.restate.worker_listen_port": 0,
    "worker.api_url": server.url,
    "worker.absence_settle": "20ms",
  });
  closing.push(() => worker.stop());

  const api = apiOf(server.url);
  const page = (text: string) => ({ files: { "index.html": text } });
  const created = await api.call<TenantBody>("POST", "/v1/tenants", {
    name: "site",
    compute_config: page("one"),
  });
  expect([created.status, created.body]).toEqual([201, expect.anything()]);
  const { id } = created.body;
  const ready = await api.waitFor(id, "ready");
  const path = String(ready.observed_resource_ids?.["path"]);
  expect(await readFile(join(path, "index.html"), "utf8")).toBe("one");
  const beside = await api.call<TenantBody>("POST", "/v1/tenants", {
    name: "process",
    compute_provider: "process",
    compute_config: sleeper(),
  });
  await api.waitFor(beside.body.id, "ready");

  await api.call("PUT", `/v1/tenants/${id}`, { compute_config: page("two") });
  const updated = await eventually(
    async () => {
      const tenant = await api.waitFor(id, "ready");
      return tenant.observed_generation === 2 && tenant;
    },
    { what: "the update is ready" },
  );
  const second = String(updated.observed_resource_ids?.["path"]);
  expect(await readFile(join(second, "index.html"), "utf8")).toBe("two");
  expect(existsSync(path)).toBe(false);
  const bad = await api.call("POST", "/v1/tenants", { name: "bad", compute_config: { files: {} } });
  expect(bad.status).toBe(400);
  for (const tenant of [id, beside.body.id]) await api.call("DELETE", `/v1/tenants/${tenant}`);
  for (const tenant of [id, beside.body.id]) await api.waitGone(tenant);
  expect(existsSync(second)).toBe(false);
});

/** An engine in memory, as a package would bring it. */
function memoryEngine(): WorkflowPlugin {
  const engine = createMockEngine();
  return {
    kind: "workflow",
    portVersion: 1,
    name: "memory",
    configSchema: z.strictObject({}),
    createProvider: () => Promise.resolve({ ...engine.provider, name: "memory" }),
    createWorker: (_config, context) => Promise.resolve(createInProcessWorkerEngine(engine, context)),
  };
}

test("two engines work side by side, and what was started on one ends there after a switch", async () => {
  const [folder, database] = await Promise.all([newFolder(), createTestDatabase()]);
  closing.push(() => database.drop());
  const namespace = randomNamespace();
  const plugins = { compute: [], workflow: [memoryEngine()] };
  const { signal } = new AbortController();
  const start = async (engine: string, port: number) => {
    const config = serverConfig({
      ...testSettings(folder, namespace),
      "database.url": database.url,
      "http.port": port,
      "compute.process": {},
      "controller.backoff_initial": "200ms",
    });
    const withEngine = {
      ...config,
      controller: { ...config.controller, workflow_provider: engine },
      workflow: { ...config.workflow, memory: {} },
    };
    const server = await startServer(withEngine, testLogger, signal, plugins);
    closing.push(() => server.stop());
    return server;
  };
  const first = await start("restate", 0);
  const work = async (engine: string) => {
    const config = workerConfig({
      ...testSettings(folder, namespace),
      "workflow.restate.worker_listen_port": 0,
      "worker.api_url": first.url,
      "worker.shutdown_timeout": "1s",
    });
    const withEngine = {
      ...config,
      worker: { ...config.worker, engine },
      workflow: { ...config.workflow, memory: {} },
    };
    const worker = await startWorker(withEngine, testLogger, signal, plugins);
    closing.push(() => worker.stop());
  };
  await Promise.all([work("restate"), work("memory")]);

  // Holds an operation on the first engine: it waits for a health that comes only later.
  const api = apiOf(first.url);
  const flag = join(folder, "healthy");
  const slow = await api.call<TenantBody>("POST", "/v1/tenants", {
    name: "slow",
    compute_config: {
      command: [
        process.execPath,
        "-e",
        `require('http').createServer((_, r) => { r.statusCode = require('fs').existsSync(${JSON.stringify(flag)}) ? 200 : 503; r.end(); }).listen(process.env.PORT)`,
      ],
      ports: [{}],
      health_check: { type: "http", path: "/", interval_seconds: 1, deadline_seconds: 60 },
    },
  });
  await eventually(
    async () => {
      const { body } = await api.call<TenantBody>("GET", `/v1/tenants/${slow.body.id}`);
      return body.workflow_sub_state === "waiting";
    },
    { what: "the first engine runs it" },
  );
  await first.stop();

  // The same port: workers know the API by it.
  const second = await start("memory", Number(new URL(first.url).port));
  const other = await apiOf(second.url).call<TenantBody>("POST", "/v1/tenants", {
    name: "other",
    compute_config: sleeper(),
  });
  await apiOf(second.url).waitFor(other.body.id, "ready");
  await writeFile(flag, "");
  await apiOf(second.url).waitFor(slow.body.id, "ready");
  const engineOf = async (id: string) => {
    const { body } = await apiOf(second.url).call<{ operations: { workflow_provider: string }[] }>(
      "GET",
      `/v1/tenants/${id}/operations`,
    );
    return body.operations.map((operation) => operation.workflow_provider);
  };
  expect(await engineOf(other.body.id)).toEqual(["memory"]);
  expect(await engineOf(slow.body.id)).toEqual(["restate"]);
  for (const { body } of [slow, other]) {
    await apiOf(second.url).call("DELETE", `/v1/tenants/${body.id}`);
    await apiOf(second.url).waitGone(body.id);
  }
});
