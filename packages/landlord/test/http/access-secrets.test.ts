/** A secret in a configuration: no read of the API gives it out, to nobody. */
import { afterAll, beforeAll, expect, test } from "vitest";
import type { TenantBody } from "../../src/contract/tenant.ts";
import { apiOf, type Api } from "../support/api.ts";
import { startTestSystem, type TestSystem } from "../support/system.ts";
import { create } from "./kit.ts";

const SECRET = "hunter2-never-shown";
const CONFIG = {
  password: SECRET,
  nested: { api_key: SECRET, list: [{ name: "DB_TOKEN", value: SECRET }] },
  env: { PGPASSWORD: SECRET, PLAIN: "shown" },
  url: `postgres://user:${SECRET}@db.example/app`,
  command: ["run", `--token=${SECRET}`, `https://x.example/?access_key=${SECRET}`],
};

let system: TestSystem;
let api: Api;
let tenant: TenantBody;
beforeAll(async () => {
  system = await startTestSystem({
    server: { "compute.mock.defaults": { password: `default-${SECRET}`, shown: "default" } },
  });
  api = apiOf(system.url);
  tenant = await create(api, { compute_config: CONFIG });
  await api.waitFor(tenant.id, "ready");
  await api.call("PATCH", `/v1/tenants/${tenant.id}`, { compute_config: { env: { NEW_SECRET: SECRET } } });
  await api.waitFor(tenant.id, "ready");
});
afterAll(() => system.stop());

test("the tenant has it, and shows its place", async () => {
  const [row] = await system.database.query(
    `SELECT desired_config::text AS config FROM tenants WHERE id = $1`,
    [tenant.id],
  );
  expect(row?.["config"]).toContain(SECRET);
  const shown = (await api.tenant(tenant.id))?.compute_config;
  expect(shown).toMatchObject({
    password: "[redacted]",
    nested: { api_key: "[redacted]", list: [{ name: "DB_TOKEN", value: "[redacted]" }] },
    env: { PGPASSWORD: "[redacted]", PLAIN: "shown" },
    url: "postgres://user:[redacted]@db.example/app",
  });
});

test("every read of the API, plans and dry runs, and a problem about it", async () => {
  interface Document {
    readonly paths: Readonly<Record<string, Readonly<Record<string, { readonly operationId: string }>>>>;
  }
  const { paths } = (await api.call<Document>("GET", "/v1/openapi.json")).body;
  const operation = await api.call<{ operations: { id: string }[] }>(
    "GET",
    `/v1/tenants/${tenant.id}/operations`,
  );
  const place: Readonly<Record<string, string>> = {
    id: tenant.id,
    operation_id: operation.body.operations[0]?.id ?? "",
    name: "mock",
    token_id: "none",
  };
  const reads = Object.entries(paths)
    .filter(([path, methods]) => "get" in methods && path !== "/v1/events")
    .map(
      ([path]) =>
        ["GET", path.replaceAll(/\{(\w+)\}/g, (_, key: string) => place[key] ?? ""), undefined] as const,
    );
  expect(reads.length).toBeGreaterThan(15);
  const change = { compute_config: { ...CONFIG, password: `new-${SECRET}` } };
  const writes = [
    ["POST", `/v1/tenants/${tenant.id}/plan`, change],
    ["PUT", `/v1/tenants/${tenant.id}?dry_run=true`, change],
    ["PATCH", `/v1/tenants/${tenant.id}`, { annotations: { a: "b" } }],
    [
      "PUT",
      `/v1/tenants/${tenant.id}`,
      { compute_config: { password: { not: SECRET }, fail: `x-${SECRET}` } },
    ],
  ] as const;
  let good = 0;
  for (const [method, path, body] of [...reads, ...writes]) {
    const answer = await api.call(method, path, body);
    if (answer.status < 300) good += 1;
    expect(JSON.stringify(answer.body), `${method} ${path}`).not.toContain(SECRET);
  }
  expect(good).toBeGreaterThan(12);
});
