/** Step Functions × process: the whole product on the other engine, its worker and the engine itself killed on the way. */
import { afterEach, expect, inject, test } from "vitest";
import { livingTenants } from "../../support/census.ts";
import { liveWholeLife } from "../../support/engines/lifecycle.ts";
import { startStepFunctionsEmulator } from "../../support/engines/step-functions-emulator.ts";
import { eventually } from "../../support/eventually.ts";
import { startLandlord } from "../../support/landlord-process.ts";
import { startTestSystem, testSettings, type TestSystem } from "../../support/system.ts";
import { webServer } from "../../support/workloads.ts";
import { randomPrefix, REGION, ROLE_ARN } from "./kit.ts";

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

const engineSettings = (endpoint: string, namePrefix: string) => ({
  "workflow.step_functions": {
    region: REGION,
    endpoint,
    role_arn: ROLE_ARN,
    name_prefix: namePrefix,
    heartbeat: "3s",
    query_timeout: "8s",
    // A worker that is killed leaves its polls open at the emulator, and each swallows a task for a heartbeat.
    worker_concurrency: 1,
  },
  "workflow.default_provider": "step-functions",
});

const running = (tenantId: string): Promise<readonly number[]> =>
  Promise.resolve(
    livingTenants()
      .filter((living) => living.tenantId === tenantId)
      .map(({ generation }) => generation),
  );

async function startSystem(
  endpoint: string,
  withWorker: boolean,
): Promise<{ system: TestSystem; prefix: string }> {
  const prefix = randomPrefix();
  const settings = engineSettings(endpoint, prefix);
  const system = await startTestSystem({ server: settings, workerSettings: settings, worker: withWorker });
  closing.push(() => system.stop());
  return { system, prefix };
}

test("a tenant lives its whole life", { timeout: 180_000 }, async () => {
  const { system } = await startSystem(inject("stepFunctionsEndpoint"), true);
  await liveWholeLife(system.url, "whole", {
    computeProvider: "process",
    config: (variant) => webServer(`variant ${variant}`),
    running,
  });
  const [row] = await system.database.query("SELECT DISTINCT workflow_provider AS engine FROM operations");
  expect(row).toEqual({ engine: "step-functions" });
});

test(
  "a worker that is killed in the middle of each operation is replaced",
  { timeout: 300_000 },
  async () => {
    const { system, prefix } = await startSystem(inject("stepFunctionsEndpoint"), false);
    const start = () =>
      startLandlord(
        "worker",
        {
          ...testSettings(system.dataDir, system.namespace),
          ...engineSettings(inject("stepFunctionsEndpoint"), prefix),
          "worker.api_url": system.url,
          "worker.absence_settle": "50ms",
        },
        { AWS_ACCESS_KEY_ID: "test", AWS_SECRET_ACCESS_KEY: "test" },
      );
    let worker = await start();
    closing.push(() => worker.kill());
    await liveWholeLife(system.url, "killed-worker", {
      computeProvider: "process",
      config: (variant) => webServer(`variant ${variant}`, { startMs: 500 }),
      running,
      during: async (_operation, tenantId) => {
        await eventually(
          async () => {
            const rows = await system.database.query(
              "SELECT 1 FROM operations WHERE tenant_id = $1 AND finished_at IS NULL AND invoked_at IS NOT NULL",
              [tenantId],
            );
            return rows.length > 0;
          },
          { what: "the operation runs", timeoutMs: 60_000 },
        );
        await worker.kill();
        worker = await start();
      },
      timeoutMs: 120_000,
    });
  },
);

test(
  "an engine that loses all its data in the middle of each operation is recovered",
  { timeout: 300_000 },
  async () => {
    const emulator = await startStepFunctionsEmulator();
    closing.push(() => emulator.stop());
    const { system } = await startSystem(emulator.endpoint, true);
    await liveWholeLife(system.url, "killed-engine", {
      computeProvider: "process",
      config: (variant) => webServer(`variant ${variant}`),
      running,
      during: () => emulator.restart(),
      timeoutMs: 120_000,
    });
  },
);
