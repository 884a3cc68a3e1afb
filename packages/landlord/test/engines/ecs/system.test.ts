/** Step Functions × ECS: the whole product without Restate, and the whole life of a tenant. */
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { liveWholeLife } from "../../support/engines/lifecycle.ts";
import { startTestSystem, type TestSystem } from "../../support/system.ts";
import { randomPrefix, REGION, ROLE_ARN } from "../step-functions/kit.ts";
import { containersOf, ecsEngineConfig, servicesOf, tagsOf, webConfig } from "./ecs-kit.ts";

let system: TestSystem;
beforeAll(async () => {
  const engine = {
    "workflow.default_provider": "step-functions",
    "workflow.step_functions": {
      region: REGION,
      endpoint: inject("stepFunctionsEndpoint"),
      role_arn: ROLE_ARN,
      name_prefix: randomPrefix(),
      heartbeat: "3s",
      query_timeout: "8s",
    },
  };
  system = await startTestSystem({
    server: { ...engine, "compute.ecs": { ...ecsEngineConfig, endpoint: inject("ecsEndpoint") } },
    workerSettings: engine,
  });
});
afterAll(() => system.stop());

/** Generations that services claim, while a container runs for each. */
async function running(tenantId: string): Promise<readonly number[]> {
  const containers = await containersOf({ tenantId });
  const services = await servicesOf({ tenantId });
  const claimed = services.map((service) => Number(tagsOf(service)["landlord:generation"]));
  return containers.length === services.length ? claimed : [...claimed, ...containers.map(() => 0)];
}

test("a tenant lives its whole life", { timeout: 240_000 }, async () => {
  await liveWholeLife(system.url, "ecs", {
    computeProvider: "ecs",
    config: (variant) => webConfig(variant),
    running,
    timeoutMs: 90_000,
  });
  const [row] = await system.database.query("SELECT DISTINCT workflow_provider AS engine FROM operations");
  expect(row).toEqual({ engine: "step-functions" });
});
