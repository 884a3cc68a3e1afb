/**
 * Problems that a whole system answers too rarely to be brought about from outside: API_COVERAGE.md names this file for
 * them.
 */
import { connect } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import type { App } from "../../src/http/app.ts";
import { operationsWith } from "../../src/http/operation-problems.ts";
import type { AppDependencies } from "../../src/http/dependencies.ts";
import type { Tenant } from "../../src/domain/tenant.ts";
import { createComputeCatalog, computeRegistry } from "../../src/start/compute-registry.ts";
import { startTestApp } from "../support/app.ts";
import type { Api } from "../support/api.ts";
import { tenantWith } from "../support/tenants.ts";
import { expectProblem } from "./kit.ts";

const ID = "11111111-1111-4111-8111-111111111111";

let app: App | null = null;
afterEach(async () => {
  await app?.close();
  app = null;
});

async function start(dependencies: Parameters<typeof startTestApp>[0], readTimeoutMs?: number): Promise<Api> {
  const started = await startTestApp(dependencies, readTimeoutMs === undefined ? {} : { readTimeoutMs });
  app = started.app;
  return started.api;
}

/** A store with one tenant, in which somebody else is always quicker. */
function contendedStore(change: Partial<Tenant>): AppDependencies["store"] {
  const tenant = tenantWith({ computeProvider: "mock", desiredConfig: { a: 1 }, generation: 2, ...change });
  return {
    getTenant: () => Promise.resolve({ tenant, revision: 1 }),
    writeTenant: () => Promise.resolve({ kind: "outdated" }),
    forceDelete: () => Promise.resolve("outdated"),
    listOperations: () => Promise.resolve([]),
    listGenerations: () =>
      Promise.resolve([
        {
          generation: 1,
          intent: "present",
          computeProvider: "mock",
          desiredConfig: { a: 2 },
          configHash: "other",
          actor: "test",
          requestId: null,
          createdAt: new Date(),
        },
      ]),
  } as unknown as AppDependencies["store"];
}

const CHANGES: Readonly<Record<string, readonly [method: string, path: string, body?: unknown]>> = {
  applyTenant: ["PUT", "/v1/tenants/by-name/acme", { compute_config: { a: 3 } }],
  updateTenant: ["PUT", `/v1/tenants/${ID}`, { compute_config: { a: 3 } }],
  patchTenant: ["PATCH", `/v1/tenants/${ID}`, { compute_config: { a: 3 } }],
  archiveTenant: ["POST", `/v1/tenants/${ID}/archive`],
  deleteTenant: ["DELETE", `/v1/tenants/${ID}`],
  retryTenant: ["POST", `/v1/tenants/${ID}/retry`],
  pauseTenant: ["POST", `/v1/tenants/${ID}/pause`],
  resumeTenant: ["POST", `/v1/tenants/${ID}/resume`],
  restoreTenant: ["POST", `/v1/tenants/${ID}/restore`],
  rollbackTenant: ["POST", `/v1/tenants/${ID}/rollback`, {}],
};
const STATES: Readonly<Record<string, Partial<Tenant>>> = {
  resumeTenant: { paused: true, pausedBy: "somebody" },
  restoreTenant: { intent: "archived", status: "archived" },
};

describe("409 write_contention", () => {
  it("is asked of every operation that can answer it", () => {
    expect(Object.keys(CHANGES).sort()).toEqual([...operationsWith("write_contention")].sort());
  });

  it.each(Object.keys(CHANGES))("%s", async (operation) => {
    const api = await start({ store: contendedStore(STATES[operation] ?? {}) });
    const [method, path, body] = CHANGES[operation] ?? ["", ""];
    expectProblem(await api.call(method, path, body), 409, "write_contention");
    if (operation === "deleteTenant")
      expectProblem(await api.call(method, `${path}?force=true`, body), 409, "write_contention");
  });
});

describe("400 invalid_compute_config for what was accepted before", () => {
  const catalog = createComputeCatalog(computeRegistry(), new Map([["mock", {}]]), null);
  const strict: AppDependencies["catalog"] = {
    ...catalog,
    defaultProvider: null,
    names: () => catalog.names(),
    get(name) {
      const engine = catalog.get(name);
      const validateConfig = () => [{ pointer: "/a", message: "is not allowed any more" }];
      return engine === null ? null : { ...engine, description: { ...engine.description, validateConfig } };
    },
  };

  it.each(["restoreTenant", "rollbackTenant"])("%s", async (operation) => {
    const api = await start({ store: contendedStore(STATES[operation] ?? {}), catalog: strict });
    const [method, path, body] = CHANGES[operation] ?? ["", ""];
    const problem = expectProblem(await api.call(method, path, body), 400, "invalid_compute_config");
    expect(problem.details).toEqual(["/compute_config/a: is not allowed any more"]);
  });
});

describe("503 events_unavailable", () => {
  it.each([
    ["watchEvents", "/v1/events"],
    ["getTenant", `/v1/tenants/${ID}?wait=ready`],
  ])("%s while the feed has not begun", async (_operation, path) => {
    const { createEventFeed } = await import("../../src/http/event-feed.ts");
    const { createLogger } = await import("../../src/telemetry/logger.ts");
    const away = () => Promise.reject(new Error("the database is away"));
    const events = createEventFeed({
      store: { listEvents: away, newestEvent: away },
      logger: createLogger({ level: "error", format: "json" }),
      instanceId: () => ID,
    });
    const api = await start({ store: contendedStore({}), events });
    const answer = await api.call("GET", path);
    expectProblem(answer, 503, "events_unavailable");
    expect(answer.headers.get("retry-after")).not.toBeNull();
  });
});

describe("what no operation can help", () => {
  it("500 internal says nothing of the inside", async () => {
    const getTenant = () => Promise.reject(new TypeError("secret inside"));
    const api = await start({ store: { getTenant } as unknown as AppDependencies["store"] });
    const problem = expectProblem(await api.call("GET", `/v1/tenants/${ID}`), 500, "internal");
    expect(JSON.stringify(problem)).not.toContain("secret inside");
  });

  it("408 request_timeout when a request does not arrive in time", async () => {
    await start({ store: contendedStore({}) }, 200);
    const address = app?.server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    // Node looks for late requests every 30 s.
    const answer = await new Promise<string>((resolve, reject) => {
      let received = "";
      const socket = connect(port, "127.0.0.1", () =>
        socket.write("POST /v1/tenants HTTP/1.1\r\nhost: 127.0.0.1\r\n"),
      );
      socket.on("data", (chunk) => (received += chunk.toString()));
      socket.on("error", reject);
      socket.on("close", () => resolve(received));
    });
    expect(answer).toMatch(/^HTTP\/1\.1 408 /);
    expect(answer).toContain('"request_timeout"');
  });
});
