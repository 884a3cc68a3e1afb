/** Who may call what: every operation of the API, as every role and as nobody. */
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { PERMISSIONS } from "../../src/auth/permissions.ts";
import { ROLES, type Role } from "../../src/domain/principal.ts";
import { createApp } from "../../src/http/app.ts";
import { createAuthenticator } from "../../src/auth/authenticator.ts";
import { ADMIN_TOKEN, as, bearer, fromElsewhere, newKey, startAccessSystem } from "../auth/access-system.ts";
import { apiOf, type Api } from "../support/api.ts";
import { testDependencies, TEST_SETTINGS } from "../support/app.ts";
import type { TestSystem } from "../support/system.ts";
import { create, expectProblem, freshName } from "./kit.ts";

let system: TestSystem;
let admin: Api;
const secrets = {} as Record<Role, string>;
let operations: readonly { readonly method: string; readonly path: string; readonly id: string }[];

beforeAll(async () => {
  system = await startAccessSystem({ server: { "http.rate_limit.requests_per_second": 100_000 } });
  admin = as(system.url, ADMIN_TOKEN);
  for (const role of ROLES) secrets[role] = (await newKey(system.url, role)).secret;
  operations = await documentedOperations();
});
afterAll(() => system.stop());

async function documentedOperations(): Promise<typeof operations> {
  const document = await apiOf(system.url).call<{
    readonly paths: Readonly<Record<string, Readonly<Record<string, { readonly operationId: string }>>>>;
  }>("GET", "/v1/openapi.json");
  return Object.entries(document.body.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { operationId: id }]) => ({
      method: method.toUpperCase(),
      path,
      id,
    })),
  );
}

/** Only status and problem: a stream is left as soon as it answers. */
async function attempt(
  { method, path }: (typeof operations)[number],
  headers: Readonly<Record<string, string>>,
): Promise<{ readonly status: number; readonly code: string | null; readonly detail: string }> {
  const url = system.url + path.replaceAll(/\{\w+\}/g, "00000000-0000-4000-8000-000000000000");
  const abort = new AbortController();
  const response = await fetch(url, { method, headers, signal: abort.signal });
  const isProblem = response.headers.get("content-type")?.startsWith("application/problem+json") === true;
  const problem = isProblem ? ((await response.json()) as { code: string; detail: string }) : null;
  abort.abort();
  return { status: response.status, code: problem?.code ?? null, detail: problem?.detail ?? "" };
}

test("every operation has its line in PERMISSIONS, and every line its operation", () => {
  expect(operations.map(({ id }) => id).toSorted()).toEqual(Object.keys(PERMISSIONS).toSorted());
});

/** The matrix below takes the table at its word; this says what the table must say. */
test("who may do what", () => {
  const open = (role: Role | "public"): string[] =>
    Object.entries(PERMISSIONS)
      .filter(([, roles]) => (roles === "public" ? role === "public" : roles.includes(role as Role)))
      .map(([id]) => id);
  const reads = new Set(operations.filter(({ method }) => method === "GET").map(({ id }) => id));
  expect(open("public")).toEqual(["getHealth", "getReadiness"]);
  expect(open("worker").toSorted()).toEqual([
    "getComputeEngine",
    "getIdentity",
    "getTenant",
    "removeWorker",
    "reportProgress",
    "reportWorker",
  ]);
  expect(open("viewer").filter((id) => !reads.has(id))).toEqual([]);
  expect(open("viewer")).not.toContain("getTenantLogs");
  const [viewer, operator, everything] = [open("viewer"), open("operator"), open("admin")];
  expect(viewer.filter((id) => !operator.includes(id))).toEqual([]);
  expect(operator.filter((id) => !everything.includes(id))).toEqual([]);
  expect(everything.length + 2).toBe(operations.length);
  expect(everything.filter((id) => !operator.includes(id)).toSorted()).toEqual([
    "createToken",
    "listAudit",
    "listTokens",
    "removeWorker",
    "reportProgress",
    "reportWorker",
    "requestSweep",
    "revokeToken",
    "rotateToken",
  ]);
});

test("every operation × every role × nobody", async () => {
  expect(operations.length).toBeGreaterThan(30);
  const wrong: string[] = [];
  let allowed = 0;
  for (const operation of operations) {
    const permitted = PERMISSIONS[operation.id] ?? [];
    for (const role of [...ROLES, null]) {
      const { status, code, detail } = await attempt(
        operation,
        role === null ? fromElsewhere() : bearer(secrets[role]),
      );
      const isOpen = permitted === "public";
      const expected = isOpen || (role !== null && permitted.includes(role));
      const wasLetIn = status !== 401 && status !== 403;
      const refusedWell =
        role === null
          ? status === 401 && code === "unauthenticated"
          : status === 403 &&
            code === "forbidden" &&
            !isOpen &&
            permitted.some((each) => detail.includes(each));
      if (expected !== wasLetIn || (!expected && !refusedWell))
        wrong.push(`${operation.id} as ${role ?? "nobody"}: ${status} ${code} ${detail}`);
      if (wasLetIn) allowed += 1;
    }
  }
  expect(wrong).toEqual([]);
  expect(allowed).toBeGreaterThan(50);
});

