/** Whatever is wrong with a request: a precise 4xx that says where, and nothing stored. */
import { request as httpRequest } from "node:http";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { TenantBody } from "../../src/contract/tenant.ts";
import { apiOf, type Api } from "../support/api.ts";
import { startTestSystem, type TestSystem } from "../support/system.ts";
import { API_ONLY, contents, create, expectProblem, raw } from "./kit.ts";

let system: TestSystem;
let api: Api;
let tenant: TenantBody;
let before: Record<string, unknown>;

beforeAll(async () => {
  system = await startTestSystem(API_ONLY);
  api = apiOf(system.url);
  tenant = await create(api, { name: "victim", labels: { tier: "free" } });
  before = await contents(system.database);
});
afterAll(() => system.stop());

const nothingStored = async (): Promise<void> => expect(await contents(system.database)).toEqual(before);

const nested = (depth: number): string => `${'{"a":'.repeat(depth)}1${"}".repeat(depth)}`;
const many = (count: number): Record<string, string> =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`k${index}`, "v"]));
const mock = (config: unknown, more: Record<string, unknown> = {}): Record<string, unknown> => ({
  name: "new-one",
  compute_provider: "mock",
  compute_config: config,
  ...more,
});
const LONE_HIGH = String.raw`{"name":"new-one","compute_provider":"mock","compute_config":{"a":"\ud800x"}}`;
const LONE_LOW = String.raw`{"name":"new-one","compute_provider":"mock","compute_config":{"\udc00":1}}`;

/** What is wrong, the body, where a detail points ("" for nowhere), the status if it is not 400. */
type Case = readonly [what: string, body: unknown, pointer: string, status?: number];
const named = (cases: readonly Case[]) =>
  cases.map(([what, body, pointer, status = 400]) => ({ what, body, pointer, status }));

const CREATES: readonly Case[] = [
  ["malformed JSON", '{"name":', ""],
  ["empty body", "", ""],
  ["JSON null", "null", "/"],
  ["an array", [], "/"],
  ["a string", '"x"', "/"],
  ["a number", "3", "/"],
  ["no name", { compute_config: {} }, "/name"],
  ["no config", { name: "new-one" }, "/compute_config"],
  ["name a number", mock({}, { name: 3 }), "/name"],
  ["name null", mock({}, { name: null }), "/name"],
  ["name empty", mock({}, { name: "" }), "/name"],
  ["name upper case", mock({}, { name: "Acme" }), "/name"],
  ["name of 256", mock({}, { name: "a".repeat(256) }), "/name"],
  ["name like a UUID", mock({}, { name: "11111111-1111-4111-8111-111111111111" }), "/name"],
  ["name like a UUID of no version", mock({}, { name: "ffffffff-ffff-ffff-ffff-ffffffffffff" }), "/name"],
  ["name by-name", mock({}, { name: "by-name" }), "/name"],
  ["name unicode", mock({}, { name: "käse" }), "/name"],
  ["name with a line end", mock({}, { name: "acme\n" }), "/name"],
  ["name with a slash", mock({}, { name: "a/b" }), "/name"],
  ["name with NUL", mock({}, { name: "a\0b" }), "/name"],
  ["config a string", mock("x"), "/compute_config"],
  ["config an array", mock([]), "/compute_config"],
  ["config null", mock(null), "/compute_config"],
  ["config too large", mock({ blob: "x".repeat(128 * 1024) }), "/compute_config"],
  ["provider a number", mock({}, { compute_provider: 3 }), "/compute_provider"],
  ["provider empty", mock({}, { compute_provider: "" }), "/compute_provider"],
  ["provider unknown", mock({}, { compute_provider: "nope" }), "/compute_provider"],
  ["provider inherited from Object", mock({}, { compute_provider: "constructor" }), "/compute_provider"],
  ["provider missing", { name: "new-one", compute_config: {} }, "/compute_provider"],
  [
    "provider in the config a number",
    { name: "new-one", compute_config: { compute_provider: 3 } },
    "/compute_config/compute_provider",
  ],
  ["labels an array", mock({}, { labels: [] }), "/labels"],
  ["labels null", mock({}, { labels: null }), "/labels"],
  ["label a number", mock({}, { labels: { a: 1 } }), "/labels/a"],
  ["label key empty", mock({}, { labels: { "": "x" } }), "/labels/"],
  ["label key too long", mock({}, { labels: { ["k".repeat(254)]: "x" } }), `/labels/${"k".repeat(254)}`],
  ["label value too long", mock({}, { labels: { a: "x".repeat(1_025) } }), "/labels/a"],
  ["label with NUL", mock({}, { labels: { a: "x\0" } }), "/labels/a"],
  ["65 labels", mock({}, { labels: many(65) }), "/labels"],
  ["65 annotations", mock({}, { annotations: many(65) }), "/annotations"],
  ["annotation null", mock({}, { annotations: { a: null } }), "/annotations/a"],
  ["annotation too long", mock({}, { annotations: { a: "x".repeat(16_385) } }), "/annotations/a"],
  ["unknown field", mock({}, { color: "red" }), "/"],
  ["unknown field of the reference's", mock({}, { status: "ready" }), "/"],
  ["config value with NUL", mock({ a: ["x\0"] }), "/compute_config/a/0"],
  ["config key with NUL", mock({ "a\0": 1 }), "/compute_config"],
  ["lone high surrogate", LONE_HIGH, "/compute_config/a"],
  ["lone low surrogate in a key", LONE_LOW, "/compute_config"],
  [
    "a number beyond doubles",
    '{"name":"new-one","compute_provider":"mock","compute_config":{"n":1e400}}',
    "/compute_config/n",
  ],
  ["__proto__", '{"name":"new-one","compute_provider":"mock","compute_config":{"__proto__":{"x":1}}}', ""],
  ["constructor.prototype", '{"name":"new-one","compute_config":{"constructor":{"prototype":{"x":1}}}}', ""],
  [
    "200 levels",
    `{"name":"new-one","compute_provider":"mock","compute_config":${nested(200)}}`,
    "/compute_config",
  ],
  [
    "10,000 levels",
    `{"name":"new-one","compute_provider":"mock","compute_config":${nested(10_000)}}`,
    "/compute_config",
  ],
  ["100,000 levels of a list", "[".repeat(100_000) + "]".repeat(100_000), "/0"],
  ["redaction marker without a stored value", mock({ password: "[redacted]" }), "/compute_config/password"],
  ["process: no command", mock({}, { compute_provider: "process" }), "/compute_config/command"],
  [
    "process: unknown key",
    mock({ command: ["true"], colour: 1 }, { compute_provider: "process" }),
    "/compute_config/colour",
  ],
  [
    "process: wrong type deep inside",
    mock({ command: ["true"], health_check: { interval_seconds: "x" } }, { compute_provider: "process" }),
    "/compute_config/health_check/interval_seconds",
  ],
  ["mock: bad value", mock({ fail: "often" }), "/compute_config/fail"],
  ["too large a body", mock({ blob: "x".repeat(1_100_000) }), "", 413],
];

