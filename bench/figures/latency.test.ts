import { expect, it } from "vitest";
import { createMockComputeProvider } from "../../packages/landlord/src/compute/mock/provider.ts";
import type { ProvisionRequest } from "../../packages/landlord/src/contract/job.ts";
import { runJob } from "../../packages/landlord/src/worker/job.ts";
import { JOB_STEPS } from "../raw/job-steps.ts";

it("compares a create with a raw workflow of as many journaled steps", async () => {
  const steps: string[] = [];
  const request: ProvisionRequest = {
    tenant_id: "6f0c5b1e-4a87-4a63-9d5e-0c1a8d1b2c3d",
    tenant_name: "acme",
    operation: "create",
    generation: 1,
    desired_config: {},
    compute_provider: "mock",
    execution_id: "e1",
    start_before: new Date(Date.now() + 60_000).toISOString(),
    labels: {},
    scopes: [],
    metadata: { instance_id: "i1", config_hash: "h1" },
  } as unknown as ProvisionRequest;
  const compute = createMockComputeProvider({});
  const result = await runJob(
    request,
    {
      run: (name, effect) => {
        steps.push(name);
        return effect(new AbortController().signal);
      },
      sleep: () => Promise.resolve(),
      idempotencyKey: (name) => name,
      announceWaiting: () => undefined,
    },
    {
      resolveCompute: () => Promise.resolve(compute),
      reportProgress: () => undefined,
      absenceSettleMs: 0,
      now: Date.now,
    },
  );
  expect(result.outcome).toBe("succeeded");
  expect(steps).toHaveLength(JOB_STEPS);
});
