/** A server without authentication answers programs on this machine, and no web page. */
import { request } from "node:http";
import { afterAll, beforeAll, expect, it } from "vitest";
import { startTestSystem, type TestSystem } from "../support/system.ts";
import { API_ONLY, contents } from "./kit.ts";

let system: TestSystem;
beforeAll(async () => {
  system = await startTestSystem(API_ONLY);
});
afterAll(() => system.stop());

interface Seen {
  readonly status: number;
  readonly code: unknown;
}

/** fetch does not let anybody set Host. */
function send(method: string, path: string, headers: Record<string, string>, body?: string): Promise<Seen> {
  return new Promise((resolve, reject) => {
    const sent = request(`${system.url}${path}`, { method, headers }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (part: string) => (text += part));
      response.on("end", () => {
        const json = (JSON.parse(text === "" ? "{}" : text) as { code?: unknown }).code;
        resolve({ status: response.statusCode ?? 0, code: json });
      });
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

const BODY = JSON.stringify({ name: "from-a-page", compute_provider: "mock", compute_config: {} });
const JSON_TYPE = { "content-type": "application/json" };

it.each([
  "evil.example",
  "evil.example:80",
  "127.0.0.1.evil.example",
  "localhost.evil.example",
  "10.0.0.1",
  "0.0.0.0",
])("refuses Host %s: a rebound DNS name", async (host) => {
  expect(await send("GET", "/v1/tenants", { host })).toEqual({ status: 403, code: "host_not_allowed" });
  expect(await send("POST", "/v1/tenants", { host, ...JSON_TYPE }, BODY)).toEqual({
    status: 403,
    code: "host_not_allowed",
  });
});

it.each(["localhost", "LOCALHOST:8081", "127.0.0.1:1", "127.8.9.10", "[::1]", "[::1]:8081"])(
  "answers Host %s",
  async (host) => {
    expect(await send("GET", "/v1/tenants", { host })).toMatchObject({ status: 200 });
  },
);

it.each(["https://evil.example", "http://127.0.0.1.evil.example", "null", "file://", "garbage", ""])(
  "refuses Origin %s: another site's page",
  async (origin) => {
    for (const [method, path, body] of [
      ["GET", "/v1/tenants", undefined],
      ["POST", "/v1/tenants", BODY],
      ["DELETE", "/v1/tenants/x", undefined],
      ["OPTIONS", "/v1/tenants", undefined],
    ] as const) {
      const headers = { origin, ...(body === undefined ? {} : JSON_TYPE) };
      expect(await send(method, path, headers, body)).toEqual({ status: 403, code: "origin_not_allowed" });
    }
  },
);

it.each(["http://localhost:3000", "http://127.0.0.1:8081", "http://[::1]:9"])(
  "answers Origin %s",
  async (origin) => {
    expect(await send("GET", "/v1/tenants", { origin })).toMatchObject({ status: 200 });
  },
);

it.each([
  "application/x-www-form-urlencoded",
  "multipart/form-data; boundary=b",
  "text/plain",
  "text/plain;application/json",
])("refuses what a form can send: %s", async (type) => {
  const before = await contents(system.database);
  for (const [method, path] of [
    ["POST", "/v1/tenants"],
    ["POST", "/v1/tenants/x/archive"],
  ] as const) {
    expect(await send(method, path, { "content-type": type }, BODY)).toEqual({
      status: 415,
      code: "unsupported_media_type",
    });
  }
  expect(await contents(system.database)).toEqual(before);
});

it("refuses a body that names no type", async () => {
  expect(await send("POST", "/v1/tenants", { "content-length": String(BODY.length) }, BODY)).toMatchObject({
    status: 415,
  });
  expect(await send("POST", "/v1/tenants", { "transfer-encoding": "chunked" }, BODY)).toMatchObject({
    status: 415,
  });
});

it("sends no header that would let another site read an answer", async () => {
  const response = await fetch(`${system.url}/v1/tenants`);
  expect([...response.headers.keys()].filter((name) => name.startsWith("access-control-"))).toEqual([]);
});
