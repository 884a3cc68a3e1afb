/** The audit log: what is in it, how it is read, and what becomes of it when the database is away. */
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { createAuditLog } from "../../src/http/audit-log.ts";
import { StoreUnavailableError, type AuditEntry, type ServerStore } from "../../src/store/store.ts";
import type { Logger } from "../../src/telemetry/logger.ts";
import { openStoreUnderTest } from "../store/kit.ts";
import { ADMIN_TOKEN, as, bearer, fromElsewhere, newKey, startAccessSystem } from "../auth/access-system.ts";
import { apiOf, type Api } from "../support/api.ts";
import { eventually } from "../support/eventually.ts";
import type { TestSystem } from "../support/system.ts";
import { create, expectProblem, freshName } from "./kit.ts";

let system: TestSystem;
let admin: Api;
beforeAll(async () => {
  system = await startAccessSystem({ server: { "http.rate_limit.requests_per_second": 100_000 } });
  admin = as(system.url, ADMIN_TOKEN);
});
afterAll(() => system.stop());

interface Entry {
  readonly id: number;
  readonly at: string;
  readonly actor: string;
  readonly action: string;
  readonly outcome: string;
  readonly status: number;
  readonly request_id: string;
  readonly [key: string]: unknown;
}

async function entries(query: string): Promise<{ entries: Entry[]; next_page_token: string | null }> {
  const answer = await admin.call<{ entries: Entry[]; next_page_token: string | null }>(
    "GET",
    `/v1/audit?${query}`,
  );
  expect(answer.status, JSON.stringify(answer.body)).toBe(200);
  return answer.body;
}

/** The entry of one request; it comes behind the answer. */
function entryOf(requestId: string): Promise<Entry> {
  return eventually(
    async () => (await entries("limit=500")).entries.find(({ request_id: id }) => id === requestId),
    { what: `the entry of ${requestId}` },
  );
}

describe("an entry", () => {
  it("tells who wrote what, when, from where, and how it went", async () => {
    const key = await newKey(system.url, "operator");
    const answer = await as(system.url, key.secret).call(
      "POST",
      "/v1/tenants",
      { name: freshName(), compute_provider: "mock", compute_config: {} },
      { "x-request-id": "the-write", "x-forwarded-for": "192.0.2.33" },
    );
    expect(answer.status).toBe(201);
    const entry = await entryOf("the-write");
    expect(entry).toMatchObject({
      actor: key.name,
      role: "operator",
      action: "createTenant",
      outcome: "allowed",
      status: 201,
      code: null,
      tenant: answer.body["id"],
      remote_address: "192.0.2.33",
      detail: { method: "key" },
    });
    expect(Math.abs(Date.parse(entry.at) - Date.now())).toBeLessThan(20_000);
  });

  it("tells of a write that failed, by the code of its problem", async () => {
    const nobody = "00000000-0000-4000-8000-00000000dead";
    await admin.call("DELETE", `/v1/tenants/${nobody}`, undefined, { "x-request-id": "the-failure" });
    expect(await entryOf("the-failure")).toMatchObject({
      action: "deleteTenant",
      outcome: "failed",
      status: 404,
      code: "tenant_not_found",
      tenant: nobody,
    });
  });

  it("tells of who was turned away: without credentials, without the role, outside the scope", async () => {
    const viewer = await newKey(system.url, "viewer", { scope: "team=a" });
    const scoped = await newKey(system.url, "operator", { scope: "team=a" });
    const { id } = await create(admin, {});
    const body = { name: freshName(), compute_provider: "mock", compute_config: {} };
    await apiOf(system.url).call("GET", "/v1/tenants", undefined, {
      ...fromElsewhere(),
      ...bearer("nonsense-nonsense"),
      "x-request-id": "no-credentials",
    });
    await as(system.url, viewer.secret).call("DELETE", `/v1/tenants/${id}`, undefined, {
      "x-request-id": "no-role",
    });
    await as(system.url, scoped.secret).call("POST", "/v1/tenants", body, { "x-request-id": "no-scope" });
    expect(await entryOf("no-credentials")).toMatchObject({
      actor: "unknown",
      role: null,
      action: "listTenants",
      outcome: "denied",
      status: 401,
      code: "unauthenticated",
    });
    expect(await entryOf("no-role")).toMatchObject({
      actor: viewer.name,
      role: "viewer",
      action: "deleteTenant",
      outcome: "denied",
      status: 403,
      code: "forbidden",
      tenant: id,
    });
    expect(await entryOf("no-scope")).toMatchObject({
      outcome: "denied",
      status: 403,
      code: "outside_scope",
    });
    expect(JSON.stringify(await entries("limit=500"))).not.toContain("nonsense");
  });

  it("is kept of what PostgreSQL cannot hold, too", async () => {
    const answer = await admin.call("DELETE", "/v1/tenants/a%00b", undefined, { "x-request-id": "odd" });
    expect(answer.status).toBeGreaterThanOrEqual(400);
    expect(await entryOf("odd")).toMatchObject({ action: "deleteTenant", tenant: "a\u{fffd}b" });
  });

  it("tells of a forced delete, with what may be left", async () => {
    const { id } = await create(admin);
    expect((await admin.call("DELETE", `/v1/tenants/${id}?force=true`)).status).toBe(202);
    const [entry] = await eventually(
      async () => {
        const found = await entries(`tenant=${id}&action=deleteTenant`);
        return found.entries.length === 1 && found.entries;
      },
      { what: "the entry is written" },
    );
    expect(entry?.["detail"]).toMatchObject({ force: true, may_remain: { scopes: [], resource_ids: {} } });
  });

  it("is not made of plans", async () => {
    const name = freshName();
    const body = { compute_provider: "mock", compute_config: {} };
    const path = `/v1/tenants/by-name/${name}`;
    const headers = { "x-request-id": `plan-of-${name}` };
    expect((await admin.call("PUT", `${path}?dry_run=true`, body, headers)).status).toBe(503);
    expect((await admin.call("PUT", `${path}?dry_run=true`, { wrong: 1 }, headers)).status).toBe(400);
    expect((await admin.call("PUT", path, body)).status).toBe(201);
    const found = await eventually(
      async () => {
        const { entries: all } = await entries("action=applyTenant&limit=500");
        return all.some(({ outcome }) => outcome === "allowed") && all;
      },
      { what: "the write is there" },
    );
    expect(found.filter(({ request_id: id }) => id === `plan-of-${name}`)).toEqual([]);
  });

  it("is not made of reads, nor of a worker's progress", async () => {
    const worker = await newKey(system.url, "worker");
    await admin.call("GET", "/v1/tenants", undefined, { "x-request-id": "a-read" });
    await as(system.url, worker.secret).call(
      "POST",
      "/v1/executions/x/progress",
      { phase: "p", message: "" },
      { "x-request-id": "progress" },
    );
    await admin.call("DELETE", "/v1/tenants/none", undefined, { "x-request-id": "a-write-after" });
    await entryOf("a-write-after");
    const seen = (await entries("limit=500")).entries.map(({ request_id: id }) => id);
    expect(seen).not.toContain("a-read");
    expect(seen).not.toContain("progress");
  });

  it("is made of keys: creation, rotation, revocation", async () => {
    const { id, name } = await newKey(system.url, "viewer");
    await admin.call("POST", `/v1/tokens/${id}/rotate`);
    await admin.call("DELETE", `/v1/tokens/${id}`, undefined, { "x-request-id": "revocation" });
    await entryOf("revocation");
    const { entries: all } = await entries("limit=500");
    const actions = all
      .filter(({ detail }) => (detail as { token?: string }).token === name)
      .map(({ action }) => action);
    expect(actions).toEqual(["revokeToken", "rotateToken", "createToken"]);
  });
});

