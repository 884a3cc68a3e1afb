/** Every route of API.md, section 1: status, headers, field names and types. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { TenantBody } from "../../src/contract/tenant.ts";
import { tenantSchema } from "../../src/contract/tenant.ts";
import { apiOf, type Api } from "../support/api.ts";
import { startTestSystem, type TestSystem } from "../support/system.ts";
import { API_ONLY, create, expectProblem, freshName, setStatus } from "./kit.ts";

interface TenantList {
  readonly tenants: readonly TenantBody[];
  readonly total: number;
  readonly limit: number;
  readonly offset: number;
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const RFC3339_UTC = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

let system: TestSystem;
let api: Api;
beforeAll(async () => {
  system = await startTestSystem(API_ONLY);
  api = apiOf(system.url);
});
afterAll(() => system.stop());

describe("system routes", () => {
  it("GET /health", async () => {
    const answer = await api.call("GET", "/health");
    expect(answer).toMatchObject({
      status: 200,
      body: { status: "ok", time: expect.stringMatching(RFC3339_UTC) as string },
    });
  });

  it("GET /ready", async () => {
    const answer = await api.call("GET", "/ready");
    expect(answer.status).toBe(200);
    expect(answer.body).toMatchObject({ status: "ready", checks: { database: "ok", controller: "ok" } });
    expect(answer.body["time"]).toMatch(RFC3339_UTC);
  });

  it("the OpenAPI document is the same under both names, and has every route", async () => {
    const [openapi, swagger] = await Promise.all([
      api.call<{ openapi: string; paths: Record<string, Record<string, unknown>> }>(
        "GET",
        "/v1/openapi.json",
      ),
      api.call("GET", "/v1/swagger.json"),
    ]);
    expect(openapi.status).toBe(200);
    expect(openapi.headers.get("content-type")).toMatch(/^application\/json/);
    expect(openapi.body.openapi).toMatch(/^3\.1\./);
    expect(swagger.body).toEqual(openapi.body);
    const routes = Object.entries(openapi.body.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(routes).toEqual(
      expect.arrayContaining([
        "GET /health",
        "GET /ready",
        "GET /v1/compute/config",
        "GET /v1/compute/engines",
        "GET /v1/compute/engines/{name}",
        "POST /v1/tenants",
        "GET /v1/tenants",
        "GET /v1/tenants/{id}",
        "PUT /v1/tenants/{id}",
        "PATCH /v1/tenants/{id}",
        "DELETE /v1/tenants/{id}",
        "POST /v1/tenants/{id}/archive",
        "GET /v1/tenants/{id}/history",
        "GET /v1/tenants/{id}/operations",
        "POST /v1/executions/{execution_id}/progress",
      ]),
    );
  });

  it("GET /v1/docs is one page that loads nothing from elsewhere", async () => {
    const page = await api.call<string>("GET", "/v1/docs");
    expect(page.status).toBe(200);
    expect(page.headers.get("content-type")).toMatch(/^text\/html/);
    expect(page.headers.get("content-security-policy")).toMatch(/default-src 'none'/);
    expect(page.body).not.toMatch(/https?:\/\/|src=|@import|url\(/i);
    expect(page.body).toContain("/v1/openapi.json");
  });
});

describe("addresses that are none", () => {
  it.each(["/api", "/api/tenants", "/api/v1/tenants?x=1"])("%s: version_required", async (path) => {
    const problem = expectProblem(await api.call("GET", path), 400, "version_required");
    expect(problem.error).toBe("version_required");
    expect(problem.details).toEqual(["supported: v1"]);
  });

  it.each(["/v9/tenants", "/v2", "/v0/health", "/v10/tenants?limit=1"])(
    "%s: unsupported_version",
    async (path) => {
      for (const method of ["GET", "POST", "DELETE"]) {
        const problem = expectProblem(await api.call(method, path), 400, "unsupported_version");
        expect(problem.error).toBe("unsupported_version");
        expect(problem.details).toEqual(["supported: v1"]);
      }
    },
  );

  it.each([
    ["GET", "/"],
    ["GET", "/tenants"],
    ["GET", "/v1"],
    ["GET", "/v1/nothing"],
    ["GET", "/version/tenants"],
    ["POST", "/health"],
    ["DELETE", "/v1/tenants"],
    ["POST", "/v1/tenants/a/unarchive"],
  ])("%s %s: 404", async (method, path) => {
    expectProblem(await api.call(method, path), 404, "route_not_found");
  });

  it("a tenant that is not there is 404 on every route", async () => {
    for (const id of ["no-such", "11111111-1111-4111-8111-111111111111"]) {
      for (const [method, path, body] of [
        ["GET", "", undefined],
        ["PUT", "", { labels: {} }],
        ["PATCH", "", { labels: {} }],
        ["DELETE", "", undefined],
        ["POST", "/archive", undefined],
        ["GET", "/history", undefined],
        ["GET", "/operations", undefined],
      ] as const) {
        expectProblem(await api.call(method, `/v1/tenants/${id}${path}`, body), 404, "tenant_not_found");
      }
    }
  });

  it("a compute engine that is not there is 404", async () => {
    expectProblem(await api.call("GET", "/v1/compute/engines/nope"), 404, "unknown_compute_provider");
  });
});

describe("X-Request-ID", () => {
  const answers = async (headers: Record<string, string>): Promise<(string | null)[]> => {
    const all = await Promise.all([
      api.call("GET", "/health", undefined, headers),
      api.call("GET", "/v1/tenants/no-such", undefined, headers),
      api.call("GET", "/v1/tenants/%zz", undefined, headers),
      api.call("GET", "/v9/x", undefined, headers),
      api.call("POST", "/v1/tenants", "{", headers),
    ]);
    return all.map((answer) => answer.headers.get("x-request-id"));
  };

  it("is honoured and echoed, on errors too", async () => {
    const given = "client-42:a.B_c";
    expect(await answers({ "x-request-id": given })).toEqual(Array.from({ length: 5 }, () => given));
  });

  it("is made when there is none", async () => {
    const made = await answers({});
    expect(made.every((id) => UUID.test(id ?? ""))).toBe(true);
    expect(new Set(made).size).toBe(made.length);
  });

  it.each(["a b", "x".repeat(129), "<script>", ""])("is made anew when it is not safe: %s", async (given) => {
    expect((await answers({ "x-request-id": given })).every((id) => UUID.test(id ?? ""))).toBe(true);
  });

  it("is kept with the transition", async () => {
    const name = freshName();
    await api.call(
      "POST",
      "/v1/tenants",
      { name, compute_provider: "mock", compute_config: {} },
      { "x-request-id": "req-7" },
    );
    const history = await api.call<{ transitions: { request_id: string }[] }>(
      "GET",
      `/v1/tenants/${name}/history`,
    );
    expect(history.body.transitions[0]?.request_id).toBe("req-7");
  });
});

describe("compute", () => {
  it("GET /v1/compute/config", async () => {
    const answer = await api.call<{ schema: Record<string, unknown> }>(
      "GET",
      "/v1/compute/config?provider=process",
    );
    expect(answer.status).toBe(200);
    expect(Object.keys(answer.body).sort()).toEqual(["provider", "schema"]);
    expect(answer.body.schema["$schema"]).toBe("https://json-schema.org/draft/2020-12/schema");
    expect(answer.body.schema["properties"]).toHaveProperty("command");
  });

  it("GET /v1/compute/engines and one of them", async () => {
    const list = await api.call<{ engines: { name: string }[] }>("GET", "/v1/compute/engines");
    expect(list.body.engines.map((engine) => engine.name)).toEqual(["process", "mock"]);
    const one = await api.call("GET", "/v1/compute/engines/mock");
    expect(one.body).toEqual(list.body.engines[1]);
    expect(one.body).toMatchObject({ name: "mock", defaults: null, immutable_keys: [], engine_config: {} });
    expect(one.body["engine_config_hash"]).toMatch(/^[0-9a-f]{64}$/);
  });
});

describe("tenants", () => {
  it("POST answers the whole tenant, where it is, and its ETag", async () => {
    const name = freshName();
    const answer = await api.call<TenantBody>("POST", "/v1/tenants", {
      name,
      compute_provider: "mock",
      compute_config: { size: "s", nested: { a: [1, 2.5, null, true] } },
      labels: { env: "prod" },
      annotations: { note: "hello" },
    });
    expect(answer.status).toBe(201);
    expect(answer.headers.get("location")).toBe(`/v1/tenants/${answer.body.id}`);
    expect(answer.headers.get("etag")).toBe('"1"');
    const { id, created_at, updated_at, conditions, ...rest } = answer.body;
    expect(id).toMatch(UUID);
    expect(created_at).toMatch(RFC3339_UTC);
    expect(updated_at).toBe(created_at);
    const config = { size: "s", nested: { a: [1, 2.5, null, true] }, compute_provider: "mock" };
    expect(rest).toEqual({
      name,
      status: "requested",
      status_message: "",
      compute_provider: "mock",
      desired_config: config,
      compute_config: config,
      observed_config: {},
      observed_resource_ids: {},
      endpoints: [],
      generation: 1,
      observed_generation: 0,
      intent: "present",
      paused: false,
      labels: { env: "prod" },
      annotations: { note: "hello" },
      version: 1,
    });
    expect(conditions.map((condition) => condition.type).sort()).toEqual(
      ["ComputeReachable", "EngineReachable", "Healthy", "Paused", "Progressing", "Ready", "Stalled"].sort(),
    );
    expect(conditions.find((condition) => condition.type === "Ready")).toMatchObject({
      status: "False",
      reason: "requested",
    });
  });

  it("POST of a name that exists is 409", async () => {
    const { name } = await create(api);
    const answer = await api.call("POST", "/v1/tenants", {
      name,
      compute_provider: "mock",
      compute_config: {},
    });
    expectProblem(answer, 409, "name_taken");
  });

  it("GET finds by UUID in either case and by name, with the ETag", async () => {
    const tenant = await create(api);
    for (const id of [tenant.id, tenant.id.toUpperCase(), tenant.name]) {
      const answer = await api.call<TenantBody>("GET", `/v1/tenants/${id}`);
      expect(answer.status).toBe(200);
      expect(answer.headers.get("etag")).toBe('"1"');
      expect(answer.body).toEqual(tenant);
    }
  });

  it("every field that is filled while work runs has the documented type", async () => {
    const tenant = await create(api);
    await system.database.query(
      `UPDATE tenants SET status = 'updating', status_message = 'm', workflow_execution_id = 'e', workflow_sub_state = 'backing-off',
         workflow_retry_count = 3, last_error = '{"code":"c","message":"boom"}', observed_config = '{"a":1}',
         observed_resource_ids = '{"pid":"7"}',
         endpoints = '[{"name":"default","address":"127.0.0.1","port":80,"url":"http://127.0.0.1:80"}]' WHERE id = $1`,
      [tenant.id],
    );
    const { body } = await api.call<TenantBody>("GET", `/v1/tenants/${tenant.id}`);
    expect(tenantSchema.strict().safeParse(body).error).toBeUndefined();
    expect(body).toMatchObject({
      workflow_execution_id: "e",
      workflow_sub_state: "backing-off",
      workflow_retry_count: 3,
      workflow_error_message: "boom",
      observed_config: { a: 1 },
      observed_resource_ids: { pid: "7" },
    });
  });

  it("archive: 202 when work was started, 200 when archived; DELETE: 202 with the tenant", async () => {
    const { id } = await create(api);
    const started = await api.call<TenantBody>("POST", `/v1/tenants/${id}/archive`);
    expect(started).toMatchObject({ status: 202, body: { status: "archiving", generation: 2 } });
    await setStatus(system.database, id, "archived");
    expect(await api.call("POST", `/v1/tenants/${id}/archive`)).toMatchObject({
      status: 200,
      body: { status: "archived" },
    });
    const deleted = await api.call<TenantBody>("DELETE", `/v1/tenants/${id}`);
    expect(deleted).toMatchObject({ status: 202, body: { id, status: "deleting", generation: 3 } });
  });

  it("DELETE and archive without a body are understood with a content type as well", async () => {
    const { id } = await create(api);
    const headers = { "content-type": "application/json" };
    expect((await api.call("POST", `/v1/tenants/${id}/archive`, undefined, headers)).status).toBe(202);
    expect((await api.call("DELETE", `/v1/tenants/${id}`, undefined, headers)).status).toBe(202);
  });
});

describe("GET /v1/tenants", () => {
  let list: TestSystem;
  let names: string[];
  const call = async (query: string): Promise<TenantList> =>
    (await apiOf(list.url).call<TenantList>("GET", `/v1/tenants${query}`)).body;

  beforeAll(async () => {
    list = await startTestSystem(API_ONLY);
    const listApi = apiOf(list.url);
    names = [];
    // One after the other: the list is in the order of creation.
    for (let index = 0; index < 53; index++) names.push((await create(listApi)).name);
    const [archived, failing, retrying] = names;
    await list.database.query(`UPDATE tenants SET status = 'archived' WHERE name = $1`, [archived]);
    await list.database.query(
      `UPDATE tenants SET last_error = '{"code":"c","message":"m"}' WHERE name = $1`,
      [failing],
    );
    await list.database.query(
      `UPDATE tenants SET workflow_retry_count = 4, workflow_sub_state = 'backing-off' WHERE name = $1`,
      [retrying],
    );
  });
  afterAll(() => list.stop());

  it("answers 50 from 0, without archived ones, oldest first", async () => {
    const page = await call("");
    expect(page).toMatchObject({ total: 52, limit: 50, offset: 0 });
    expect(page.tenants.map((tenant) => tenant.name)).toEqual(names.slice(1, 51));
  });

  it("lists archived ones on demand only", async () => {
    expect((await call("?include_deleted=true")).total).toBe(53);
    expect((await call("?include_deleted=false")).total).toBe(52);
  });

  it("pages without gap or repeat", async () => {
    const seen: string[] = [];
    for (let offset = 0; offset < 60; offset += 20) {
      const page = await call(`?limit=20&offset=${offset}&include_deleted=true`);
      expect(page).toMatchObject({ total: 53, limit: 20, offset });
      seen.push(...page.tenants.map((tenant) => tenant.name));
    }
    expect(seen).toEqual(names);
    expect((await call("?limit=500")).tenants).toHaveLength(52);
    expect(await call("?offset=1000")).toEqual({
      tenants: [],
      total: 52,
      limit: 50,
      offset: 1000,
      next_page_token: null,
    });
  });

  it("filters", async () => {
    const named = async (query: string): Promise<string[]> =>
      (await call(query)).tenants.map((tenant) => tenant.name);
    expect(await named("?has_workflow_error=true")).toEqual([names[1]]);
    expect((await call("?has_workflow_error=false")).total).toBe(51);
    expect(await named("?min_retry_count=4")).toEqual([names[2]]);
    expect(await named("?min_retry_count=5")).toEqual([]);
    expect(await named("?workflow_sub_state=backing-off")).toEqual([names[2]]);
    expect(await named("?workflow_sub_state=error")).toEqual([]);
  });
});
