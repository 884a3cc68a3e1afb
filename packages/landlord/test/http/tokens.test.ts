/** Keys: how they are made, shown, changed over and ended; at several servers over one database. */
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { createHash } from "node:crypto";
import type { TokenBody } from "../../src/contract/access.ts";
import { ADMIN_TOKEN, as, newKey, startAccessSystem, type NewKey } from "../auth/access-system.ts";
import type { Api } from "../support/api.ts";
import { eventually } from "../support/eventually.ts";
import type { RunningServer } from "../../src/start/server.ts";
import type { TestSystem } from "../support/system.ts";
import { expectProblem } from "./kit.ts";

let system: TestSystem;
let second: RunningServer;
let admin: Api;

beforeAll(async () => {
  system = await startAccessSystem();
  second = await system.startServer();
  admin = as(system.url, ADMIN_TOKEN);
});
afterAll(() => system.stop());

const statusOf = async (url: string, secret: string): Promise<number> =>
  (await as(url, secret).call("GET", "/v1/identity")).status;

/** Seconds: the cache's five and what a busy machine adds. */
const SOON = { timeoutMs: 9_000, everyMs: 100 };

test("the secret is shown once, kept as its SHA-256, and found nowhere else", async () => {
  const answer = await admin.call<NewKey & TokenBody>("POST", "/v1/tokens", { name: "ci", role: "operator" });
  expect(answer.status).toBe(201);
  expect(answer.headers.get("cache-control")).toBe("no-store");
  const { id, secret } = answer.body;
  expect(secret).toMatch(/^ll_[A-Za-z0-9_-]{43}$/);
  expect(answer.body).toMatchObject({
    name: "ci",
    role: "operator",
    scope: null,
    created_by: "admin-token",
    expires_at: null,
    last_used_at: null,
    previous_secret_expires_at: null,
  });
  expect(await statusOf(system.url, secret)).toBe(200);
  const [row] = await system.database.query(`SELECT secret_hash FROM tokens WHERE id = $1`, [id]);
  expect(row?.["secret_hash"]).toEqual(createHash("sha256").update(secret).digest());
  await eventually(
    async () =>
      (
        await system.database.query(
          `SELECT 1 FROM audit WHERE action = 'createToken' AND detail->>'token_id' = $1`,
          [id],
        )
      ).length === 1,
    { what: "the creation is in the audit log" },
  );
  const tables = await system.database.query(
    `SELECT (xpath('/row/c/text()', query_to_xml(format('SELECT string_agg(t::text, '' '') AS c FROM %I t', table_name),
       false, true, '')))[1]::text AS content
     FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'`,
  );
  const everything = tables.map(({ content }) => String(content)).join("\n");
  expect(everything).toContain("createToken");
  expect(everything).not.toContain(secret.slice(3));
  const list = await admin.call("GET", "/v1/tokens");
  expect(JSON.stringify(list.body)).not.toContain(secret.slice(3));
});

test("they are listed by name, page after page", async () => {
  for (const name of ["page-c", "page-a", "page-b"]) await newKey(system.url, "viewer", { name });
  const names: string[] = [];
  let path = "/v1/tokens?limit=2";
  for (let page = 1; page < 50; page++) {
    const { body } = await admin.call<{ tokens: TokenBody[]; next_page_token: string | null }>("GET", path);
    expect(body.tokens.length).toBeLessThanOrEqual(2);
    names.push(...body.tokens.map(({ name }) => name));
    if (body.next_page_token === null) break;
    path = `/v1/tokens?limit=2&page_token=${body.next_page_token}`;
  }
  expect(names).toEqual(names.toSorted());
  expect(new Set(names).size).toBe(names.length);
  expect(names).toEqual(expect.arrayContaining(["page-a", "page-b", "page-c"]));
  expectProblem(await admin.call("GET", "/v1/tokens?page_token=x"), 400, "invalid_page_token");
});

describe("what cannot be made", () => {
  it.each([
    ["a role that does not exist", { name: "x", role: "root" }],
    ["a name with a space", { name: "x y", role: "viewer" }],
    ["the reconciler's name", { name: "reconciler", role: "viewer" }],
    ["the name of nobody", { name: "anonymous", role: "viewer" }],
    ["a scope that is no selector", { name: "x", role: "viewer", scope: "a in (" }],
    ["an empty scope", { name: "x", role: "viewer", scope: " " }],
    ["a worker with a scope", { name: "x", role: "worker", scope: "a=b" }],
    ["an expiry in the past", { name: "x", role: "viewer", expires_at: "2020-01-01T00:00:00Z" }],
    ["an expiry that is no time", { name: "x", role: "viewer", expires_at: "soon" }],
    ["an unknown field", { name: "x", role: "viewer", admin: true }],
  ])("%s", async (_, body) => {
    expectProblem(await admin.call("POST", "/v1/tokens", body), 400, "invalid_request");
  });

  it("a name twice", async () => {
    const { name } = await newKey(system.url, "viewer");
    expectProblem(await admin.call("POST", "/v1/tokens", { name, role: "viewer" }), 409, "name_taken");
  });
});

