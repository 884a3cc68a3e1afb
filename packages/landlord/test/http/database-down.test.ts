/** The database refuses, resets, or goes silent: 503 in bounded time, and back to work without a restart. */
import pg from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { App } from "../../src/http/app.ts";
import { openPostgresStore } from "../../src/store/postgres/postgres-store.ts";
import type { Store } from "../../src/store/store.ts";
import { apiOf, type Answer, type Api } from "../support/api.ts";
import { startTestApp } from "../support/app.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { eventually } from "../support/eventually.ts";
import { startTestSystem, type TestSystem } from "../support/system.ts";
import { proxyUrl, type TcpProxy } from "../support/tcp-proxy.ts";
import { API_ONLY, create, expectProblem, freshName } from "./kit.ts";

const readsAndWrites = (api: Api, id: string): (() => Promise<Answer>)[] => [
  () => api.call("GET", `/v1/tenants/${id}`),
  () => api.call("GET", "/v1/tenants"),
  () => api.call("GET", `/v1/tenants/${id}/history`),
  () => api.call("GET", `/v1/tenants/${id}/operations`),
  () => api.call("POST", "/v1/tenants", { name: freshName(), compute_provider: "mock", compute_config: {} }),
  () =>
    api.call(
      "POST",
      "/v1/tenants",
      { name: freshName(), compute_provider: "mock", compute_config: {} },
      { "idempotency-key": freshName() },
    ),
  () => api.call("PUT", `/v1/tenants/${id}`, { compute_config: { a: 1 } }),
  () => api.call("PATCH", `/v1/tenants/${id}`, { labels: { a: "1" } }),
  () => api.call("POST", `/v1/tenants/${id}/archive`),
  () => api.call("DELETE", `/v1/tenants/${id}`),
];

function expectUnavailable(answer: Answer): void {
  const problem = expectProblem(answer, 503, "database_unavailable");
  expect(answer.headers.get("retry-after")).toMatch(/^[1-9]\d*$/);
  // Nothing of the inside: no address, no query, no stack.
  expect(JSON.stringify(problem)).not.toMatch(/127\.0\.0\.1|ECONN|select |insert |\.ts:/i);
}

describe("the whole server", () => {
  let system: TestSystem;
  let proxy: TcpProxy;
  let api: Api;
  let id: string;
  beforeAll(async () => {
    system = await startTestSystem(API_ONLY);
    const through = await proxyUrl(system.database.url);
    proxy = through.proxy;
    api = apiOf((await system.startServer({ "database.url": through.url })).url);
    id = (await create(api)).id;
  });
  afterAll(async () => {
    proxy.restore();
    await system.stop();
    await proxy.close();
  });

  it("503 while the database refuses, then the same server serves again", async () => {
    proxy.refuse();
    for (const answer of await Promise.all(readsAndWrites(api, id).map((send) => send())))
      expectUnavailable(answer);
    const ready = await api.call<{ checks: Record<string, string>; error: string }>("GET", "/ready");
    expect(ready).toMatchObject({ status: 503, body: { status: "unavailable" } });
    expect(ready.body.checks["database"]).not.toBe("ok");
    expect(ready.body.error).toMatch(/^database: /);
    expect((await api.call("GET", "/health")).status).toBe(200);
    // What needs no database goes on.
    expect((await api.call("GET", "/v1/compute/engines/mock")).status).toBe(200);
    expectProblem(await api.call("POST", "/v1/tenants", { name: "Bad" }), 400);

    proxy.restore();
    expect((await api.call("GET", `/v1/tenants/${id}`)).status).toBe(200);
    expect((await api.call("GET", "/ready")).status).toBe(200);
    expect((await api.call("PUT", `/v1/tenants/${id}`, { compute_config: { a: 1 } })).status).toBe(202);
  });

  it("a cut connection costs at most the requests that were on it", async () => {
    await Promise.all(Array.from({ length: 10 }, () => api.call("GET", "/v1/tenants")));
    proxy.cut();
    await eventually(async () => (await api.call("GET", "/v1/tenants")).status === 200, {
      what: "served again",
    });
    const answers = await Promise.all(Array.from({ length: 20 }, () => api.call("GET", "/v1/tenants")));
    expect(answers.map((answer) => answer.status)).toEqual(Array.from({ length: 20 }, () => 200));
  });

  it("/ready does not wait for a database that is silent", async () => {
    proxy.blackhole();
    const startedMs = performance.now();
    expect((await api.call("GET", "/ready")).status).toBe(503);
    expect(performance.now() - startedMs).toBeLessThan(5_000);
    expect((await api.call("GET", "/health")).status).toBe(200);
    proxy.restore();
    proxy.cut();
  });
});

