/** Domain values as the API shows them. */
import type { z } from "zod";
import type { generationSchema, operationSchema, TenantBody, transitionSchema } from "../contract/tenant.ts";
import type { Condition, Tenant } from "../domain/tenant.ts";
import type { Breaker, GenerationRecord, OperationRecord, Transition } from "../store/store.ts";
import { redact } from "../domain/redact.ts";
import type { JsonObject } from "../domain/json.ts";

/** Only to be written as JSON: what need not change is shared with the tenant. */
export function renderTenant(tenant: Tenant, breakers: readonly Breaker[] = []): TenantBody {
  const desired = redact(tenant.desiredConfig) as JsonObject;
  const body: TenantBody = {
    id: tenant.id,
    name: tenant.name,
    status: tenant.status,
    status_message: tenant.statusMessage,
    intent: tenant.intent,
    compute_provider: tenant.computeProvider,
    desired_config: desired,
    compute_config: desired,
    observed_config: (redact(tenant.observed.config ?? {}) as JsonObject | null) ?? {},
    observed_resource_ids: tenant.observed.resourceIds,
    endpoints: tenant.observed.endpoints as TenantBody["endpoints"],
    generation: tenant.generation,
    observed_generation: tenant.observedGeneration,
    paused: tenant.paused,
    conditions: renderConditions(withBreakers(tenant, breakers)),
    labels: tenant.labels,
    annotations: tenant.annotations,
    version: tenant.version,
    created_at: tenant.createdAt.toISOString(),
    updated_at: tenant.updatedAt.toISOString(),
  };
  // Older clients expect these absent, not null, when there is nothing to say.
  if (tenant.workflowExecutionId !== null) body.workflow_execution_id = tenant.workflowExecutionId;
  if (tenant.workflowSubState !== null) body.workflow_sub_state = tenant.workflowSubState;
  if (tenant.workflowRetryCount !== null) body.workflow_retry_count = tenant.workflowRetryCount;
  if (tenant.lastError !== null) body.workflow_error_message = tenant.lastError.message;
  return body;
}

function renderConditions(conditions: readonly Condition[]): TenantBody["conditions"] {
  // Most began together, and to write a time takes longer than the rest of a condition.
  let sinceMs = Number.NaN;
  let since = "";
  return conditions.map((condition) => {
    if (condition.since.getTime() !== sinceMs) {
      sinceMs = condition.since.getTime();
      since = condition.since.toISOString();
    }
    return {
      type: condition.type,
      status: condition.status,
      reason: condition.reason,
      message: condition.message,
      observed_generation: condition.observedGeneration,
      since,
    };
  });
}

/** An outage is one row for the whole fleet; it is laid over each tenant when that is read. */
function withBreakers(tenant: Tenant, breakers: readonly Breaker[]): readonly Condition[] {
  const open = breakers.filter(({ state }) => state === "open");
  if (open.length === 0) return tenant.conditions;
  const engine = open.find(({ key }) => key.startsWith("engine:"));
  const compute = open.find(({ key }) => key === `compute:${tenant.computeProvider}`);
  return tenant.conditions.map((condition) => {
    if (condition.type === "EngineReachable" && engine !== undefined)
      return outOfReach(condition, engine, "engine_unreachable", "The workflow engine does not answer.");
    if (condition.type === "ComputeReachable" && compute !== undefined)
      return outOfReach(condition, compute, "compute_unreachable", "The compute provider does not answer.");
    return condition;
  });
}

function outOfReach(condition: Condition, breaker: Breaker, reason: string, otherwise: string): Condition {
  return {
    ...condition,
    status: "False",
    reason,
    message: breaker.lastError ?? otherwise,
    since: breaker.openedAt ?? condition.since,
  };
}

export function renderTransition(transition: Transition): z.infer<typeof transitionSchema> {
  return {
    tenant_id: transition.tenantId,
    tenant_name: transition.tenantName,
    from_status: transition.fromStatus,
    to_status: transition.toStatus,
    reason: transition.reason,
    message: transition.message,
    generation: transition.generation,
    actor: transition.actor,
    request_id: transition.requestId,
    operation_id: transition.operationId,
    at: transition.at.toISOString(),
  };
}

export function renderGeneration(record: GenerationRecord): z.infer<typeof generationSchema> {
  return {
    generation: record.generation,
    intent: record.intent,
    compute_provider: record.computeProvider,
    compute_config: redact(record.desiredConfig) as JsonObject,
    config_hash: record.configHash,
    actor: record.actor,
    request_id: record.requestId,
    created_at: record.createdAt.toISOString(),
  };
}

export function renderOperation(operation: OperationRecord): z.infer<typeof operationSchema> {
  return {
    id: operation.id,
    tenant_id: operation.tenantId,
    kind: operation.kind,
    generation: operation.generation,
    execution_id: operation.executionId,
    workflow_provider: operation.workflowProvider,
    outcome: operation.outcome,
    error: operation.error,
    sub_state: operation.subState,
    retry_count: operation.retryCount,
    stop_reason: operation.stopReason,
    created_at: operation.createdAt.toISOString(),
    invoked_at: operation.invokedAt?.toISOString() ?? null,
    finished_at: operation.finishedAt?.toISOString() ?? null,
  };
}