test("a revoked key ends within seconds at every server, also where it was just used", async () => {
  const { id, secret, name } = await newKey(system.url, "viewer");
  for (const url of [system.url, second.url]) expect(await statusOf(url, secret)).toBe(200);
  const answer = await admin.call("DELETE", `/v1/tokens/${id}`);
  expect(answer.status).toBe(200);
  const startedMs = performance.now();
  for (const url of [system.url, second.url]) {
    await eventually(async () => (await statusOf(url, secret)) === 401, { what: "revoked", ...SOON });
  }
  expect(performance.now() - startedMs).toBeLessThan(9_000);
  expectProblem(await admin.call("DELETE", `/v1/tokens/${id}`), 404, "token_not_found");
  // The name is free again.
  await newKey(system.url, "viewer", { name });
});

test("an expired key says so", async () => {
  const expiresAt = new Date(Date.now() + 1_500).toISOString();
  const { secret } = await newKey(system.url, "viewer", { expires_at: expiresAt });
  expect(await statusOf(system.url, secret)).toBe(200);
  const answer = await eventually(
    async () => {
      const seen = await as(system.url, secret).call("GET", "/v1/identity");
      return seen.status === 401 && seen;
    },
    { what: "expired", ...SOON },
  );
  // To the moment, and not when the cache is read anew.
  expect(Date.now() - Date.parse(expiresAt)).toBeLessThan(2_000);
  expectProblem(answer, 401, "token_expired");
  expect(answer.headers.get("www-authenticate")).toContain('error="invalid_token"');
});

describe("a rotation", () => {
  const rotate = async (id: string, query: string): Promise<NewKey & TokenBody> => {
    const answer = await admin.call<NewKey & TokenBody>("POST", `/v1/tokens/${id}/rotate${query}`);
    expect(answer.status, JSON.stringify(answer.body)).toBe(200);
    return answer.body;
  };

  it("leaves the old secret good for a while, and the one before that ends at once", async () => {
    const first = await newKey(system.url, "operator");
    const secondKey = await rotate(first.id, "?grace_seconds=2");
    expect(secondKey.secret).not.toBe(first.secret);
    expect(secondKey).toMatchObject({ id: first.id, name: first.name, role: "operator" });
    expect(Date.parse(secondKey.previous_secret_expires_at ?? "")).toBeGreaterThan(Date.now());
    expect(await statusOf(system.url, first.secret)).toBe(200);
    expect(await statusOf(second.url, secondKey.secret)).toBe(200);
    const whoAmI = await as(system.url, first.secret).call("GET", "/v1/identity");
    expect(whoAmI.body["expires_at"]).not.toBeNull();
    await eventually(async () => (await statusOf(system.url, first.secret)) === 401, {
      what: "grace",
      ...SOON,
    });
    expect(await statusOf(system.url, secondKey.secret)).toBe(200);
    const third = await rotate(first.id, "");
    await eventually(async () => (await statusOf(second.url, first.secret)) === 401, {
      what: "gone",
      ...SOON,
    });
    expect(await statusOf(system.url, secondKey.secret)).toBe(200);
    expect(await statusOf(system.url, third.secret)).toBe(200);
  });

  it("without grace ends the old secret within seconds", async () => {
    const first = await newKey(system.url, "viewer");
    expect(await statusOf(system.url, first.secret)).toBe(200);
    const { secret } = await rotate(first.id, "?grace_seconds=0");
    await eventually(async () => (await statusOf(system.url, first.secret)) === 401, {
      what: "ended",
      ...SOON,
    });
    expect(await statusOf(system.url, secret)).toBe(200);
  });

  it("of what is not there is 404, and an endless grace 400", async () => {
    const nobody = "00000000-0000-4000-8000-000000000000";
    expectProblem(await admin.call("POST", `/v1/tokens/${nobody}/rotate`), 404, "token_not_found");
    const { id } = await newKey(system.url, "viewer");
    expectProblem(await admin.call("POST", `/v1/tokens/${id}/rotate?grace_seconds=99999999`), 400);
  });
});

test("last use is noted, and not with every request", async () => {
  const { id, secret } = await newKey(system.url, "viewer");
  const used = async (): Promise<{ last: unknown; version: unknown } | null> => {
    const [row] = await system.database.query(
      `SELECT last_used_at AS last, xmin::text AS version FROM tokens WHERE id = $1`,
      [id],
    );
    return row?.["last"] === null ? null : (row as never);
  };
  for (let count = 0; count < 20; count++) expect(await statusOf(system.url, secret)).toBe(200);
  const first = await eventually(used, { what: "the first use is noted" });
  // The other server does not know of it, and its write must not be one either.
  for (const url of [system.url, second.url])
    for (let count = 0; count < 20; count++) expect(await statusOf(url, secret)).toBe(200);
  const probe = await newKey(system.url, "viewer");
  expect(await statusOf(second.url, probe.secret)).toBe(200);
  await eventually(
    async () =>
      (await system.database.query(`SELECT last_used_at AS last FROM tokens WHERE id = $1`, [probe.id]))[0]?.[
        "last"
      ] !== null,
    { what: "a later use of another key is noted" },
  );
  expect(await used()).toEqual(first);
  await eventually(
    async () =>
      (
        await system.database.query(
          `SELECT 1 FROM audit WHERE action = 'tokenFirstUsed' AND detail->>'token_id' = $1`,
          [id],
        )
      ).length === 1,
    { what: "its first use is in the audit log, once" },
  );
});
