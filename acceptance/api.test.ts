/** Every operation, every status and every problem code that the API documents, asked of started systems over HTTP. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import {
  besides,
  changes,
  hold,
  newKey,
  expectOfAll,
  plain,
  SLEEP,
  spoken,
  tenant,
  UUID,
  type Facts,
} from "./support/calls.ts";
import { elsewhere, renderCoverage, testsElsewhere } from "./support/coverage.ts";
import { ROOT, until } from "./support/dev.ts";
import {
  clientOf,
  DEFAULT_CODES,
  DOCUMENTED,
  keyOf,
  OPERATIONS,
  operationsWith,
  type Call,
  type Client,
} from "./support/documented.ts";
import { ENGINE_FAILURES } from "./support/fakes.ts";
import { startWorlds, type Worlds } from "./support/worlds.ts";

const SLEEP_LONGER = { command: ["sleep", "900"] };

const seen = new Set<string>();
const seenElsewhere = new Set<string>();

let worlds: Worlds;
let open: Client;
let admin: Client;
beforeAll(async () => {
  worlds = await startWorlds(inject("postgresUrl"), seen);
  ({ open, admin } = worlds);
}, 180_000);
afterAll(() => worlds.stop(), 120_000);

describe("landlord dev, as anonymous", () => {
  let facts: Facts;

  const settled = async (id: string, wait: string): Promise<void> => {
    const { body } = await open.call("getTenant", { parameters: { id, wait, timeout: "60s" } });
    expect(body["status"]).toBe(wait);
  };
  const statusOf = async (operation: string, call: Call): Promise<number> =>
    (await open.call(operation, call)).status;

  test("what reads succeeds", { timeout: 60_000 }, async () => {
    for (const operation of [
      "getHealth",
      "getReadiness",
      "listComputeEngines",
      "listWorkflowProviders",
      "listWorkers",
      "getIdentity",
      "getSummary",
      "getSweep",
      "listTenants",
      "listTokens",
      "listAudit",
      "watchEvents",
    ])
      expect(await statusOf(operation, {}), operation).toBe(200);
    expect(await statusOf("getComputeEngine", { parameters: { name: "process" } })).toBe(200);
    expect(await statusOf("getComputeConfig", { parameters: { provider: "process" } })).toBe(200);
    expect(await statusOf("listAudit", { headers: { accept: "application/x-ndjson" } })).toBe(200);
    expect(await statusOf("requestSweep", { body: {} })).toBe(202);
  });

  test("keys and workers", { timeout: 60_000 }, async () => {
    const { status, body } = await open.call("createToken", { body: { name: "ci", role: "operator" } });
    expect(status).toBe(201);
    const parameters = { token_id: String(body["id"]) };
    expect(await statusOf("rotateToken", { parameters })).toBe(200);
    expect(await statusOf("revokeToken", { parameters })).toBe(200);
    const report = {
      engine: "restate",
      workflows: [],
      compute_providers: [],
      scopes: [],
      version: "1",
      started_at: new Date().toISOString(),
      registered_at: null,
      last_error: null,
    };
    expect(await statusOf("reportWorker", { parameters: { id: "w" }, body: report })).toBe(204);
    expect(await statusOf("removeWorker", { parameters: { id: "w" } })).toBe(204);
  });

  test("tenants from creation to deletion", { timeout: 180_000 }, async () => {
    const id = await tenant(open, "live");
    await settled(id, "ready");
    const parameters = { id };
    expect(await statusOf("updateTenant", { parameters, body: { compute_config: SLEEP_LONGER } })).toBe(202);
    await settled(id, "ready");
    expect(await statusOf("updateTenant", { parameters, body: { labels: { a: "1" } } })).toBe(200);
    expect(await statusOf("patchTenant", { parameters, body: { labels: { a: null } } })).toBe(200);
    for (const operation of ["retryTenant", "pauseTenant", "resumeTenant"])
      expect(await statusOf(operation, { parameters }), operation).toBe(200);
    for (const operation of ["explainTenant", "getTenantLogs", "getHistory", "listGenerations"])
      expect(await statusOf(operation, { parameters }), operation).toBe(200);
    expect(await statusOf("planTenant", { parameters, body: {} })).toBe(200);

    const { body } = await open.call("listOperations", { parameters });
    const [newest] = body["operations"] as { id: string; execution_id: string }[];
    const progress = { phase: "waiting", message: "for a test" };
    const execution = { execution_id: newest?.execution_id ?? "" };
    expect(await statusOf("reportProgress", { parameters: execution, body: progress })).toBe(204);
    const events = await open.call("listOperationEvents", {
      parameters: { id, operation_id: newest?.id ?? "" },
    });
    expect(JSON.stringify(events.body)).toContain("for a test");

    const archived = await tenant(open, "shelved");
    expect(await statusOf("archiveTenant", { parameters: { id: archived } })).toBe(202);
    await settled(archived, "archived");
    expect(await statusOf("archiveTenant", { parameters: { id: archived } })).toBe(200);
    facts = { present: id, presentName: "live", archived };
  });

  test("declared by name", { timeout: 60_000 }, async () => {
    const parameters = { name: "declared" };
    const declare = (compute_config: object) =>
      open.call("applyTenant", { parameters, body: { compute_config } });
    const { status, body } = await declare(SLEEP);
    expect(status).toBe(201);
    await settled(String(body["id"]), "ready");
    expect((await declare(SLEEP)).status).toBe(200);
    expect((await declare(SLEEP_LONGER)).status).toBe(202);
  });

  test("every write can be tried dry, and is bound to its plan", { timeout: 120_000 }, async () => {
    const calls = changes(facts);
    for (const { id } of operationsWith("plan_stale"))
      expect(await statusOf(id, besides(calls[id], { parameters: { dry_run: "true" } })), id).toBe(200);
    const headers = { "if-plan": "0".repeat(64) };
    await expectOfAll("plan_stale", open, ({ id }) => besides(calls[id], { headers }));
  });

  test("and the end of them", { timeout: 60_000 }, async () => {
    const { present, archived } = facts;
    const config = { compute_config: { command: ["sleep", "1000"] } };
    expect(await statusOf("patchTenant", { parameters: { id: present }, body: config })).toBe(202);
    expect(await statusOf("rollbackTenant", { parameters: { id: present }, body: {} })).toBe(202);
    expect(await statusOf("restoreTenant", { parameters: { id: archived } })).toBe(202);
    for (const name of ["live", "shelved", "declared"]) {
      expect(await statusOf("deleteTenant", { parameters: { id: name } })).toBe(202);
      const gone = await open.call("getTenant", {
        parameters: { id: name, wait: "deleted", timeout: "60s" },
      });
      expect(gone.code).toBe("tenant_not_found");
    }
  });

  test("what is wrong with a request as such", { timeout: 120_000 }, async () => {
    await expectOfAll("host_not_allowed", open, (operation) => ({
      ...plain(operation),
      headers: { host: "landlord.example" },
    }));
    await expectOfAll("origin_not_allowed", open, (operation) => ({
      ...plain(operation),
      headers: { origin: "https://elsewhere.example" },
    }));
    await expectOfAll("malformed_json", open, (operation) => ({ ...plain(operation), raw: "{" }));
    const large = JSON.stringify({ text: "x".repeat(1_100_000) });
    await expectOfAll("body_too_large", open, (operation) => ({ ...plain(operation), raw: large }));
    const headers = { "content-type": "text/plain" };
    await expectOfAll("unsupported_media_type", open, (operation) => ({
      ...plain(operation),
      raw: "x",
      headers,
    }));
    await expectOfAll("invalid_request", open, (operation) => {
      const call = plain(operation);
      const [first] = operation.parameters;
      if (operation.hasBody) return { ...call, body: { unknown: "\0" } };
      // Of no use to an operation that takes none, and too long for one that does.
      return besides(call, { parameters: { [first?.name ?? ""]: "?".repeat(2_000) } });
    });
  });

  test("what concerns no operation", { timeout: 60_000 }, async () => {
    const codeAt = async (path: string): Promise<void> => {
      const answer = (await (await fetch(`${worlds.dev.url}${path}`)).json()) as { code: string };
      seenElsewhere.add(answer.code);
    };
    for (const path of ["/v1/nothing", "/api/tenants", "/v9/tenants", "/v1/%zz"]) await codeAt(path);
    for (const text of [
      "hello\r\n\r\n",
      `GET / HTTP/1.1\r\nhost: localhost\r\nx: ${"y".repeat(40_000)}\r\n\r\n`,
    ])
      seenElsewhere.add(/"code":"(\w+)"/.exec(await spoken(worlds.dev.url, text))?.[1] ?? "nothing");
    const missing = DEFAULT_CODES.filter((code) => !seenElsewhere.has(code));
    expect(missing.filter((code) => elsewhere({ operation: "", code }) === null)).toEqual([]);
  });
});

describe("landlord serve, with authentication", () => {
  let facts: Facts;
  let deleting: string;
  let teamed: string;

  beforeAll(async () => {
    const present = await tenant(admin, "present");
    await admin.call("updateTenant", { parameters: { id: present }, body: { compute_config: SLEEP_LONGER } });
    const archived = await tenant(admin, "archived");
    await admin.call("archiveTenant", { parameters: { id: archived } });
    deleting = await tenant(admin, "deleting");
    await admin.call("deleteTenant", { parameters: { id: deleting } });
    teamed = await tenant(admin, "teamed", { labels: { team: "a" } });
    facts = { present, presentName: "present", archived };
  });

  test("who is it", { timeout: 120_000 }, async () => {
    const anonymous = clientOf(worlds.closed.url, seen);
    await expectOfAll("unauthenticated", anonymous, plain);
    const lifetimeMs = 1_500;
    const token = await newKey(admin, "admin", {
      expires_at: new Date(Date.now() + lifetimeMs).toISOString(),
    });
    await until("the key has expired", 20_000, async () => {
      return (await anonymous.call("getIdentity", { token })).code === "token_expired";
    });
    await expectOfAll("token_expired", anonymous, (operation) => ({ ...plain(operation), token }));
    const jwt = worlds.issuer.jwt({ roles: ["nothing that is mapped"] });
    await expectOfAll("oidc_unavailable", anonymous, (operation) => ({ ...plain(operation), token: jwt }));

    await worlds.issuer.open();
    await until("the issuer is found", 30_000, async () => {
      return (
        (await anonymous.call("getIdentity", { token: worlds.issuer.jwt({ roles: ["platform"] }) }))
          .status === 200
      );
    });
    await expectOfAll("forbidden", anonymous, (operation) => ({ ...plain(operation), token: jwt }));
  });

  test("what may they do", { timeout: 120_000 }, async () => {
    const roles = ["viewer", "worker"];
    const byRole = Object.fromEntries(
      await Promise.all(roles.map(async (role) => [role, await newKey(admin, role)] as const)),
    );
    for (const { id, roles: allowed, isPublic, ...operation } of OPERATIONS) {
      const role = roles.find((each) => !allowed.includes(each));
      if (isPublic || role === undefined) continue;
      const call = { ...plain({ id, roles: allowed, isPublic, ...operation }), token: byRole[role] ?? "" };
      expect(`${id} ${(await admin.call(id, call)).code}`).toBe(`${id} forbidden`);
    }
    const force = {
      parameters: { id: facts.present, force: "true" },
      token: await newKey(admin, "operator"),
    };
    expect((await admin.call("deleteTenant", force)).code).toBe("forbidden");

    const scoped = { token: await newKey(admin, "admin", { scope: "team=a" }) };
    const body = { compute_provider: "process", compute_config: SLEEP };
    const reaching: Readonly<Record<string, Call>> = {
      createTenant: { body: { name: "fresh", ...body } },
      applyTenant: { parameters: { name: "fresh" }, body },
      updateTenant: { parameters: { id: teamed }, body: { labels: {} } },
      patchTenant: { parameters: { id: teamed }, body: { labels: { team: "b" } } },
      planTenant: { parameters: { id: teamed }, body: { labels: {} } },
    };
    await expectOfAll("outside_scope", admin, (operation) => ({
      ...(reaching[operation.id] ?? plain(operation)),
      ...scoped,
    }));
    const found = await admin.call("applyTenant", { parameters: { name: "present" }, body, ...scoped });
    expect(found.code).toBe("tenant_not_found");
  });

  test("what is not there", { timeout: 60_000 }, async () => {
    await expectOfAll(
      "tenant_not_found",
      admin,
      plain,
      operationsWith("tenant_not_found").filter(({ id }) => id !== "applyTenant"),
    );
    const parameters = { id: facts.present, operation_id: UUID };
    await expectOfAll("operation_not_found", admin, () => ({ parameters }));
    const body = { phase: "waiting", message: "" };
    await expectOfAll("execution_not_found", admin, (operation) => besides(plain(operation), { body }));
    await expectOfAll("token_not_found", admin, plain);
    await expectOfAll("generation_not_found", admin, () => ({
      parameters: { id: facts.present },
      body: { generation: 99 },
    }));
    await expectOfAll(
      "unknown_compute_provider",
      admin,
      ({ id }) => ({ parameters: { [id === "getComputeConfig" ? "provider" : "name"]: "none" } }),
      operationsWith("unknown_compute_provider").filter(({ id }) => id.startsWith("getCompute")),
    );
    await expectOfAll("invalid_page_token", admin, () => ({ parameters: { page_token: "none" } }));
    await expectOfAll("invalid_token", admin, () => ({ parameters: { after: "none" } }));
    const hello = await open.call("watchEvents");
    const after = /^id: (.+)$/m.exec(String(hello.body["text"]))?.[1] ?? "";
    await expectOfAll("watch_expired", admin, () => ({ parameters: { after } }));
  });

  test("what does not fit the tenant", { timeout: 60_000 }, async () => {
    const { present, archived } = facts;
    const calls = changes(facts);
    await expectOfAll("precondition_failed", admin, ({ id }) =>
      besides(calls[id], { headers: { "if-match": '"99"' } }),
    );
    const named = changes({ present: deleting, presentName: "deleting", archived: deleting });
    const create = { body: { name: "deleting", compute_provider: "process", compute_config: SLEEP } };
    await expectOfAll("tenant_deleting", admin, ({ id }) =>
      id === "createTenant" ? create : (named[id] ?? {}),
    );
    const shelved = changes({ present: archived, presentName: "archived", archived });
    const config = { compute_config: SLEEP_LONGER };
    await expectOfAll("tenant_archived", admin, ({ id }) =>
      id === "rollbackTenant" ? (shelved[id] ?? {}) : besides(shelved[id], { body: config }),
    );
    await expectOfAll("not_archived", admin, () => ({ parameters: { id: present } }));
    await expectOfAll("immutable_field", admin, ({ id }) =>
      besides(calls[id], { body: { compute_provider: "mock", compute_config: {} } }),
    );
    await newKey(admin, "viewer", { name: "taken" });
    await expectOfAll("name_taken", admin, ({ id }) => {
      if (id === "createToken") return { body: { name: "taken", role: "viewer" } };
      return id === "createTenant"
        ? { body: { name: "present", compute_provider: "process", compute_config: SLEEP } }
        : { parameters: { id: teamed }, body: { name: "present" } };
    });
  });

  test("what the compute provider does not accept", { timeout: 60_000 }, async () => {
    const calls = changes(facts);
    const wrong = { command: 5 };
    const outside = operationsWith("invalid_compute_config").filter(
      ({ id: operation }) => elsewhere({ operation, code: "invalid_compute_config" }) === null,
    );
    await expectOfAll(
      "invalid_compute_config",
      admin,
      ({ id }) =>
        id === "createTenant"
          ? { body: { name: "wrong", compute_provider: "process", compute_config: wrong } }
          : besides(calls[id], { body: { compute_config: wrong } }),
      outside,
    );
    await expectOfAll("compute_provider_required", admin, ({ id }) =>
      id === "createTenant"
        ? { body: { name: "nowhere", compute_config: {} } }
        : { parameters: { name: "nowhere" }, body: { compute_config: {} } },
    );
    const headers = { "idempotency-key": "once" };
    const once = { name: "once", compute_provider: "process", compute_config: SLEEP };
    expect((await admin.call("createTenant", { body: once, headers })).status).toBe(201);
    await expectOfAll("idempotency_key_reused", admin, () => ({ body: { ...once, name: "twice" }, headers }));
  });

  test("work that is under way", async () => {
    const parameters = { id: facts.present };
    for (const operation of ["retryTenant", "pauseTenant", "pauseTenant", "resumeTenant", "resumeTenant"])
      await admin.call(operation, { parameters });
    for (const operation of ["retryTenant", "pauseTenant", "resumeTenant"])
      expect(seen).toContain(keyOf({ operation, status: 202, code: null }));
  });

  test("what the engine and its workers may do to a question", { timeout: 120_000 }, async () => {
    const calls = changes(facts);
    const dry = (id: string): Call =>
      id === "planTenant" || id === "getTenantLogs"
        ? (calls[id] ?? {})
        : besides(calls[id], { parameters: { dry_run: "true" } });
    for (const failure of ENGINE_FAILURES) {
      worlds.engine.failWith(failure);
      await expectOfAll(failure, admin, ({ id }) => dry(id));
    }
  });
});

describe("landlord serve, with narrow limits", () => {
  /** Each may come once in ten seconds. */
  const as = async (): Promise<Client> =>
    clientOf(worlds.narrow.url, seen, { token: await newKey(admin, "admin") });

  test("without the compute provider of its tenants", { timeout: 60_000 }, async () => {
    const named = { parameters: { name: "present" }, body: { compute_config: {} } };
    const body = { labels: { a: "1" } };
    const unknown = operationsWith("unknown_compute_provider").filter(
      ({ id }) => !id.startsWith("getCompute"),
    );
    for (const operation of unknown)
      await expectOfAll(
        "unknown_compute_provider",
        await as(),
        ({ id }) =>
          id === "applyTenant"
            ? named
            : id === "createTenant"
              ? { body: { name: "fresh", compute_provider: "none", compute_config: {} } }
              : { parameters: { id: "present" }, body },
        [operation],
      );
    for (const operation of operationsWith("compute_provider_missing"))
      await expectOfAll(
        "compute_provider_missing",
        await as(),
        ({ id }) => ({
          parameters: { id: id === "restoreTenant" ? "archived" : "present" },
          ...emptyBody(id),
        }),
        [operation],
      );
  });

  const emptyBody = (id: string): Call => (id === "rollbackTenant" ? { body: {} } : {});

  test("too many at once, too many in a row", { timeout: 60_000 }, async () => {
    for (const operation of operationsWith("too_many_watchers"))
      await expectOfAll(
        "too_many_watchers",
        await as(),
        ({ id }) => (id === "getTenant" ? { parameters: { id: "present", wait: "ready" } } : {}),
        [operation],
      );
    const tired = await as();
    await tired.call("getIdentity");
    for (const operation of operationsWith("rate_limited")) {
      // Whenever ten seconds have passed, one of them gets through.
      const codes = [
        await tired.call(operation.id, plain(operation)),
        await tired.call(operation.id, plain(operation)),
      ];
      expect(codes.map(({ code }) => code)).toContain("rate_limited");
      expect(codes.find(({ code }) => code === "rate_limited")?.headers["retry-after"]).toMatch(/^\d+$/);
    }
    const client = await as();
    const held: (() => void)[] = [];
    await until("the server is full", 20_000, async () => {
      held.push(await hold(worlds.narrow.url, await newKey(admin, "admin")));
      return (await client.call("getIdentity")).code === "overloaded";
    });
    await expectOfAll("overloaded", client, plain);
    for (const release of held) release();
  });
});

