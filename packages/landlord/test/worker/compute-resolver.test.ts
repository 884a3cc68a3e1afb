/** From a job's payload to a provider: what is fetched, what is remembered, and what is never used. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createMockComputeProvider } from "../../src/compute/mock/provider.ts";
import { mockEngineConfigSchema, describeMock } from "../../src/compute/mock/description.ts";
import type { ComputeProviderFactory } from "../../src/compute/provider.ts";
import { createComputeRegistry } from "../../src/compute/registry.ts";
import { configHash, type JsonObject } from "../../src/domain/json.ts";
import { createComputeResolver, type ComputeResolver } from "../../src/worker/compute-resolver.ts";
import { createLandlordApi } from "../../src/worker/landlord-api.ts";
import { silentLogger } from "../../src/telemetry/logger.ts";
import { eventually } from "../support/eventually.ts";
import { requestWith } from "./job-kit.ts";

const TTL_MS = 60_000;

/** What the API answers; `hold` keeps answers back until it is released. */
let config: JsonObject;
let failing: number | null;
let tenantAnswer: { status: number; body: JsonObject };
let requests: string[];
let hold: Promise<void>;
let server: ReturnType<typeof createServer>;
let baseUrl: string;
let nowMs: number;
let built: JsonObject[];

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  requests.push(`${request.method} ${request.url} ${request.headers.authorization ?? ""}`.trim());
  await hold;
  const send = (status: number, body: unknown): void => {
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
  };
  if (failing !== null) send(failing, { error: "no" });
  else if (request.url?.startsWith("/v1/tenants/") === true) send(tenantAnswer.status, tenantAnswer.body);
  else if (request.url === "/v1/compute/engines/mock")
    send(200, { engine_config: config, engine_config_hash: configHash(config), name: "mock" });
  else send(404, { error: "unknown" });
}

