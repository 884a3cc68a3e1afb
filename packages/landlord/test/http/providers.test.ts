/** Which compute provider a tenant gets, and what the operator's defaults do to its config. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { TenantBody } from "../../src/contract/tenant.ts";
import { apiOf, type Api } from "../support/api.ts";
import { startTestSystem, type TestSystem } from "../support/system.ts";
import { API_ONLY, create, expectProblem, freshName, setStatus } from "./kit.ts";

let system: TestSystem;
let api: Api;
beforeAll(async () => {
  system = await startTestSystem(API_ONLY);
  api = apiOf(system.url);
});
afterAll(() => system.stop());

describe("the provider of a new tenant", () => {
  // Each hint beats those below it; `process` would be refused, for it has no command here.
  const hints: readonly (readonly [string, Record<string, unknown>])[] = [
    ["compute_provider", { compute_provider: "mock" }],
    ["compute_config.compute_provider", { compute_config: { compute_provider: "mock" } }],
    ["compute_config.compute_provider_type", { compute_config: { compute_provider_type: "mock" } }],
    ["label compute_provider", { labels: { compute_provider: "mock" } }],
    ["annotation compute_provider", { annotations: { compute_provider: "mock" } }],
  ];
  const weaker: readonly Record<string, unknown>[] = [
    { compute_config: { compute_provider: "process" } },
    { compute_config: { compute_provider_type: "process" } },
    { labels: { compute_provider: "process" } },
    { annotations: { compute_provider: "process" } },
  ];
  const merge = (...bodies: readonly Record<string, unknown>[]): Record<string, unknown> => {
    const merged: Record<string, unknown> = { name: freshName(), compute_config: {} };
    for (const body of bodies) {
      for (const [key, value] of Object.entries(body)) {
        const both = typeof value === "object" ? { ...(merged[key] as object | undefined), ...value } : value;
        merged[key] = both;
      }
    }
    return merged;
  };

  it.each(hints)("is named by %s", async (_what, hint) => {
    const answer = await api.call<TenantBody>("POST", "/v1/tenants", merge(hint));
    expect(answer).toMatchObject({ status: 201, body: { compute_provider: "mock" } });
    // Frozen into the config under its one name.
    expect(answer.body.compute_config).toEqual({ compute_provider: "mock" });
  });

  it.each(
    hints.slice(0, 4).map(([what, hint], index) => [what, merge(...weaker.slice(index), hint)] as const),
  )("%s beats all hints below it", async (_what, body) => {
    const answer = await api.call<TenantBody>("POST", "/v1/tenants", { ...body, name: freshName() });
    expect(answer.status, JSON.stringify(answer.body)).toBe(201);
    expect(answer.body.compute_provider).toBe("mock");
  });

  it("the tenant's own beats labels on an update, and is enough", async () => {
    const { id } = await create(api);
    const body = { labels: { compute_provider: "process" }, compute_config: { a: 1 } };
    const answer = await api.call<TenantBody>("PUT", `/v1/tenants/${id}`, body);
    expect(answer).toMatchObject({ status: 202, body: { compute_provider: "mock" } });
  });

  it("is the configured default, or the only one", async () => {
    const preferring = await system.startServer({ "compute.default_provider": "mock" });
    const answer = await apiOf(preferring.url).call("POST", "/v1/tenants", {
      name: freshName(),
      compute_config: {},
    });
    expect(answer).toMatchObject({ status: 201, body: { compute_provider: "mock" } });
  });

  it("is 409 when it is no longer configured", async () => {
    const { id } = await create(api);
    await system.database.query(`UPDATE tenants SET compute_provider = 'gone' WHERE id = $1`, [id]);
    const answer = await api.call("PUT", `/v1/tenants/${id}`, { compute_config: { a: 1 } });
    expect(answer.status).toBeGreaterThanOrEqual(400);
    expect(answer.status).toBeLessThan(500);
    expect((await api.call("DELETE", `/v1/tenants/${id}`)).status).toBe(202);
  });
});

describe("defaults", () => {
  const withDefaults = async (defaults: Record<string, unknown>): Promise<Api> =>
    apiOf((await system.startServer({ "compute.mock": { defaults } })).url);

  it("are merged deeply, given back, and shown", async () => {
    const first = await withDefaults({ size: "s", net: { dns: "1.1.1.1", mtu: 1500 }, list: [1, 2] });
    const config = await first.call("GET", "/v1/compute/config?provider=mock");
    expect(config.body["defaults"]).toEqual({ size: "s", net: { dns: "1.1.1.1", mtu: 1500 }, list: [1, 2] });
    const tenant = await create(first, { compute_config: { net: { mtu: 9000 }, list: [3] } });
    expect(tenant.compute_config).toEqual({
      size: "s",
      net: { dns: "1.1.1.1", mtu: 9000 },
      list: [3],
      compute_provider: "mock",
    });
  });

  it("are frozen: a changed default changes no tenant until a write of its config", async () => {
    const old = await withDefaults({ size: "s" });
    const { id } = await create(old, { compute_config: { a: 1 } });
    await setStatus(system.database, id, "ready");
    const renewed = await withDefaults({ size: "l", region: "eu" });
    const config = async (): Promise<unknown> => (await renewed.tenant(id))?.compute_config;

    expect(await config()).toMatchObject({ size: "s" });
    for (const [method, body] of [
      ["PUT", {}],
      ["PUT", { labels: { a: "1" } }],
      ["PATCH", { labels: { a: "2" } }],
      ["PATCH", { annotations: { a: "2" } }],
    ] as const) {
      const answer = await renewed.call(method, `/v1/tenants/${id}`, body);
      expect(answer, `${method} ${JSON.stringify(body)}`).toMatchObject({
        status: 200,
        body: { generation: 1 },
      });
    }
    expect(await config()).toEqual({ size: "s", a: 1, compute_provider: "mock" });
    const written = await renewed.call("PUT", `/v1/tenants/${id}`, { compute_config: { a: 1 } });
    expect(written).toMatchObject({
      status: 202,
      body: { generation: 2, compute_config: { size: "l", region: "eu", a: 1 } },
    });
  });

  it("reappear when a PATCH removes the tenant's own value", async () => {
    const defaulted = await withDefaults({ size: "s" });
    const { id } = await create(defaulted, { compute_config: { size: "xl" } });
    const answer = await defaulted.call("PATCH", `/v1/tenants/${id}`, { compute_config: { size: null } });
    expect(answer).toMatchObject({ status: 202, body: { compute_config: { size: "s" } } });
  });

  it("are validated with the rest: a default that is wrong is the writer's 400, not a crash", async () => {
    const wrong = await withDefaults({ fail: "often" });
    const answer = await wrong.call("POST", "/v1/tenants", {
      name: freshName(),
      compute_provider: "mock",
      compute_config: {},
    });
    expect(expectProblem(answer, 400, "invalid_compute_config").details[0]).toMatch(
      /^\/compute_config\/fail: /,
    );
  });
});