describe("POST /v1/tenants refuses", () => {
  it.each(named(CREATES))("$what", async ({ body, pointer, status }) => {
    const text = typeof body === "string" ? body : JSON.stringify(body);
    const answer = await raw(system.url, "POST", "/v1/tenants", text, { "content-type": "application/json" });
    const { details } = expectProblem(answer, status);
    expect(details.length).toBeGreaterThan(0);
    if (pointer !== "")
      expect(
        details.some((detail) => detail.startsWith(`${pointer}:`)),
        details.join(" | "),
      ).toBe(true);
    await nothingStored();
  });

  it("says every problem of a body at once", async () => {
    const answer = await api.call("POST", "/v1/tenants", {
      name: "Bad",
      compute_config: 3,
      labels: { a: 1 },
    });
    const { details } = expectProblem(answer, 400, "invalid_request");
    expect(details.map((detail) => detail.split(":")[0]).sort()).toEqual([
      "/compute_config",
      "/labels/a",
      "/name",
    ]);
  });

  it("names the choices when the provider is missing", async () => {
    const answer = await api.call("POST", "/v1/tenants", { name: "x", compute_config: {} });
    expect(expectProblem(answer, 400, "compute_provider_required").details[0]).toMatch(/process, mock/);
  });
});

const CHANGES: readonly Case[] = [
  ["malformed JSON", "{", ""],
  ["empty body", "", ""],
  ["an array", [], "/"],
  ["name upper case", { name: "A" }, "/name"],
  ["name null", { name: null }, "/name"],
  ["config an array", { compute_config: [] }, "/compute_config"],
  ["config null", { compute_config: null }, "/compute_config"],
  ["config too large", { compute_config: { blob: "x".repeat(128 * 1024) } }, "/compute_config"],
  ["config not valid for the provider", { compute_config: { fail: 3 } }, "/compute_config/fail"],
  ["provider null", { compute_provider: null }, "/compute_provider"],
  ["label a number", { labels: { a: 1 } }, "/labels/a"],
  ["65 labels", { labels: many(65) }, "/labels"],
  ["unknown field", { color: "red" }, "/"],
  ["NUL", { compute_config: { a: "\0" } }, "/compute_config/a"],
  ["lone surrogate", String.raw`{"labels":{"a":"\udfff"}}`, "/labels/a"],
  ["too deep", `{"compute_config":${nested(10_000)}}`, "/compute_config"],
  ["a number beyond doubles", '{"compute_config":{"n":-1e999}}', "/compute_config/n"],
  ["__proto__", '{"compute_config":{"__proto__":1}}', ""],
  [
    "redaction marker without a stored value",
    { compute_config: { token: "[redacted]" } },
    "/compute_config/token",
  ],
  ["too large a body", { compute_config: { blob: "x".repeat(1_100_000) } }, "", 413],
];

