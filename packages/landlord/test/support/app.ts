/** The app alone, without server and reconciler: for what only its edge decides. */
import type { AddressInfo } from "node:net";
import { createApp, type App } from "../../src/http/app.ts";
import type { AppDependencies, HttpSettings } from "../../src/http/dependencies.ts";
import { createComputeCatalog, computeRegistry } from "../../src/start/compute-registry.ts";
import { apiOf, type Api } from "./api.ts";
import { testLogger } from "./system.ts";

export const TEST_SETTINGS: HttpSettings = {
  bodyLimitBytes: 1_048_576,
  maxRequestsInFlight: 100,
  maxConnections: 100,
  maxWatchers: 100,
  eventHeartbeatMs: 15_000,
  eventBufferBytes: 1_048_576,
  readTimeoutMs: 10_000,
  writeTimeoutMs: 30_000,
  idleTimeoutMs: 10_000,
  loopbackOnly: true,
};

/** Listens on a free port of loopback. What is not given throws when it is used. */
export async function startTestApp(
  dependencies: Pick<AppDependencies, "store"> & Partial<AppDependencies>,
  settings: Partial<HttpSettings> = {},
): Promise<{ readonly app: App; readonly api: Api }> {
  const app = await createApp(testDependencies(dependencies), { ...TEST_SETTINGS, ...settings });
  await app.listen({ host: "127.0.0.1", port: 0 });
  const { port } = app.server.address() as AddressInfo;
  return { app, api: apiOf(`http://127.0.0.1:${port}`) };
}

export function testDependencies(
  dependencies: Pick<AppDependencies, "store"> & Partial<AppDependencies>,
): AppDependencies {
  return {
    catalog: createComputeCatalog(computeRegistry(), new Map([["mock", {}]]), null),
    conditions: { operationDeadlineMs: 1_000 },
    idempotencyRetentionMs: 60_000,
    tombstoneRetentionMs: 60_000,
    openBreakers: () => Promise.resolve([]),
    onWrite: () => undefined,
    readiness: () => Promise.resolve({}),
    logger: testLogger,
    events: missing("events"),
    fleet: missing("fleet"),
    compute: missing("compute"),
    engine: missing("engine"),
    access: {
      authenticator: null,
      store: missing("access.store"),
      audit: { record: () => undefined } as unknown as AppDependencies["access"]["audit"],
      rateLimit: null,
    },
    ...dependencies,
  };
}

function missing(name: string): never {
  return new Proxy(
    {},
    {
      get(_, key) {
        throw new Error(`this test has no ${name}.${String(key)}`);
      },
    },
  ) as never;
}
