/** The main job on real parts: accepted over HTTP, run by Restate and a worker, real in a process, and gone again. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { apiOf, type Api } from "../support/api.ts";
import { startTestSystem, type TestSystem } from "../support/system.ts";
import type { TenantBody } from "../../src/contract/tenant.ts";

let system: TestSystem;
let api: Api;

beforeAll(async () => {
  system = await startTestSystem();
  api = apiOf(system.url);
});
afterAll(() => system.stop());

const serverScript = (text: string): string =>
  `require("http").createServer((_, r) => r.end(${JSON.stringify(text)})).listen(process.env.PORT, "127.0.0.1")`;

const configOf = (text: string): Record<string, unknown> => ({
  command: [process.execPath, "-e", serverScript(text)],
  ports: [{}],
  health_check: { type: "http", path: "/", interval_seconds: 1, timeout_seconds: 2, deadline_seconds: 20 },
});

test("a tenant is created, served, changed, archived and deleted", async () => {
  const created = await api.call<TenantBody>("POST", "/v1/tenants", {
    name: "main-job",
    compute_provider: "process",
    compute_config: configOf("one"),
  });
  expect(created.status).toBe(201);
  expect(created.body.status).toBe("requested");

  const ready = await api.waitFor("main-job", "ready");
  expect(ready.observed_generation).toBe(1);
  const [endpoint] = ready.endpoints;
  expect(await (await fetch(endpoint?.url ?? "")).text()).toBe("one");

  const updated = await api.call("PUT", "/v1/tenants/main-job", { compute_config: configOf("two") });
  expect(updated.status).toBe(202);
  expect(updated.body["status"]).toBe("updating");
  const changed = await api.waitFor("main-job", "ready");
  expect(changed.observed_generation).toBe(2);
  expect(await (await fetch(changed.endpoints[0]?.url ?? "")).text()).toBe("two");

  expect((await api.call("POST", "/v1/tenants/main-job/archive")).status).toBe(202);
  const archived = await api.waitFor("main-job", "archived");
  expect(archived.endpoints).toEqual([]);
  await expect(fetch(changed.endpoints[0]?.url ?? "")).rejects.toThrow();

  expect((await api.call("DELETE", "/v1/tenants/main-job")).status).toBe(202);
  await api.waitGone("main-job");
  const history = await api.call<{ transitions: { to_status: string | null }[] }>(
    "GET",
    `/v1/tenants/main-job/history`,
  );
  expect(history.body.transitions.map((transition) => transition.to_status).reverse()).toEqual([
    "requested",
    "provisioning",
    "ready",
    "updating",
    "ready",
    "archiving",
    "archived",
    "deleting",
    null,
  ]);
});