describe.each(["PUT", "PATCH"])("%s /v1/tenants/{id} refuses", (method) => {
  it.each(named(CHANGES))("$what", async ({ body, pointer, status }) => {
    const text = typeof body === "string" ? body : JSON.stringify(body);
    const answer = await raw(system.url, method, "/v1/tenants/victim", text, {
      "content-type": "application/json",
    });
    const { details } = expectProblem(answer, status);
    expect(details.length).toBeGreaterThan(0);
    if (pointer !== "")
      expect(
        details.some((detail) => detail.startsWith(pointer)),
        details.join(" | "),
      ).toBe(true);
    await nothingStored();
  });
});

describe("refuses in the address", () => {
  it.each([
    ["GET", "/v1/tenants/UPPER", "/id"],
    ["GET", "/v1/tenants/a_b", "/id"],
    ["GET", "/v1/tenants/%00", "/id"],
    ["GET", "/v1/tenants/%C3%A4", "/id"],
    ["GET", "/v1/tenants/11111111-1111-4111-8111-11111111111g-X", "/id"],
    ["PUT", "/v1/tenants/UPPER", "/id"],
    ["PATCH", "/v1/tenants/UPPER", "/id"],
    ["DELETE", "/v1/tenants/UPPER", "/id"],
    ["POST", "/v1/tenants/UPPER/archive", "/id"],
    ["GET", "/v1/tenants/UPPER/history", "/id"],
    ["GET", "/v1/tenants/UPPER/operations", "/id"],
    ["GET", "/v1/tenants/victim/operations/nope/events", "/operation_id"],
    ["GET", "/v1/tenants?limit=0", "/limit"],
    ["GET", "/v1/tenants?limit=501", "/limit"],
    ["GET", "/v1/tenants?limit=abc", "/limit"],
    ["GET", "/v1/tenants?limit=-1", "/limit"],
    ["GET", "/v1/tenants?limit=1.5", "/limit"],
    ["GET", "/v1/tenants?limit=", "/limit"],
    ["GET", "/v1/tenants?limit=1&limit=2", "/limit"],
    ["GET", "/v1/tenants?offset=-1", "/offset"],
    ["GET", "/v1/tenants?offset=99999999999999999999", "/offset"],
    ["GET", "/v1/tenants?include_deleted=maybe", "/include_deleted"],
    ["GET", "/v1/tenants?include_deleted=1", "/include_deleted"],
    ["GET", "/v1/tenants?workflow_sub_state=dancing", "/workflow_sub_state"],
    ["GET", "/v1/tenants?has_workflow_error=x", "/has_workflow_error"],
    ["GET", "/v1/tenants?min_retry_count=-3", "/min_retry_count"],
    ["GET", "/v1/tenants?colour=red", "/"],
    ["GET", "/v1/tenants?__proto__=1", "/"],
    ["GET", "/v1/tenants/victim/history?limit=1000", "/limit"],
    ["GET", "/v1/tenants/victim/operations?page=1", "/"],
    ["GET", "/v1/tenants?selector=a%00", "/selector"],
    ["GET", "/v1/tenants?page_token=%00", "/page_token"],
    ["GET", "/v1/audit?actor=%00", "/actor"],
    ["GET", "/v1/audit?action=a%00b", "/action"],
    ["GET", "/v1/audit?tenant=%00", "/tenant"],
    ["GET", "/v1/compute/config", "/provider"],
    ["GET", "/v1/compute/config?provider=", "/provider"],
    ["GET", "/v1/compute/config?provider=nope", "/provider"],
    ["GET", "/v1/compute/config?provider=toString", "/provider"],
  ])("%s %s", async (method, path, pointer) => {
    const body = method === "PUT" || method === "PATCH" ? {} : undefined;
    const { details } = expectProblem(await api.call(method, path, body), 400);
    expect(
      details.some((detail) => detail.startsWith(pointer)),
      details.join(" | "),
    ).toBe(true);
    await nothingStored();
  });

  it.each([
    ["/v1/tenants/%zz", 400],
    ["/v1/tenants/%ff", 400],
    ["/%c0%ae", 400],
    [`/v1/tenants/${"a".repeat(300)}`, 400],
    [`/v1/tenants/${"a".repeat(5_000)}`, 400],
  ])("a path that cannot be read (%#)", async (path, status) => {
    // Not by fetch: it mends addresses.
    const answer = await new Promise<{ status: number; headers: Headers; body: unknown }>(
      (resolve, reject) => {
        httpRequest(system.url, { path, method: "GET" }, (response) => {
          let text = "";
          response.setEncoding("utf8").on("data", (part: string) => (text += part));
          response.on("end", () => {
            const headers = new Headers(Object.entries(response.headers) as [string, string][]);
            resolve({ status: response.statusCode ?? 0, headers, body: JSON.parse(text) });
          });
        })
          .on("error", reject)
          .end();
      },
    );
    expectProblem(answer, status);
  });
});

