/** Every reason of `explain`, brought about for real: through real Restate, a real database, and what breaks them. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, inject, it } from "vitest";
import type { ExplanationBody } from "../../src/contract/fleet.ts";
import { EXPLANATION_REASONS, type ExplanationReason } from "../../src/domain/explain.ts";
import { apiOf, type Api } from "../support/api.ts";
import { livingTenants } from "../support/census.ts";
import { eventually } from "../support/eventually.ts";
import { startTestSystem, type TestSystem, type TestSystemOptions } from "../support/system.ts";
import { sleeper } from "../support/workloads.ts";

const systems: TestSystem[] = [];
const seen = new Set<ExplanationReason>();
afterEach(async () => {
  for (const system of systems.splice(0)) await system.stop();
});
afterAll(() => {
  expect([...EXPLANATION_REASONS].filter((reason) => !seen.has(reason))).toEqual([]);
});

async function start(options: TestSystemOptions = {}): Promise<{ system: TestSystem; api: Api }> {
  const system = await startTestSystem(options);
  systems.push(system);
  return { system, api: apiOf(system.url) };
}

const create = async (
  api: Api,
  name: string,
  config: unknown = {},
  more: Record<string, unknown> = {},
): Promise<string> => {
  const body = { name, compute_provider: "mock", compute_config: config, ...more };
  const answer = await api.call<{ id: string }>("POST", "/v1/tenants", body);
  expect(answer.status, JSON.stringify(answer.body)).toBe(201);
  return answer.body.id;
};

async function explained(api: Api, name: string, reason: ExplanationReason): Promise<ExplanationBody> {
  let last: ExplanationBody | null = null;
  await eventually(
    async () => {
      const answer = await api.call<ExplanationBody>("GET", `/v1/tenants/${name}/explain`);
      expect(answer.status, JSON.stringify(answer.body)).toBe(200);
      last = answer.body;
      return last.reason === reason;
    },
    { what: `${name} is explained by ${reason}` },
  ).catch((error: unknown) => {
    throw new Error(`${String(error)}; last: ${JSON.stringify(last)}`, { cause: error });
  });
  seen.add(reason);
  const explanation = last as ExplanationBody | null;
  if (explanation === null) throw new Error("nothing was explained");
  expect(explanation.message).toMatch(/[.:] ?|\S/);
  return explanation;
}

describe("with a worker", () => {
  let system: TestSystem;
  let api: Api;
  beforeAll(async () => {
    system = await startTestSystem({
      server: { "controller.resync_interval": "300ms", "controller.resync_rate": 100 },
    });
    api = apiOf(system.url);
  });
  afterAll(() => system.stop());

  it("ready, paused, backing off, archived, rejected", async () => {
    await create(api, "calm");
    await api.waitFor("calm", "ready");
    expect(await explained(api, "calm", "ready")).toMatchObject({
      settled: true,
      what_to_do: [],
      queue: null,
      execution: null,
      workers: [{ live: true, engine: "restate" }],
    });
    await api.call("POST", "/v1/tenants/calm/pause");
    await api.call("PUT", "/v1/tenants/calm", { compute_config: { settings: 2 } });
    const paused = await explained(api, "calm", "paused");
    expect(paused.message).toContain("anonymous");
    expect(paused.what_to_do.join()).toContain("landlord resume calm");
    await system.database.query(
      `UPDATE tenants SET attempts = 3, next_attempt_at = now() + interval '1 hour', revision = revision + 1,
         last_error = '{"code":"image_missing","message":"no such image"}' WHERE name = 'calm'`,
    );
    await api.call("POST", "/v1/tenants/calm/resume");
    const waiting = await explained(api, "calm", "backing_off");
    expect(waiting).toMatchObject({ attempts: 3, settled: false, last_error: { code: "image_missing" } });
    expect(waiting.message).toMatch(/until \S+Z after 3 attempts because: no such image/);
    expect(Date.parse(waiting.next_attempt_at ?? "")).toBeGreaterThan(Date.now() + 3_000_000);
    // An hour, unless somebody says otherwise.
    await api.call("POST", "/v1/tenants/calm/retry");
    expect(await api.waitFor("calm", "ready")).toMatchObject({ generation: 2 });
    await api.call("POST", "/v1/tenants/calm/archive");
    await api.waitFor("calm", "archived");
    expect(await explained(api, "calm", "archived")).toMatchObject({ settled: true });
    await create(api, "refused", { fail: "terminal" });
    const rejected = await explained(api, "refused", "rejected");
    expect(rejected.what_to_do.join()).toContain("landlord rollback refused");
    expect(rejected.settled).toBe(true);
  });

  it("retried by the engine", async () => {
    await create(api, "flaky", { fail: "retryable" });
    const retried = await explained(api, "flaky", "execution_retrying");
    expect(retried.execution).toMatchObject({
      kind: "create",
      workflow_provider: "restate",
      sub_state: "backing-off",
    });
    expect(retried.execution?.link).toContain("/ui/invocations/");
    await api.call("DELETE", "/v1/tenants/flaky");
    await api.waitGone("flaky");
  });

  it("unhealthy, of a paused tenant whose process has died", async () => {
    const id = await create(api, "hurt", sleeper(), { compute_provider: "process" });
    await api.waitFor("hurt", "ready");
    await api.call("POST", "/v1/tenants/hurt/pause");
    for (const { tenantId, pid } of livingTenants()) if (tenantId === id) process.kill(pid, "SIGKILL");
    const hurt = await explained(api, "hurt", "unhealthy");
    expect(hurt.message).toMatch(/paused by anonymous/);
    expect(hurt.what_to_do.join()).toContain("landlord resume hurt");
    await api.call("POST", "/v1/tenants/hurt/resume");
    await explained(api, "hurt", "ready");
  });
});

it("running, waiting, stopping, queued: what is in flight and what waits behind it", async () => {
  const { system, api } = await start({
    server: {
      "controller.max_in_flight": 5,
      "controller.compute_limits": { mock: { max_in_flight: 1 } },
      "compute.mock": { health_after_ms: 3_600_000, latency_ms: 1_500 },
      "controller.stop_grace": "20s",
    },
  });
  await create(api, "first");
  const running = await explained(api, "first", "execution_running");
  expect(running.execution).toMatchObject({ kind: "create", stop_reason: null });
  const waiting = await explained(api, "first", "execution_waiting");
  expect(waiting.settled).toBe(false);
  for (const name of ["second", "third"]) await create(api, name, {}, { labels: { owner: "acme" } });
  const third = await explained(api, "third", "queued");
  expect(third.queue).toMatchObject({ lane: "interactive", owner: "acme", position: 1 });
  expect(third.message).toMatch(/lane interactive of owner acme, with 1 ahead/);
  // A worker that is gone cannot confirm that it has stopped.
  await system.worker?.stop();
  await api.call("DELETE", "/v1/tenants/first");
  const stopping = await explained(api, "first", "stopping_execution");
  expect(stopping.message).toMatch(/is superseded by a newer desired state/);
});

describe("without", () => {
  it("a worker: says so, since when, and what to start", async () => {
    const { system, api } = await start({ worker: false });
    await create(api, "lonely");
    await create(api, "bound", sleeper(), { compute_provider: "process" });
    for (const name of ["lonely", "bound"]) {
      const explanation = await explained(api, name, "no_worker");
      expect(explanation.message).toMatch(/no worker registered for workflow LandlordTenantV1 since \S+Z/);
      expect(explanation.what_to_do.join()).toContain("landlord worker");
      expect(explanation.workers).toEqual([]);
    }
    await system.startWorker();
    await explained(api, "lonely", "ready");
    await explained(api, "bound", "ready");
  });

  it("a reconciler: next, and then not taken", async () => {
    const { system, api } = await start({ worker: false, server: { "controller.enabled": "false" } });
    await create(api, "young");
    expect((await explained(api, "young", "starting")).queue).toMatchObject({ position: 0 });
    await system.database.query("UPDATE tenant_work SET next_reconcile_at = now() - interval '1 minute'");
    expect((await explained(api, "young", "not_reconciled")).what_to_do.join()).toContain(
      "controller.enabled",
    );
  });

  it("an engine: out of reach, and when it is tried again", async () => {
    const { api } = await start({
      worker: false,
      server: {
        "workflow.restate.endpoint": "http://127.0.0.1:1",
        "workflow.restate.admin_endpoint": "http://127.0.0.1:1",
      },
    });
    await create(api, "cut-off");
    const explanation = await explained(api, "cut-off", "engine_unreachable");
    expect(explanation.next_attempt_at).not.toBeNull();
    const { body } = await api.call<{ providers: { reachable: boolean }[] }>("GET", "/v1/workflow/providers");
    expect(body.providers).toContainEqual(expect.objectContaining({ name: "restate", reachable: false }));
  });
});

it("out of reach: compute that does not answer any more", async () => {
  const settings = {
    "compute.docker": { host: "tcp://127.0.0.1:1" },
    "controller.resync_interval": "200ms",
    "controller.resync_rate": 100,
  };
  const { system, api } = await start({ server: { ...settings, "controller.enabled": "false" } });
  await create(api, "far", { image: "none" }, { compute_provider: "docker" });
  // As if it had been made when the daemon was there.
  await system.database.query("UPDATE tenants SET status = 'ready', observed_generation = generation");
  await system.database.query("UPDATE tenant_work SET next_reconcile_at = NULL, resync_at = now()");
  await system.startServer({ "controller.enabled": "true" });
  await eventually(
    async () =>
      (await system.database.query("SELECT 1 FROM breakers WHERE key = 'compute:docker' AND state = 'open'"))
        .length === 1,
    { what: "the breaker opens" },
  );
  await api.call("PUT", "/v1/tenants/far", { compute_config: { image: "other" } });
  const explanation = await explained(api, "far", "compute_unreachable");
  expect(explanation.message).toContain("docker");
  expect(explanation.next_attempt_at).not.toBeNull();
});

describe("refused", () => {
  let refusing: Server;
  let url: string;
  beforeAll(async () => {
    // Healthy, and displeased with every job.
    refusing = createServer((request, response) => {
      if (request.url?.includes("LandlordTenantV1") === true) {
        response
          .writeHead(400, { "content-type": "application/json" })
          .end('{"message":"we do not do this"}');
        return;
      }
      void fetch(`${inject("restateIngressUrl")}${request.url ?? ""}`, { method: request.method ?? "GET" })
        .then(async (answer) => response.writeHead(answer.status).end(await answer.text()))
        .catch(() => response.writeHead(502).end());
    });
    await new Promise<void>((resolve) => refusing.listen(0, "127.0.0.1", resolve));
    url = `http://127.0.0.1:${(refusing.address() as AddressInfo).port}`;
  });
  afterAll(() => new Promise((resolve) => refusing.close(resolve)));

  it("by the engine", async () => {
    const { api } = await start({ server: { "workflow.restate.endpoint": url } });
    await create(api, "unwanted");
    expect((await explained(api, "unwanted", "engine_refused")).message).toContain("we do not do this");
  });
});

it("internal: a row that cannot be", async () => {
  const { system, api } = await start({ worker: false });
  await create(api, "broken");
  await explained(api, "broken", "no_worker");
  await system.database.query("UPDATE operations SET request = '{}'");
  const explanation = await explained(api, "broken", "internal");
  expect(explanation.what_to_do.join()).toContain("log");
});