test("the documents are open, and so is whether the server lives", async () => {
  for (const path of ["/v1/openapi.json", "/v1/swagger.json", "/v1/docs", "/health", "/ready"])
    expect((await apiOf(system.url).call("GET", path)).status).toBe(200);
});

test("an operation without a line is open to nobody, not even to an admin", async () => {
  for (const authenticator of [
    null,
    createAuthenticator({ adminToken: ADMIN_TOKEN, keys: null as never, oidc: null }),
  ]) {
    const dependencies = testDependencies({ store: null as never });
    const app = await createApp(
      { ...dependencies, access: { ...dependencies.access, authenticator } },
      TEST_SETTINGS,
    );
    app.get("/v1/forgotten", { schema: { operationId: "forgotten" } }, () => Promise.resolve("secret"));
    app.get("/v1/nameless", () => Promise.resolve("secret"));
    for (const url of ["/v1/forgotten", "/v1/nameless"]) {
      const answer = await app.inject({ url, headers: { host: "localhost", ...bearer(ADMIN_TOKEN) } });
      expect(answer.statusCode).toBe(403);
      expect(answer.json()).toMatchObject({ code: "forbidden" });
    }
    await app.close();
  }
});

describe("credentials", () => {
  const whoAmI = (headers: Record<string, string>) =>
    apiOf(system.url).call("GET", "/v1/identity", undefined, { ...fromElsewhere(), ...headers });

  it.each([
    ["none", {}],
    ["another scheme", { authorization: "Basic YWRtaW46YWRtaW4=" }],
    ["no token", { authorization: "Bearer " }],
    ["two tokens", { authorization: "Bearer a b" }],
    ["a key that was never made", bearer(`ll_${"A".repeat(43)}`)],
    ["a key that is cut short", bearer("ll_short")],
    ["the admin token and one character", bearer(`${ADMIN_TOKEN}x`)],
    ["a JWT without an issuer", bearer("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.x")],
  ])("%s: 401", async (_, headers) => {
    const answer = await whoAmI(headers);
    const problem = expectProblem(answer, 401, "unauthenticated");
    expect(answer.headers.get("www-authenticate")).toMatch(/^Bearer realm="landlord"/);
    expect(answer.headers.get("www-authenticate")?.includes("invalid_token")).toBe(
      "authorization" in headers,
    );
    expect(JSON.stringify(problem)).not.toContain(ADMIN_TOKEN);
  });

  it("are never taken from the query", async () => {
    const path = `/v1/identity?access_token=${ADMIN_TOKEN}`;
    expectProblem(await apiOf(system.url).call("GET", path, undefined, fromElsewhere()), 401);
  });

  it("tell who one is", async () => {
    expect((await whoAmI(bearer(ADMIN_TOKEN))).body).toEqual({
      name: "admin-token",
      role: "admin",
      scope: null,
      authenticated_by: "admin_token",
      expires_at: null,
    });
    const expiresAt = new Date(Date.now() + 3_600_000).toISOString();
    const key = await newKey(system.url, "operator", { scope: "team = a , !frozen", expires_at: expiresAt });
    const { body } = await whoAmI({ authorization: `bearer ${key.secret}` });
    expect(body).toMatchObject({
      name: key.name,
      role: "operator",
      scope: "team=a,!frozen",
      authenticated_by: "key",
    });
    expect(Math.abs(Date.parse(String(body["expires_at"])) - Date.parse(expiresAt))).toBeLessThan(2_000);
  });

  it("make the actor of what is done", async () => {
    const key = await newKey(system.url, "operator");
    const { id } = await create(as(system.url, key.secret), {});
    const history = await admin.call<{ transitions: { actor: string }[] }>(
      "GET",
      `/v1/tenants/${id}/history`,
    );
    expect(history.body.transitions[0]?.actor).toBe(key.name);
  });

  it("leave unknown routes unknown", async () => {
    expectProblem(await apiOf(system.url).call("GET", "/v1/nothing"), 404, "route_not_found");
  });
});

test("with credentials any Host and Origin may come: a page has no token to send", async () => {
  const answer = await admin.call("GET", "/v1/tenants", undefined, { origin: "https://dashboard.example" });
  expect(answer.status).toBe(200);
});