describe("refuses in headers", () => {
  it.each([
    ["text/plain", 415],
    ["text/html", 415],
    ["application/xml", 415],
    ["application/x-www-form-urlencoded", 415],
    ["multipart/form-data; boundary=x", 415],
    ["nonsense", 415],
  ])("content type %s", async (type, status) => {
    for (const [method, path] of [
      ["POST", "/v1/tenants"],
      ["PUT", "/v1/tenants/victim"],
      ["PATCH", "/v1/tenants/victim"],
    ] as const) {
      const answer = await raw(system.url, method, path, JSON.stringify(mock({})), { "content-type": type });
      expectProblem(answer, status, "unsupported_media_type");
    }
    await nothingStored();
  });

  it("an Idempotency-Key that is too long", async () => {
    const answer = await api.call("POST", "/v1/tenants", mock({}), { "idempotency-key": "k".repeat(256) });
    expect(expectProblem(answer, 400).details[0]).toMatch(/^\/idempotency-key:/);
    await nothingStored();
  });

  it.each(["3", "abc", '"1', '"1" "2"', 'w/"1"'])("an If-Match that is none: %s", async (value) => {
    for (const [method, path, body] of [
      ["PUT", "/v1/tenants/victim", {}],
      ["PATCH", "/v1/tenants/victim", {}],
      ["POST", "/v1/tenants/victim/archive", undefined],
      ["DELETE", "/v1/tenants/victim", undefined],
    ] as const) {
      const answer = await api.call(method, path, body, { "if-match": value });
      expect(expectProblem(answer, 400, "invalid_request").details[0]).toMatch(/^\/if-match:/);
    }
    await nothingStored();
  });
});

describe("POST /v1/executions/{id}/progress refuses", () => {
  it.each([
    ["an unknown execution", "nope", { phase: "x", message: "" }, 404],
    ["no phase", "nope", { message: "" }, 400],
    ["too long a message", "nope", { phase: "x", message: "m".repeat(5_000) }, 400],
    ["NUL in the message", "nope", { phase: "x", message: "\0" }, 400],
    ["NUL in the id", "%00", { phase: "x", message: "" }, 400],
    ["an unknown field", "nope", { phase: "x", message: "", status: "ready" }, 400],
  ])("%s", async (_what, id, body, status) => {
    expectProblem(await api.call("POST", `/v1/executions/${id}/progress`, body), status);
    await nothingStored();
  });
});

it("what is at the limits is accepted", async () => {
  const accepted = await create(api, {
    name: "a".repeat(255),
    labels: { ...many(63), ["k".repeat(253)]: "v".repeat(1_024) },
    annotations: { ...many(63), text: "ä".repeat(16_384) },
    compute_config: {
      blob: "x".repeat(128 * 1024 - 1_000),
      deep: JSON.parse(nested(50)) as unknown,
      emoji: "😀",
    },
  });
  expect(Object.keys(accepted.labels)).toHaveLength(64);
  expect(accepted.compute_config["emoji"]).toBe("😀");
  expect(tenant.version).toBe(1);
});
