/** A Step Functions provider and workers under a name prefix of the test's own. */
import { randomUUID } from "node:crypto";
import type { ComputeProvider } from "../../../src/compute/provider.ts";
import { WORKFLOW_NAME, type ProvisionRequest } from "../../../src/contract/job.ts";
import type { Execution, WorkflowProvider, WorkflowStatus } from "../../../src/workflow/provider.ts";
import {
  createStepFunctionsProvider,
  type StepFunctionsProviderSettings,
} from "../../../src/workflow/step-functions/step-functions-provider.ts";
import type { WorkflowWorkerEngine } from "../../../src/worker/engine.ts";
import {
  createStepFunctionsWorkerEngine,
  type StepFunctionsWorkerSettings,
} from "../../../src/worker/step-functions/step-functions-worker-engine.ts";
import { provisionRequest, signal } from "../../support/restate.ts";
import { testLogger } from "../../support/system.ts";

// The emulator takes any identity; the SDK's default chain wants one.
process.env["AWS_ACCESS_KEY_ID"] ??= "test";
process.env["AWS_SECRET_ACCESS_KEY"] ??= "test";

export const REGION = "us-east-1";
export const ROLE_ARN = "arn:aws:iam::000000000000:role/landlord-executions";

export const randomPrefix = (): string => `t${randomUUID().slice(0, 8)}-`;

export function stepFunctionsProvider(
  endpoint: string,
  namePrefix: string,
  change: Partial<StepFunctionsProviderSettings> = {},
): WorkflowProvider {
  return createStepFunctionsProvider({
    region: REGION,
    endpoint,
    roleArn: ROLE_ARN,
    assumeRole: null,
    namePrefix,
    requestTimeoutMs: 5_000,
    queryTimeoutMs: 8_000,
    heartbeatSeconds: 3,
    ...change,
  });
}

export function stepFunctionsWorker(
  endpoint: string,
  namePrefix: string,
  compute: ComputeProvider,
  change: Partial<StepFunctionsWorkerSettings> = {},
): WorkflowWorkerEngine {
  return createStepFunctionsWorkerEngine(
    {
      region: REGION,
      endpoint,
      assumeRole: null,
      namePrefix,
      concurrency: 8,
      pollers: 2,
      queryPollers: 1,
      requestTimeoutMs: 5_000,
      failFast: false,
      drainTimeoutMs: 500,
      workerName: null,
      ...change,
    },
    {
      logger: testLogger.child({ part: "worker" }),
      resolveByName: () => Promise.resolve(compute),
      job: {
        resolveCompute: () => Promise.resolve(compute),
        reportProgress: () => undefined,
        absenceSettleMs: 10,
        now: Date.now,
      },
    },
  );
}

export const invoke = (
  provider: WorkflowProvider,
  request: ProvisionRequest = provisionRequest(),
): Promise<Execution> => provider.invoke({ workflowName: WORKFLOW_NAME, request, signal: signal() });

export const stop = (
  provider: WorkflowProvider,
  execution: { readonly executionId: string; readonly handle: string | null },
  force = false,
): Promise<Execution> =>
  provider.stop({
    execution: { ...execution, workflowName: WORKFLOW_NAME },
    reason: "superseded",
    force,
    signal: signal(),
  });

export const ended = ({ state }: WorkflowStatus): boolean => state === "succeeded" || state === "failed";