describe("reading", () => {
  beforeAll(async () => {
    await system.database.query(`
      INSERT INTO audit (at, actor, role, action, outcome, status, tenant, request_id, detail)
      SELECT '2024-01-01'::timestamptz + n * interval '1 minute', 'old-' || n % 2, 'operator', 'updateTenant',
        CASE WHEN n % 5 = 0 THEN 'failed' ELSE 'allowed' END, 200, 'tenant-' || n % 3, 'old ' || n, '{}'
      FROM generate_series(1, 2500) n`);
  });

  it("filters by actor, action, outcome, tenant and time", async () => {
    const all = "limit=500&since=2024-01-01T00:00:00Z&until=2024-01-01T01:00:00Z";
    expect((await entries(all)).entries).toHaveLength(59);
    expect((await entries(`${all}&actor=old-1`)).entries).toHaveLength(30);
    expect((await entries(`${all}&outcome=failed`)).entries).toHaveLength(11);
    expect((await entries(`${all}&tenant=tenant-2&action=updateTenant`)).entries).toHaveLength(20);
    expect((await entries(`${all}&action=createTenant`)).entries).toHaveLength(0);
    expect(
      (await entries("since=2024-01-01T03:00:00%2B02:00&until=2024-01-01T01:01:00Z")).entries,
    ).toHaveLength(1);
    expectProblem(await admin.call("GET", "/v1/audit?since=yesterday"), 400);
    expectProblem(await admin.call("GET", "/v1/audit?outcome=maybe"), 400);
  });

  it("goes through pages, newest first, each entry once, also while more are written", async () => {
    const ids: number[] = [];
    let token: string | null = null;
    do {
      const page = await entries(`limit=400&actor=old-0${token === null ? "" : `&page_token=${token}`}`);
      ids.push(...page.entries.map(({ id }) => id));
      token = page.next_page_token;
      await system.database.query(
        `INSERT INTO audit (actor, action, outcome, status, request_id) VALUES ('old-0', 'x', 'allowed', 200, 'late')`,
      );
    } while (token !== null);
    expect(ids).toHaveLength(1_250);
    expect(ids).toEqual([...new Set(ids)].toSorted((a, b) => b - a));
    const { next_page_token: other } = await entries("limit=1&actor=old-1");
    expectProblem(
      await admin.call("GET", `/v1/audit?actor=old-0&page_token=${other}`),
      400,
      "invalid_page_token",
    );
  });

  it("exports everything that matches, one JSON object a line", async () => {
    const response = await fetch(`${system.url}/v1/audit?actor=old-1`, {
      headers: { ...bearer(ADMIN_TOKEN), accept: "application/x-ndjson" },
    });
    expect(response.headers.get("content-type")).toBe("application/x-ndjson");
    const lines = (await response.text()).trimEnd().split("\n");
    expect(lines).toHaveLength(1_250);
    const ids = lines.map((line) => (JSON.parse(line) as Entry).id);
    expect(ids).toEqual(ids.toSorted((a, b) => b - a));
    expect(new Set(ids).size).toBe(1_250);
  });
});

