import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  ConnectionError,
  createClient,
  LandlordApiError,
  TenantFailedError,
  WaitTimeoutError,
  type LandlordClient,
  type Tenant,
} from "../src/index.ts";

interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: string;
}
interface Answer {
  readonly status?: number;
  readonly headers?: Record<string, string>;
  readonly body?: unknown;
  /** Ends the connection instead. */
  readonly hangUp?: boolean;
}

let server: Server;
let origin: string;
let client: LandlordClient;
let seen: Seen[];
let answer: (request: Seen, count: number) => Answer | Promise<Answer>;

beforeEach(async () => {
  seen = [];
  answer = () => ({ body: {} });
  server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const one = {
      method: request.method ?? "",
      url: request.url ?? "",
      headers: request.headers,
      body: Buffer.concat(chunks).toString(),
    };
    seen.push(one);
    const { status = 200, headers = {}, body, hangUp } = await answer(one, seen.length);
    if (hangUp === true) return void request.socket.destroy();
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(typeof body === "string" ? body : JSON.stringify(body));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  client = createClient({ baseUrl: origin, token: "t0ken", timeoutMs: 500 });
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

function tenant(changes: Partial<Tenant> = {}): Tenant {
  const base = {
    id: "0d4e4bfe-0f2a-4a53-8d4c-0a6a5ad7d1f1",
    name: "acme",
    status: "ready",
    status_message: "",
  };
  return { ...base, generation: 1, observed_generation: 1, version: 1, ...changes } as Tenant;
}
const problem = (status: number, code: string) => ({
  status,
  body: { error: `because ${code}`, code, details: ["/a: bad"], request_id: "r1", status },
});

describe("requests", () => {
  it.each(["", "/", "/v1", "/v1/"])("takes a base URL that ends in %j", async (ending) => {
    await createClient({ baseUrl: origin + ending }).getTenant("a b");
    await createClient({ baseUrl: origin + ending }).health();
    expect(seen.map((request) => request.url)).toEqual(["/v1/tenants/a%20b", "/health"]);
  });

  it("refuses a base URL that is none", () => {
    expect(() => createClient({ baseUrl: "localhost:8081" })).toThrow("http://127.0.0.1:8081");
  });

  it("sends bodies, preconditions, keys and the token", async () => {
    await client.createTenant({ name: "acme", compute_config: { a: 1 } }, { idempotencyKey: "k" });
    await client.updateTenant("acme", { compute_config: {} }, { ifMatch: 3 });
    await client.patchTenant("acme", { labels: { a: null } });
    await client.archiveTenant("acme");
    await client.deleteTenant("acme", { ifMatch: '"4"' });
    expect(seen.map(({ method, url, body }) => `${method} ${url} ${body}`)).toEqual([
      'POST /v1/tenants {"name":"acme","compute_config":{"a":1}}',
      'PUT /v1/tenants/acme {"compute_config":{}}',
      'PATCH /v1/tenants/acme {"labels":{"a":null}}',
      "POST /v1/tenants/acme/archive ",
      "DELETE /v1/tenants/acme ",
    ]);
    expect(seen[0]?.headers).toMatchObject({ authorization: "Bearer t0ken", "idempotency-key": "k" });
    expect(seen[1]?.headers["if-match"]).toBe('"3"');
    expect(seen[3]?.headers["content-type"]).toBeUndefined();
    expect(seen[4]?.headers["if-match"]).toBe('"4"');
  });

  it("walks all pages", async () => {
    answer = ({ url }) => {
      const from = Number(new URL(url, origin).searchParams.get("page_token") ?? 0);
      const tenants = [0, 1, 2, 3, 4].slice(from, from + 2).map((index) => tenant({ name: `t${index}` }));
      const next = from + 2 < 5 ? String(from + 2) : null;
      return { body: { tenants, total: 5, limit: 2, offset: 0, next_page_token: next } };
    };
    const names: string[] = [];
    for await (const each of client.listAllTenants({ limit: 2, include_deleted: true }))
      names.push(each.name);
    expect(names).toEqual(["t0", "t1", "t2", "t3", "t4"]);
    expect(seen[1]?.url).toBe("/v1/tenants?limit=2&include_deleted=true&page_token=2");
  });

  it("unwraps lists and accepts that the server is not ready", async () => {
    answer = ({ url }) =>
      url === "/ready"
        ? { status: 503, body: { status: "unavailable", checks: {} } }
        : { body: { transitions: [1], operations: [2], engines: [3] } };
    expect(await client.getHistory("a")).toEqual([1]);
    expect(await client.getOperations("a")).toEqual([2]);
    expect(await client.listComputeEngines()).toEqual([3]);
    expect(await client.ready()).toMatchObject({ status: "unavailable" });
    expect(seen).toHaveLength(4);
  });
});

describe("errors", () => {
  it("carries what the API says", async () => {
    answer = () => problem(409, "name_taken");
    const error = await client.getTenant("a").catch((each: unknown) => each);
    expect(error).toBeInstanceOf(LandlordApiError);
    expect(error).toMatchObject({
      status: 409,
      code: "name_taken",
      message: "because name_taken",
      details: ["/a: bad"],
      requestId: "r1",
    });
  });

  it("copes with answers of something else", async () => {
    answer = () => ({ status: 418, body: "<html>" });
    await expect(client.getTenant("a")).rejects.toMatchObject({ code: "http_418", status: 418, details: [] });
    answer = () => ({ body: "<html>" });
    await expect(client.getTenant("a")).rejects.toMatchObject({ code: "unexpected_answer" });
  });

  it("names the address when nothing listens, and when nothing answers", async () => {
    answer = () => new Promise(() => {});
    const slow = createClient({ baseUrl: origin, timeoutMs: 50, retries: 0 });
    await expect(slow.health()).rejects.toMatchObject({ code: "timeout", url: `${origin}/health` });
    const nobody = createClient({ baseUrl: "http://127.0.0.1:1", retries: 0 });
    const error = await nobody.health().catch((each: unknown) => each);
    expect(error).toBeInstanceOf(ConnectionError);
    expect((error as Error).message).toMatch(/http:\/\/127\.0\.0\.1:1\/health.*Check that the server runs/);
  });
});

describe("retries", () => {
  it("repeats reads and keyed creates", async () => {
    answer = (_, count) =>
      count === 1 ? { hangUp: true } : count === 2 ? problem(503, "x") : { body: tenant() };
    expect((await client.getTenant("a")).name).toBe("acme");
    expect(seen).toHaveLength(3);
    seen = [];
    await client.createTenant({ name: "a", compute_config: {} }, { idempotencyKey: "k" });
    expect(seen).toHaveLength(3);
  });

  it("repeats no other write, and no refusal", async () => {
    answer = () => problem(503, "x");
    await expect(client.createTenant({ name: "a", compute_config: {} })).rejects.toMatchObject({
      status: 503,
    });
    await expect(client.deleteTenant("a")).rejects.toMatchObject({ status: 503 });
    answer = () => problem(500, "x");
    await expect(client.getTenant("a")).rejects.toMatchObject({ status: 500 });
    expect(seen).toHaveLength(3);
    answer = () => problem(503, "x");
    await expect(client.getTenant("a")).rejects.toMatchObject({ status: 503 });
    expect(seen).toHaveLength(6);
  });

  it("waits as long as the server asks", async () => {
    answer = (_, count) =>
      count === 1 ? { ...problem(503, "x"), headers: { "retry-after": "1" } } : { body: {} };
    const start = Date.now();
    await client.getTenant("a");
    expect(Date.now() - start).toBeGreaterThanOrEqual(990);
  });
});

describe("waiting", () => {
  it("waits for the generation, by uuid once it is known, and reports changes once", async () => {
    const states = [
      tenant({ status: "updating", generation: 2 }),
      tenant({ status: "updating", generation: 2 }),
      tenant({ generation: 2, observed_generation: 1 }),
      tenant({ generation: 2, observed_generation: 2 }),
    ];
    answer = (_, count) => (count === 2 ? { hangUp: true } : { body: states[Math.min(count, 4) - 1] });
    const changes: string[] = [];
    const onChange = (each: Tenant) => changes.push(`${each.status} ${each.observed_generation}`);
    const result = await client.waitFor("acme", { for: "ready", generation: 2, timeoutMs: 5000, onChange });
    expect(result?.observed_generation).toBe(2);
    expect(changes).toEqual(["updating 1", "ready 1", "ready 2"]);
    expect(seen.map(({ url }) => new URL(url, origin).pathname)).toEqual([
      "/v1/tenants/acme",
      ...Array<string>(3).fill(`/v1/tenants/${tenant().id}`),
    ]);
  });

  it("takes a 404 for deleted, and for an error otherwise", async () => {
    answer = (_, count) => (count < 3 ? { body: tenant({ status: "deleting" }) } : problem(404, "not_found"));
    expect((await client.waitFor("acme", { for: "deleted", timeoutMs: 5000 }))?.status).toBe("deleting");
    await expect(client.waitFor("acme", { for: "ready", timeoutMs: 5000 })).rejects.toMatchObject({
      status: 404,
    });
    expect(await client.waitFor("acme", { for: "deleted", timeoutMs: 5000 })).toBeNull();
  });

  it("rejects when the tenant fails, but not for a failure of an older generation", async () => {
    const failed = tenant({ status: "failed", workflow_error_message: "no such image" });
    answer = () => ({ body: failed });
    const error = await client
      .waitFor("acme", { for: "ready", timeoutMs: 5000 })
      .catch((each: unknown) => each);
    expect(error).toBeInstanceOf(TenantFailedError);
    expect((error as TenantFailedError).message).toContain("no such image");
    seen = [];
    answer = (_, count) => ({
      body: count === 1 ? failed : tenant({ generation: 2, observed_generation: 2 }),
    });
    expect(await client.waitFor("acme", { for: "ready", generation: 2, timeoutMs: 5000 })).toMatchObject({
      generation: 2,
    });
  });

  it("gives up in time, with the tenant as it was, or as its caller wishes", async () => {
    answer = () => ({ body: tenant({ status: "provisioning", status_message: "pulling" }) });
    const error = await client
      .waitFor("acme", { for: "ready", timeoutMs: 150 })
      .catch((each: unknown) => each);
    expect(error).toBeInstanceOf(WaitTimeoutError);
    expect((error as WaitTimeoutError).message).toContain("it is provisioning: pulling");
    expect((error as WaitTimeoutError).tenant?.status).toBe("provisioning");
    const signal = AbortSignal.timeout(100);
    await expect(client.waitFor("acme", { for: "ready", timeoutMs: 5000, signal })).rejects.toMatchObject({
      name: "TimeoutError",
    });
    const nobody = createClient({ baseUrl: "http://127.0.0.1:1" });
    await expect(nobody.waitFor("a", { for: "ready", timeoutMs: 50 })).rejects.toBeInstanceOf(
      ConnectionError,
    );
  });
});
