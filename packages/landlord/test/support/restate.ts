/** A Restate provider and, if wanted, a worker of the test's own, in a namespace of the test's own. */
import { randomUUID } from "node:crypto";
import { inject } from "vitest";
import type { ProvisionRequest } from "../../src/contract/job.ts";
import { createRestateProvider } from "../../src/workflow/restate/restate-provider.ts";
import type { WorkflowProvider, WorkflowStatus } from "../../src/workflow/provider.ts";
import {
  createRestateWorkerEngine,
  type RestateWorkerSettings,
} from "../../src/worker/restate/restate-worker-engine.ts";
import type { WorkflowWorkerEngine } from "../../src/worker/engine.ts";
import type { WorkerContext } from "../../src/worker/worker-context.ts";
import type { ComputeProvider } from "../../src/compute/provider.ts";
import { eventually } from "./eventually.ts";
import { randomNamespace, testLogger } from "./system.ts";

export function restateProvider(
  namespace: string,
  change: Partial<Parameters<typeof createRestateProvider>[0]> = {},
): WorkflowProvider {
  return createRestateProvider({
    ingressUrl: inject("restateIngressUrl"),
    adminUrl: inject("restateAdminUrl"),
    authToken: null,
    requestTimeoutMs: 5_000,
    queryTimeoutMs: 2_000,
    namespace,
    servicePrefix: "",
    ...change,
  });
}

/** A worker whose compute is `compute`. */
export function restateWorker(
  namespace: string,
  compute: ComputeProvider,
  change: Partial<RestateWorkerSettings> = {},
): WorkflowWorkerEngine {
  const context: WorkerContext = {
    logger: testLogger.child({ part: "worker" }),
    resolveByName: () => Promise.resolve(compute),
    job: {
      resolveCompute: () => Promise.resolve(compute),
      reportProgress: () => undefined,
      absenceSettleMs: 10,
      now: Date.now,
    },
  };
  return createRestateWorkerEngine(
    {
      namespace,
      servicePrefix: "",
      listenHost: "127.0.0.1",
      listenPort: 0,
      advertisedUrl: null,
      adminUrl: inject("restateAdminUrl"),
      authToken: null,
      requestTimeoutMs: 5_000,
      identityKeys: [],
      failFast: false,
      drainTimeoutMs: 500,
      resultRetentionMs: 3_600_000,
      ...change,
    },
    context,
  );
}

export function provisionRequest(change: Partial<ProvisionRequest> = {}): ProvisionRequest {
  return {
    tenant_id: randomUUID(),
    tenant_name: "acme",
    operation: "create",
    desired_config: {},
    compute_provider: "mock",
    generation: 1,
    execution_id: randomUUID(),
    start_before: new Date(Date.now() + 60_000).toISOString(),
    scopes: [],
    observed_resource_ids: {},
    labels: {},
    annotations: {},
    api_base_url: "http://127.0.0.1:1",
    metadata: { config_hash: "hash", instance_id: "instance" },
    ...change,
  };
}

export const signal = (): AbortSignal => AbortSignal.timeout(30_000);

export async function statusOf(
  provider: WorkflowProvider,
  execution: { readonly executionId: string; readonly handle: string | null },
): Promise<WorkflowStatus> {
  const [status] = await provider.getWorkflowStatus({
    executions: [{ ...execution, workflowName: "LandlordTenantV1" }],
    signal: signal(),
  });
  if (status === undefined) throw new Error("no status");
  return status;
}

export function untilStatus(
  provider: WorkflowProvider,
  execution: { readonly executionId: string; readonly handle: string | null },
  wanted: (status: WorkflowStatus) => boolean,
  what: string,
): Promise<WorkflowStatus> {
  return eventually(
    async () => {
      const status = await statusOf(provider, execution);
      return wanted(status) && status;
    },
    { what },
  );
}

export { randomNamespace };
