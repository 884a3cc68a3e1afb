/** Selection and paging; the summary. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { TenantBody } from "../../src/contract/tenant.ts";
import { apiOf, type Answer, type Api } from "../support/api.ts";
import { startTestSystem, type TestSystem } from "../support/system.ts";
import { API_ONLY, create, expectProblem, setStatus } from "./kit.ts";

interface List {
  readonly tenants: readonly TenantBody[];
  readonly total: number;
  readonly next_page_token: string | null;
}

let system: TestSystem;
let api: Api;
const list = (query: string): Promise<Answer<List>> => api.call<List>("GET", `/v1/tenants?${query}`);
const names = async (query: string): Promise<readonly string[]> =>
  (await list(query)).body.tenants.map(({ name }) => name).sort();

beforeAll(async () => {
  system = await startTestSystem(API_ONLY);
  api = apiOf(system.url);
  const made: readonly [string, Record<string, string>, TenantBody["status"]][] = [
    ["shop-a", { env: "prod", tier: "pro" }, "ready"],
    ["shop-b", { env: "prod", tier: "free" }, "failed"],
    ["shop-c", { env: "dev" }, "ready"],
    ["blog-a", {}, "updating"],
    ["blog-b", { env: "prod", beta: "" }, "archived"],
  ];
  for (const [name, labels, status] of made) {
    const { id } = await create(api, { name, labels });
    await setStatus(system.database, id, status, status !== "updating");
  }
});
afterAll(() => system.stop());

describe("selection", () => {
  it.each([
    ["selector=env=prod", ["shop-a", "shop-b"]],
    ["selector=env=prod,tier!=free", ["shop-a"]],
    ["selector=tier!=free", ["blog-a", "shop-a", "shop-c"]],
    ["selector=env%20in%20(dev,prod)", ["shop-a", "shop-b", "shop-c"]],
    ["selector=env%20notin%20(dev,prod)", ["blog-a"]],
    ["selector=!env", ["blog-a"]],
    ["selector=beta&include_deleted=true", ["blog-b"]],
    ["selector=", ["blog-a", "shop-a", "shop-b", "shop-c"]],
    ["status=ready", ["shop-a", "shop-c"]],
    ["status=failed,updating", ["blog-a", "shop-b"]],
    ["status=archived", ["blog-b"]],
    ["name_prefix=shop-", ["shop-a", "shop-b", "shop-c"]],
    ["name_prefix=shop-&selector=env=prod&status=ready", ["shop-a"]],
    ["name_prefix=none", []],
  ])("%s", async (query, expected) => {
    expect(await names(query)).toEqual(expected);
    expect((await list(query)).body.total).toBe(expected.length);
  });

  it.each([
    ["selector=a%20b"],
    ["selector=env%20in%20(a"],
    ["status=broken"],
    ["status="],
    ["name_prefix=Shop"],
    ["name_prefix=a%25"],
    ["page_token=nonsense"],
    ["page_token="],
  ])("refuses %s", async (query) => {
    expect((await list(query)).status).toBe(400);
  });
});

describe("pages", () => {
  it("hold every tenant once, also when they are of one moment, and tell the total of the first", async () => {
    await system.database.query(
      `INSERT INTO tenants SELECT (jsonb_populate_record(t, jsonb_build_object(
         'id', gen_random_uuid(), 'name', 'page-' || n, 'created_at', '2026-01-01T00:00:00.123456Z'))).*
       FROM tenants t, generate_series(1, 40) n WHERE t.name = 'shop-a'`,
    );
    for (const limit of [1, 7, 40, 500]) {
      const seen: string[] = [];
      let token: string | null = null;
      let pages = 0;
      do {
        const from: string = token === null ? "" : `&page_token=${token}`;
        const { status, body }: Answer<List> = await list(`name_prefix=page-&limit=${limit}${from}`);
        expect(status, JSON.stringify(body)).toBe(200);
        expect(body.total).toBe(40);
        seen.push(...body.tenants.map(({ name }) => name));
        token = body.next_page_token;
        pages += 1;
        expect(pages).toBeLessThanOrEqual(40);
      } while (token !== null);
      expect(seen).toHaveLength(40);
      expect(new Set(seen).size).toBe(40);
      expect(pages).toBe(Math.ceil(40 / limit));
    }
  });

  it("belong to their filters", async () => {
    const { body } = await list("limit=1&status=ready");
    expectProblem(await list(`limit=1&page_token=${body.next_page_token}`), 400, "invalid_page_token");
    expect((await list(`limit=1&status=ready&page_token=${body.next_page_token}`)).status).toBe(200);
  });
});

it("the summary counts by status and by reason", async () => {
  const { status, body } = await api.call<{
    total: number;
    by_status: Record<string, { count: number; oldest_at: string }>;
    by_reason: Record<string, { count: number }>;
  }>("GET", "/v1/summary");
  expect(status).toBe(200);
  const [row] = await system.database.query("SELECT count(*)::int AS total FROM tenants");
  expect(body.total).toBe(row?.["total"]);
  expect(body.by_status["failed"]?.count).toBe(1);
  expect(Date.parse(body.by_status["failed"]?.oldest_at ?? "")).toBeLessThanOrEqual(Date.now() + 5_000);
  expect(body.by_reason).toMatchObject({ failed: { count: 1 }, updating: { count: 1 } });
  expect(body.by_reason["ready"]).toBeUndefined();
});