describe("a silent database", () => {
  const STATEMENT_TIMEOUT_MS = 300;
  const CONNECT_TIMEOUT_MS = 500;
  /** The driver waits a second longer than the server is told to; the rest is a slow machine. */
  const BOUND_MS = STATEMENT_TIMEOUT_MS + 1_000 + CONNECT_TIMEOUT_MS + 2_000;

  let database: TestDatabase;
  let proxy: TcpProxy;
  let store: Store;
  let app: App;
  let api: Api;
  let id: string;
  beforeEach(async () => {
    database = await createTestDatabase();
    const through = await proxyUrl(database.url);
    proxy = through.proxy;
    store = await openPostgresStore(
      {
        url: through.url,
        maxConnections: 3,
        connectTimeoutMs: CONNECT_TIMEOUT_MS,
        statementTimeoutMs: STATEMENT_TIMEOUT_MS,
        applicationName: "test",
        autoMigrate: true,
      },
      () => undefined,
    );
    ({ app, api } = await startTestApp({ store }));
    id = (await create(api)).id;
    // Connections are open when the silence begins.
    await Promise.all(Array.from({ length: 6 }, () => api.call("GET", "/v1/tenants")));
  });
  afterEach(async () => {
    proxy.restore();
    await app.close();
    proxy.cut();
    await store.close();
    await proxy.close();
    await database.drop();
  });

  it("each request is 503 in bounded time, a transaction too, and lost connections are not used again", async () => {
    proxy.blackhole();
    for (const send of readsAndWrites(api, id)) {
      const startedMs = performance.now();
      expectUnavailable(await send());
      expect(performance.now() - startedMs).toBeLessThan(BOUND_MS);
    }
    // The swallowed bytes stay lost; only connections that are made anew can serve.
    proxy.restore();
    const startedMs = performance.now();
    for (const answer of await Promise.all(
      Array.from({ length: 6 }, () => api.call("GET", `/v1/tenants/${id}`)),
    )) {
      expect(answer.status).toBe(200);
    }
    expect(performance.now() - startedMs).toBeLessThan(STATEMENT_TIMEOUT_MS + 1_000);
  });

  it("of a write whose answer was lost nothing stays open in the database", async () => {
    proxy.blackhole();
    const name = freshName();
    const startedMs = performance.now();
    expectUnavailable(await api.call("POST", "/v1/tenants", { name, compute_config: {} }));
    // One statement waits in vain, and no second one behind it.
    expect(performance.now() - startedMs).toBeLessThan(2 * (STATEMENT_TIMEOUT_MS + 1_000));
    proxy.restore();
    await eventually(
      async () => {
        const rows = await database.query(
          `SELECT 1 FROM pg_stat_activity WHERE application_name = 'test' AND state LIKE 'idle in transaction%'
             AND datname = current_database()`,
        );
        return rows.length === 0;
      },
      { what: "no transaction is left open" },
    );
    expect((await api.call("POST", "/v1/tenants", { name, compute_config: {} })).status).toBe(201);
  });

  it("more requests than connections are refused in bounded time as well", async () => {
    proxy.blackhole();
    const startedMs = performance.now();
    const answers = await Promise.all(Array.from({ length: 12 }, () => api.call("GET", `/v1/tenants/${id}`)));
    for (const answer of answers) expectUnavailable(answer);
    expect(performance.now() - startedMs).toBeLessThan(BOUND_MS);
  });

  it("a slow database is only slow", async () => {
    proxy.delay(50);
    expect((await api.call("GET", `/v1/tenants/${id}`)).status).toBe(200);
    expect((await api.call("PUT", `/v1/tenants/${id}`, { compute_config: { a: 1 } })).status).toBe(202);
  });

  it("a statement that takes too long is aborted by the server, and its connection goes on", async () => {
    const holder = new pg.Client({ connectionString: database.url });
    await holder.connect();
    try {
      await holder.query(`BEGIN`);
      await holder.query(`LOCK TABLE tenant_work IN ACCESS EXCLUSIVE MODE`);
      const answer = await api.call("PUT", `/v1/tenants/${id}`, { compute_config: { a: 1 } });
      expectUnavailable(answer);
    } finally {
      await holder.end();
    }
    expect((await api.call("PUT", `/v1/tenants/${id}`, { compute_config: { a: 1 } })).status).toBe(202);
  });
});
