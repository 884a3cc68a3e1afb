/**
 * Registry and default provider behind one object, and the surface of the older system on top of the port: each old
 * call is one line here, so that code written against it works with every provider.
 *
 * | old call            | new call                                                       |
 * |---------------------|----------------------------------------------------------------|
 * | createWorkflow      | ensureWorkflow                                                 |
 * | startExecution      | invoke                                                         |
 * | getExecutionStatus  | getWorkflowStatus, a batch of one                              |
 * | stopExecution       | stop                                                           |
 * | deleteWorkflow      | nothing: definitions are shared and never removed              |
 * | validate            | the provider exists, and the workflow's name is well formed    |
 * | postComputeCallback | refused: results come back as the execution's output           |
 */
import type { ProvisionRequest } from "../contract/job.ts";
import { LandlordError } from "../domain/errors.ts";
import type { ErrorRecord } from "../domain/tenant.ts";
import type { CallOptions, Execution, ExecutionRef, WorkflowProvider, WorkflowStatus } from "./provider.ts";
import type { WorkflowRegistry } from "./registry.ts";
import { LEGACY_STATES, type LegacyState } from "./sub-state.ts";

/** An execution's status in the older words. */
export interface ExecutionStatus {
  readonly executionId: string;
  readonly state: LegacyState;
  readonly error: ErrorRecord | null;
  readonly output: unknown;
}

export interface WorkflowManager {
  /** The provider of this name; of the default for null. */
  provider(name: string | null): WorkflowProvider;
  readonly defaultProvider: string;
  readonly providerNames: readonly string[];
  invoke(
    params: {
      readonly provider: string | null;
      readonly workflowName: string;
      readonly request: ProvisionRequest;
    } & CallOptions,
  ): Promise<Execution>;
  getWorkflowStatus(
    params: { readonly provider: string | null; readonly execution: ExecutionRef } & CallOptions,
  ): Promise<WorkflowStatus>;

  createWorkflow(
    params: { readonly provider: string | null; readonly workflowName: string } & CallOptions,
  ): Promise<void>;
  startExecution(
    params: {
      readonly provider: string | null;
      readonly workflowName: string;
      readonly input: ProvisionRequest;
    } & CallOptions,
  ): Promise<Execution>;
  getExecutionStatus(
    params: { readonly provider: string | null; readonly execution: ExecutionRef } & CallOptions,
  ): Promise<ExecutionStatus>;
  stopExecution(
    params: {
      readonly provider: string | null;
      readonly execution: ExecutionRef;
      readonly reason: string;
    } & CallOptions,
  ): Promise<void>;
  deleteWorkflow(params: { readonly provider: string | null; readonly workflowName: string }): Promise<void>;
  /** @throws LandlordError when the provider or the name is not usable */
  validate(params: { readonly provider: string | null; readonly workflowName: string }): void;
  /** @throws LandlordError `callback_not_supported`, always */
  postComputeCallback(): never;
}

const WORKFLOW_NAME_PATTERN = /^[A-Za-z][A-Za-z0-9_.-]{0,127}$/;

/** @throws LandlordError when the default provider is not in the registry */
export function createWorkflowManager(registry: WorkflowRegistry, defaultProvider: string): WorkflowManager {
  registry.get(defaultProvider);
  const provider = (name: string | null): WorkflowProvider => registry.get(name ?? defaultProvider);

  const getWorkflowStatus: WorkflowManager["getWorkflowStatus"] = async (params) => {
    const statuses = await provider(params.provider).getWorkflowStatus({
      executions: [params.execution],
      signal: params.signal,
    });
    const status = statuses[0];
    if (status === undefined) {
      throw new LandlordError(
        "missing_status",
        `The engine gave no status for ${params.execution.executionId}.`,
      );
    }
    return status;
  };
  const invoke: WorkflowManager["invoke"] = (params) => provider(params.provider).invoke(params);
  const validate: WorkflowManager["validate"] = (params) => {
    provider(params.provider);
    if (!WORKFLOW_NAME_PATTERN.test(params.workflowName)) {
      throw new LandlordError("invalid_workflow_name", `"${params.workflowName}" is not a workflow name.`);
    }
  };

  return {
    provider,
    defaultProvider,
    providerNames: registry.names(),
    invoke,
    getWorkflowStatus,
    createWorkflow: (params) => provider(params.provider).ensureWorkflow(params),
    startExecution: ({ input, ...params }) => invoke({ ...params, request: input }),
    async getExecutionStatus(params) {
      const status = await getWorkflowStatus(params);
      return {
        executionId: status.executionId,
        state: status.subState === null ? "pending" : LEGACY_STATES[status.subState],
        error: status.error,
        output: status.output,
      };
    },
    async stopExecution(params) {
      await provider(params.provider).stop({ ...params, force: false });
    },
    deleteWorkflow(params) {
      validate(params);
      return Promise.resolve();
    },
    validate,
    postComputeCallback() {
      throw new LandlordError(
        "callback_not_supported",
        "Results are the execution's output. Workers may post progress to /v1/executions/{id}/progress.",
      );
    },
  };
}
