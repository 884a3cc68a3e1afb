/** What is kept, and for how long: each span is a setting, and what has outlived it goes. */
import { afterEach, expect, inject, test } from "vitest";
import type { TenantBody } from "../../src/contract/tenant.ts";
import { createBackground } from "../../src/reconciler/background.ts";
import { nodeRuntime, type Runtime } from "../../src/reconciler/runtime.ts";
import { openPostgresStore } from "../../src/store/postgres/postgres-store.ts";
import { pickFreePorts } from "../../src/os/supervised.ts";
import { scriptedCompute } from "../../src/plugin/testing.ts";
import { apiOf } from "../support/api.ts";
import { createTestDatabase } from "../support/database.ts";
import { eventually } from "../support/eventually.ts";
import { randomNamespace, restateWorker, signal } from "../support/restate.ts";
import { serverConfig, startTestSystem, testLogger, workerConfig } from "../support/system.ts";

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

test("an Idempotency-Key is remembered for http.idempotency_retention", async () => {
  const system = await startTestSystem({ worker: false, server: { "http.idempotency_retention": "1s" } });
  closers.push(() => system.stop());
  const api = apiOf(system.url);
  const create = (name: string) =>
    api.call<TenantBody>(
      "POST",
      "/v1/tenants",
      { name, compute_provider: "mock", compute_config: {} },
      { "idempotency-key": "once" },
    );
  const first = await create("one");
  const again = await create("one");
  expect([again.status, again.body.id, again.headers.get("idempotent-replayed")]).toEqual([
    201,
    first.body.id,
    "true",
  ]);
  // Another body under the same key is refused for as long, and then the key is a new one.
  expect((await create("two")).status).toBe(422);
  const second = await eventually(
    async () => {
      const answer = await create("two");
      return answer.status === 201 && answer;
    },
    { what: "the key was forgotten", timeoutMs: 10_000 },
  );
  expect(second.headers.get("idempotent-replayed")).toBeNull();
  expect(second.body.id).not.toBe(first.body.id);
});

test("history beyond its retention goes as fast as it comes, not once a minute", async () => {
  const database = await createTestDatabase();
  closers.push(() => database.drop());
  const store = await openPostgresStore(
    {
      url: database.url,
      maxConnections: 2,
      connectTimeoutMs: 5_000,
      statementTimeoutMs: 5_000,
      applicationName: "retention-test",
      autoMigrate: true,
    },
    () => undefined,
  );
  closers.push(() => store.close());
  const rows = 4_500;
  await database.query(
    `INSERT INTO transitions (position, tenant_id, tenant_name, reason, message, generation, actor, at)
     SELECT i, gen_random_uuid(), 'old', 'r', '', 1, 'a', now() - interval '2 h' FROM generate_series(1, $1) i`,
    [rows],
  );
  // A clock that runs a hundred times as fast, and remembers how long it was asked to wait.
  const pausesMs: number[] = [];
  const fast: Runtime = {
    ...nodeRuntime,
    schedule(delayMs, callback) {
      pausesMs.push(delayMs);
      return nodeRuntime.schedule(delayMs / 100, callback);
    },
  };
  const background = createBackground(store, { historyRetentionMs: 3_600_000 }, fast, testLogger);
  background.start();
  closers.push(() => background.stop());
  const left = async (): Promise<number> =>
    Number((await database.query("SELECT count(*)::int AS left FROM transitions"))[0]?.["left"]);
  // The newest position stays: the sequencer counts on from it.
  await eventually(async () => (await left()) === 1, { what: "all of it is gone", timeoutMs: 30_000 });
  expect(pausesMs.filter((delayMs) => delayMs === 60_000).length).toBeLessThan(3);
});

test("engine results are kept for workflow.restate.result_retention, also when it is changed", async () => {
  const namespace = randomNamespace();
  const [port = 0] = await pickFreePorts(1);
  const keptFor = async (name: string): Promise<unknown> => {
    const answer = await fetch(`${inject("restateAdminUrl")}/services/${namespace}_${name}`);
    return ((await answer.json()) as Record<string, unknown>)["workflow_completion_retention"];
  };
  for (const [resultRetentionMs, text] of [
    [7_200_000, "2h"],
    [5_400_000, "1h 30m"],
    [259_200_000, "3d"],
  ] as const) {
    const worker = restateWorker(namespace, scriptedCompute(), { resultRetentionMs, listenPort: port });
    await worker.start();
    await worker.register(signal());
    expect(await keptFor("LandlordTenantV1")).toBe(text);
    await worker.stop();
  }
  expect(workerConfig({}).workflow.restate.result_retention).toBe(86_400_000);
});

test("results must outlive the window in which a job may start", () => {
  const settings = { "database.url": "postgres://u@127.0.0.1/d", "controller.start_timeout": "10m" };
  const withRetention = (text: string) =>
    serverConfig({ ...settings, "workflow.restate.result_retention": text });
  expect(withRetention("20m").workflow.restate.result_retention).toBe(1_200_000);
  expect(() => withRetention("19m")).toThrow(
    expect.objectContaining({
      details: [expect.stringMatching(/at least 2 times controller\.start_timeout \(10m\)/)],
    }),
  );
});