test("without the database", { timeout: 120_000 }, async () => {
  const unused = clientOf(worlds.closed.url, seen, { token: await newKey(admin, "admin") });
  worlds.way.cut();
  await until("the server has noticed", 30_000, async () => {
    return (await admin.call("getReadiness")).status === 503;
  });
  await expectOfAll("database_unavailable", unused, plain);
});

describe("API_COVERAGE.md", () => {
  test("nothing that is documented went without an answer", () => {
    const unasked = DOCUMENTED.filter((each) => !seen.has(keyOf(each)) && elsewhere(each) === null);
    expect(unasked.map(keyOf)).toEqual([]);
    // What can be asked from outside is asked from outside.
    expect(DOCUMENTED.filter((each) => elsewhere(each) !== null && seen.has(keyOf(each)))).toEqual([]);
  });

  test("the tests that it names are there", () => {
    for (const { file, code } of testsElsewhere()) {
      expect(existsSync(join(ROOT, file)), file).toBe(true);
      expect(readFileSync(join(ROOT, file), "utf8"), file).toContain(`"${code}"`);
    }
  });

  test("is up to date", () => {
    const path = join(ROOT, "API_COVERAGE.md");
    const text = renderCoverage();
    if (process.env["UPDATE_COVERAGE"] !== undefined) writeFileSync(path, text);
    expect(existsSync(path) ? readFileSync(path, "utf8") : "").toBe(text);
  });
});