test("entries beyond their retention are deleted, in steps", async () => {
  const under = await openStoreUnderTest();
  try {
    await under.database.query(`
      INSERT INTO audit (at, actor, action, outcome, status, request_id)
      SELECT now() - n * interval '1 hour', 'a', 'x', 'allowed', 200, '' FROM generate_series(1, 7000) n`);
    const store = under.store as ServerStore;
    const retentionMs = 1_000 * 3_600_000;
    expect(await store.collectAudit({ retentionMs })).toBe(5_000);
    expect(await store.collectAudit({ retentionMs })).toBe(1_001);
    expect(await store.collectAudit({ retentionMs })).toBe(0);
    const [row] = await under.database.query(`SELECT count(*)::int AS count FROM audit`);
    expect(row?.["count"]).toBe(999);
  } finally {
    await under.close();
  }
});

describe("the log in memory", () => {
  const entry = (requestId: string): AuditEntry => ({
    at: new Date(),
    actor: "a",
    role: null,
    action: "x",
    outcome: "allowed",
    status: 200,
    code: null,
    tenant: null,
    requestId,
    remoteAddress: null,
    detail: {},
  });

  function underTest(limit?: number) {
    const written: string[][] = [];
    const logged: Record<string, unknown>[] = [];
    const note = (fields: object, message: string): void => void logged.push({ ...fields, message });
    const logger = { warn: note, error: note, info: note, debug: note } as unknown as Logger;
    const store = {
      problem: (() => null) as (batch: readonly AuditEntry[]) => Error | null,
      appendAudit: ({ entries: batch }: { readonly entries: readonly AuditEntry[] }): Promise<void> => {
        const problem = store.problem(batch);
        if (problem !== null) return Promise.reject(problem);
        written.push(batch.map(({ requestId }) => requestId));
        return Promise.resolve();
      },
    };
    return { log: createAuditLog(store, logger, limit), store, written, logged };
  }
  const away = new StoreUnavailableError("database_unavailable", "away");

  it("writes what came together in one statement", async () => {
    const { log, written } = underTest();
    for (let count = 0; count < 500; count++) log.record(entry(String(count)));
    await eventually(() => written.length > 0, { what: "written" });
    expect(written.map((batch) => batch.length)).toEqual([500]);
    await log.stop();
  });

  it("waits for a database that is away, and loses nothing that has room", async () => {
    const { log, store, written, logged } = underTest();
    store.problem = () => away;
    for (const id of ["a", "b"]) log.record(entry(id));
    await eventually(() => logged.length > 0, { what: "it says so" });
    store.problem = () => null;
    log.record(entry("c"));
    await eventually(() => written.flat().length === 3, { what: "written" });
    expect(written.flat()).toEqual(["a", "b", "c"]);
    await log.stop();
  });

  it("beyond its room drops the oldest, counts them, and says so", async () => {
    const { log, store, written, logged } = underTest(100);
    store.problem = () => away;
    for (let count = 0; count < 1_000; count++) log.record(entry(String(count)));
    store.problem = () => null;
    await log.stop();
    const kept = written.flat();
    expect(kept.length).toBeGreaterThanOrEqual(100);
    expect(kept.length).toBeLessThan(111);
    expect(kept.at(-1)).toBe("999");
    expect(kept).toEqual(
      Array.from({ length: kept.length }, (_, index) => String(1_000 - kept.length + index)),
    );
    expect(logged).toContainEqual(expect.objectContaining({ dropped: 1_000 - kept.length }));
  });

  it("is not held up by an entry that the database refuses", async () => {
    const { log, store, written, logged } = underTest();
    store.problem = (batch) =>
      batch.some(({ requestId }) => requestId === "bad") ? new Error("refused") : null;
    for (const id of ["a", "bad", "c"]) log.record(entry(id));
    await log.stop();
    expect(written.flat()).toEqual(["a", "c"]);
    expect(logged).toContainEqual(expect.objectContaining({ message: "audit entry refused by the store" }));
  });

  it("writes what is left when it stops", async () => {
    const { log, written } = underTest();
    log.record(entry("last"));
    await log.stop();
    expect(written).toEqual([["last"]]);
  });
});