beforeEach(async () => {
  config = {};
  failing = null;
  tenantAnswer = { status: 200, body: { compute_provider: "mock", generation: 1 } };
  requests = [];
  hold = Promise.resolve();
  nowMs = 0;
  built = [];
  server = createServer((request, response) => void answer(request, response));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const factory: ComputeProviderFactory = {
  name: "mock",
  engineConfigSchema: mockEngineConfigSchema,
  secretKeys: [],
  describe: describeMock,
  create(engineConfig) {
    built.push(engineConfig);
    return Promise.resolve(createMockComputeProvider(engineConfig));
  },
};

function resolver(
  options: { api?: boolean; overrides?: Record<string, JsonObject>; suffix?: string } = {},
): ComputeResolver {
  const api =
    options.api === false
      ? null
      : createLandlordApi({
          baseUrl: `${baseUrl}${options.suffix ?? ""}`,
          token: "worker-token",
          timeoutMs: 2_000,
        });
  return createComputeResolver(
    createComputeRegistry([factory]),
    api,
    { cacheTtlMs: TTL_MS, overrides: options.overrides ?? {}, context: { dataDir: "/nowhere" } },
    silentLogger,
    () => nowMs,
  );
}

describe("the engine configuration", () => {
  it.each(["", "/", "/v1", "/v1/"])(
    "is fetched from the API at '%s', with the worker's token",
    async (suffix) => {
      await resolver({ suffix }).resolve("mock", null);
      expect(requests).toEqual(["GET /v1/compute/engines/mock Bearer worker-token"]);
      expect(built).toEqual([{}]);
    },
  );

  it("is remembered for its time, and then fetched again; an unchanged one builds nothing", async () => {
    const compute = resolver();
    const first = await compute.resolve("mock", null);
    nowMs = TTL_MS - 1;
    expect(await compute.resolve("mock", null)).toBe(first);
    expect(requests).toHaveLength(1);
    nowMs = TTL_MS + 1;
    expect(await compute.resolve("mock", null)).toBe(first);
    expect(requests).toHaveLength(2);
    config = { latency_ms: 1 };
    nowMs = 3 * TTL_MS;
    expect(await compute.resolve("mock", null)).not.toBe(first);
    expect(built).toEqual([{}, { latency_ms: 1 }]);
  });

  it("is fetched anew for a job whose sender has another", async () => {
    const compute = resolver();
    const first = await compute.resolve("mock", configHash({}));
    config = { latency_ms: 2 };
    expect(await compute.resolve("mock", configHash({}))).toBe(first);
    expect(await compute.resolve("mock", configHash(config))).not.toBe(first);
    expect(requests).toHaveLength(2);
    await compute.resolve("mock", configHash(config));
    expect(requests).toHaveLength(2);
  });

  it("is used stale when the API fails, and not asked for again at once", async () => {
    const compute = resolver();
    const first = await compute.resolve("mock", null);
    failing = 503;
    nowMs = TTL_MS + 1;
    expect(await compute.resolve("mock", null)).toBe(first);
    expect(await compute.resolve("mock", null)).toBe(first);
    expect(requests).toHaveLength(2);
    failing = null;
    config = { latency_ms: 3 };
    nowMs += 60_000;
    expect(await compute.resolve("mock", null)).not.toBe(first);
  });

  it("is an error when the API fails and none is known; the next job asks again", async () => {
    const compute = resolver();
    failing = 500;
    await expect(compute.resolve("mock", null)).rejects.toMatchObject({ code: "api_unavailable" });
    failing = 403;
    await expect(compute.resolve("mock", null)).rejects.toMatchObject({ code: "api_refused" });
    failing = null;
    await compute.resolve("mock", null);
    expect(requests).toHaveLength(3);
  });

  it("is an error that names the address when nobody answers", async () => {
    const compute = resolver();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await expect(compute.resolve("mock", null)).rejects.toMatchObject({
      code: "api_unreachable",
      message: expect.stringContaining(baseUrl) as string,
    });
    server.listen(0);
  });

  it("that is not valid here is never built", async () => {
    config = { latency_ms: "fast" };
    await expect(resolver().resolve("mock", null)).rejects.toMatchObject({ code: "invalid_engine_config" });
    expect(built).toEqual([]);
  });

  it("is fetched once for many jobs at once", async () => {
    const compute = resolver();
    let release = (): void => undefined;
    hold = new Promise((resolve) => (release = resolve));
    const jobs = Array.from({ length: 50 }, () => compute.resolve("mock", null));
    await eventually(() => requests.length === 1, { what: "the API is asked" });
    release();
    expect(new Set(await Promise.all(jobs)).size).toBe(1);
    expect(requests).toHaveLength(1);
    expect(built).toHaveLength(1);
  });

  it("of a local override needs no API, whatever the sender has", async () => {
    const compute = resolver({ api: false, overrides: { mock: { latency_ms: 4 } } });
    const first = await compute.resolve("mock", configHash({}));
    expect(await compute.resolve("mock", "another")).toBe(first);
    expect(built).toEqual([{ latency_ms: 4 }]);
    const both = resolver({ overrides: { mock: {} } });
    await both.resolve("mock", null);
    expect(requests).toEqual([]);
  });

  it("cannot be had without API and override", async () => {
    await expect(resolver({ api: false }).resolve("mock", null)).rejects.toMatchObject({
      code: "no_engine_config",
    });
  });

  it("of a provider that this worker does not have is not asked for", async () => {
    await expect(resolver().resolve("docker", null)).rejects.toMatchObject({
      code: "unknown_compute_provider",
    });
    expect(requests).toEqual([]);
  });
});

describe("a payload", () => {
  it("that names its provider asks for no tenant", async () => {
    await resolver().resolveForRequest(requestWith({ compute_provider: "mock" }));
    expect(requests).toEqual(["GET /v1/compute/engines/mock Bearer worker-token"]);
  });

  const unnamed = (() => {
    const { compute_provider: _named, ...rest } = requestWith({ generation: 1 });
    return rest;
  })();

  it("of an older sender is resolved through its tenant", async () => {
    await resolver().resolveForRequest(unnamed);
    expect(requests[0]).toBe(`GET /v1/tenants/${unnamed.tenant_id} Bearer worker-token`);
    expect(built).toHaveLength(1);
  });

  it.each([0, 2, 17])("is not run with the provider of generation %s", async (generation) => {
    tenantAnswer = { status: 200, body: { compute_provider: "mock", generation } };
    await expect(resolver().resolveForRequest(unnamed)).rejects.toMatchObject({
      code: "generation_mismatch",
    });
    expect(built).toEqual([]);
  });

  it("of a tenant that is gone, or without an API, is an error", async () => {
    tenantAnswer = { status: 404, body: { error: "gone" } };
    await expect(resolver().resolveForRequest(unnamed)).rejects.toMatchObject({ code: "api_refused" });
    await expect(resolver({ api: false }).resolveForRequest(unnamed)).rejects.toMatchObject({
      code: "no_compute_provider",
    });
    tenantAnswer = { status: 200, body: { generation: 1 } };
    await expect(resolver().resolveForRequest(unnamed)).rejects.toThrow(/compute_provider/);
  });
});
