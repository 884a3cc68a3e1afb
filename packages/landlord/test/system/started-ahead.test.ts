/** A server and a worker that a supervisor starts before database and engine are up: they leave both alone until they are told. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { UntilUp } from "../../src/start/lifetime.ts";
import type { SupervisedPart } from "../../src/start/supervision.ts";
import { startServer } from "../../src/start/server.ts";
import { startWorker } from "../../src/start/worker.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { randomNamespace, serverConfig, testLogger, testSettings, workerConfig } from "../support/system.ts";

/** Longer than a reconciler takes to see what is due. */
const QUIET_MS = 1_000;

let folder: string;
let database: TestDatabase;
const stops: (() => Promise<void>)[] = [];
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "landlord-ahead-"));
  database = await createTestDatabase();
});
afterAll(async () => {
  for (const stop of stops.toReversed()) await stop();
  await database.drop();
  await rm(folder, { recursive: true, force: true });
});

/** Parts that are up when somebody says so. */
function parts(): { readonly untilUp: UntilUp; readonly up: (part: SupervisedPart) => void } {
  const ups = { database: new AbortController(), engine: new AbortController(), api: new AbortController() };
  return {
    untilUp: (part) =>
      new Promise((resolve) => {
        if (ups[part].signal.aborted) resolve();
        ups[part].signal.addEventListener("abort", () => resolve(), { once: true });
      }),
    up: (part) => ups[part].abort(),
  };
}

test(
  "a server accepts tenants, and a worker listens; both begin with the engine",
  { timeout: 60_000 },
  async () => {
    const { signal } = new AbortController();
    const none = { compute: [], workflow: [] };
    const { untilUp, up } = parts();
    const settings = testSettings(folder, randomNamespace());
    const startingServer = startServer(
      serverConfig({ ...settings, "database.url": database.url, "http.port": 0, "compute.mock": {} }),
      testLogger,
      signal,
      none,
      untilUp,
    );
    await delay(QUIET_MS);
    expect(
      await database.query(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
      ),
    ).toEqual([]);
    up("database");
    const server = await startingServer;
    stops.push(() => server.stop());
    const starting = startWorker(
      workerConfig({ ...settings, "workflow.restate.worker_listen_port": 0, "worker.api_url": server.url }),
      testLogger,
      signal,
      none,
      untilUp,
    );
    let isRegistered = false;
    const worker = starting.then((started) => {
      isRegistered = true;
      stops.push(() => started.stop());
    });
    up("api");

    const tenants = `${server.url}/v1/tenants`;
    const created = await fetch(tenants, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ name: "acme", compute_config: { compute_provider: "mock" } }),
    });
    expect(created.status).toBe(201);
    const statusNow = async (): Promise<string> =>
      ((await (await fetch(`${tenants}/acme`)).json()) as { status: string }).status;
    await delay(QUIET_MS);
    expect(await statusNow()).toBe("requested");
    expect(isRegistered).toBe(false);
    // It tells of itself all the same, and says what it lacks.
    const workersNow = async (): Promise<unknown> =>
      ((await (await fetch(`${server.url}/v1/workers`)).json()) as { workers: unknown }).workers;
    await expect.poll(workersNow, { timeout: 10_000 }).toMatchObject([{ registered_at: null }]);

    up("engine");
    await worker;
    await expect.poll(statusNow, { timeout: 20_000, interval: 50 }).toBe("ready");
  },
);