test("force is for admins", async () => {
  const { id } = await create(admin, {});
  const operator = as(system.url, secrets.operator);
  const refused = expectProblem(
    await operator.call("DELETE", `/v1/tenants/${id}?force=true`),
    403,
    "forbidden",
  );
  expect(refused.detail).toContain("admin");
  expect((await admin.call("DELETE", `/v1/tenants/${id}?force=true`)).status).toBe(202);
});

describe("a key with a scope", () => {
  const scoped = async (role: Role): Promise<Api> =>
    as(system.url, (await newKey(system.url, role, { scope: "team=a" })).secret);

  it("does not see what lies outside: every operation on a tenant is 404, also for an admin", async () => {
    const outside = await create(admin, { labels: { team: "b" } });
    const me = await scoped("admin");
    const onTenant = operations.filter(({ path }) => path.startsWith("/v1/tenants/{id}"));
    const ledger = await admin.call<{ operations: { id: string }[] }>(
      "GET",
      `/v1/tenants/${outside.id}/operations`,
    );
    const operationId = ledger.body.operations[0]?.id ?? randomUUID();
    expect(onTenant.length).toBeGreaterThan(10);
    const bodies: Readonly<Record<string, unknown>> = {
      updateTenant: { labels: { team: "a" } },
      patchTenant: { labels: { team: "a" } },
      rollbackTenant: { generation: 1 },
      planTenant: {},
    };
    for (const key of [outside.id, outside.name]) {
      for (const { method, path, id } of onTenant) {
        const answer = await me.call(
          method,
          path.replace("{id}", key).replace("{operation_id}", operationId),
          bodies[id],
        );
        expect(answer.status, `${id}: ${JSON.stringify(answer.body)}`).toBe(404);
      }
    }
    expect((await admin.call("GET", `/v1/tenants/${outside.id}`)).body).toMatchObject({ version: 1 });
  });

  it("lists only what lies inside", async () => {
    const inside = await create(admin, { labels: { team: "a" } });
    const outside = await create(admin, { labels: { team: "b" } });
    const { body } = await (
      await scoped("viewer")
    ).call<{ tenants: { id: string }[]; total: number }>("GET", "/v1/tenants?limit=500");
    const ids = body.tenants.map(({ id }) => id);
    expect(ids).toContain(inside.id);
    expect(ids).not.toContain(outside.id);
    expect(body.total).toBe(ids.length);
  });

  it("cannot create outside, nor relabel out of it", async () => {
    const me = await scoped("operator");
    const body = { name: freshName(), compute_provider: "mock", compute_config: {} };
    expectProblem(
      await me.call("POST", "/v1/tenants", { ...body, labels: { team: "b" } }),
      403,
      "outside_scope",
    );
    expectProblem(await me.call("POST", "/v1/tenants", body), 403, "outside_scope");
    expectProblem(
      await me.call("PUT", `/v1/tenants/by-name/${body.name}`, {
        compute_provider: "mock",
        compute_config: {},
      }),
      403,
      "outside_scope",
    );
    const mine = await create(me, { labels: { team: "a" } });
    expectProblem(
      await me.call("PATCH", `/v1/tenants/${mine.id}`, { labels: { team: "b" } }),
      403,
      "outside_scope",
    );
    expectProblem(await me.call("PUT", `/v1/tenants/${mine.id}`, { labels: {} }), 403, "outside_scope");
    expect((await me.call("PATCH", `/v1/tenants/${mine.id}`, { labels: { more: "x" } })).status).toBe(200);
  });

  it("is not answered what another one created with the same Idempotency-Key", async () => {
    const body = { name: freshName(), compute_provider: "mock", compute_config: {}, labels: { team: "a" } };
    const headers = { "idempotency-key": "shared" };
    expect((await admin.call("POST", "/v1/tenants", body, headers)).status).toBe(201);
    const again = await admin.call("POST", "/v1/tenants", body, headers);
    expect([again.status, again.headers.get("idempotent-replayed")]).toEqual([201, "true"]);
    const me = await scoped("operator");
    expectProblem(await me.call("POST", "/v1/tenants", body, headers), 409, "name_taken");
  });

  it("does not hand out keys, nor read what concerns everybody", async () => {
    const me = await scoped("admin");
    for (const [method, path, body] of [
      ["POST", "/v1/tokens", { name: "escalated", role: "admin" }],
      ["GET", "/v1/tokens", undefined],
      ["GET", "/v1/audit", undefined],
      ["POST", "/v1/sweep", {}],
      ["GET", "/v1/sweep", undefined],
    ] as const)
      expectProblem(await me.call(method, path, body), 403, "outside_scope");
  });
});
