/** Rows to domain values and back. */
import type { Selectable } from "kysely";
import type { Condition, Operation, Tenant } from "../../domain/tenant.ts";
import type { OperationRecord, SequencedTransition, StoredTenant, Transition } from "../store.ts";
import type { OperationsTable, TenantsTable, TransitionsTable } from "./database.ts";

/** A row as the driver reads it, or as `to_jsonb` wrote it: then times are text. */
export type TenantRow = Selectable<TenantsTable>;
export type OperationRow = Selectable<OperationsTable>;
export type TransitionRow = Selectable<TransitionsTable>;

/** Accepts the text form too: rows that come through jsonb carry their times as text. */
export function toDate(value: Date | string): Date {
  return value instanceof Date ? value : new Date(value);
}

function toDateOrNull(value: Date | string | null): Date | null {
  return value === null ? null : toDate(value);
}

export function toStoredTenant(row: TenantRow): StoredTenant {
  return { tenant: toTenant(row), revision: row.revision };
}

export function toTenant(row: TenantRow): Tenant {
  return {
    id: row.id,
    name: row.name,
    status: row.status,
    statusMessage: row.status_message,
    intent: row.intent,
    computeProvider: row.compute_provider,
    desiredConfig: row.desired_config,
    configHash: row.config_hash,
    generation: row.generation,
    generationAt: toDate(row.generation_at),
    observedGeneration: row.observed_generation,
    observed: {
      config: row.observed_config,
      resourceIds: row.observed_resource_ids,
      endpoints: row.endpoints,
      health: row.health,
      scopes: row.scopes,
    },
    paused: row.paused,
    pausedBy: row.paused_by,
    attempts: row.attempts,
    nextAttemptAt: toDateOrNull(row.next_attempt_at),
    lastError: row.last_error,
    workflowExecutionId: row.workflow_execution_id,
    workflowSubState: row.workflow_sub_state,
    workflowRetryCount: row.workflow_retry_count,
    conditions: toConditions(row.conditions),
    labels: row.labels,
    annotations: row.annotations,
    version: row.version,
    createdAt: toDate(row.created_at),
    updatedAt: toDate(row.updated_at),
  };
}

function toConditions(stored: TenantRow["conditions"]): readonly Condition[] {
  // Most began together, and to read a time takes longer than the rest of a condition.
  let text = "";
  let since = new Date(Number.NaN);
  return stored.map((condition) => {
    if (condition.since !== text) {
      text = condition.since;
      since = new Date(text);
    }
    return {
      type: condition.type,
      status: condition.status,
      reason: condition.reason,
      message: condition.message,
      observedGeneration: condition.observedGeneration,
      since,
    };
  });
}

/** The columns of a tenant as a JSON object for `jsonb_populate_record`; times as RFC 3339. */
export function fromTenant(
  tenant: Omit<Tenant, "createdAt" | "updatedAt" | "generationAt">,
): Record<string, unknown> {
  return {
    id: tenant.id,
    name: tenant.name,
    status: tenant.status,
    status_message: tenant.statusMessage,
    intent: tenant.intent,
    compute_provider: tenant.computeProvider,
    desired_config: tenant.desiredConfig,
    config_hash: tenant.configHash,
    generation: tenant.generation,
    observed_generation: tenant.observedGeneration,
    observed_config: tenant.observed.config,
    observed_resource_ids: tenant.observed.resourceIds,
    endpoints: tenant.observed.endpoints,
    health: tenant.observed.health,
    scopes: tenant.observed.scopes,
    paused: tenant.paused,
    paused_by: tenant.pausedBy,
    attempts: tenant.attempts,
    next_attempt_at: tenant.nextAttemptAt,
    last_error: tenant.lastError,
    workflow_execution_id: tenant.workflowExecutionId,
    workflow_sub_state: tenant.workflowSubState,
    workflow_retry_count: tenant.workflowRetryCount,
    conditions: tenant.conditions,
    labels: tenant.labels,
    annotations: tenant.annotations,
    version: tenant.version,
  };
}

export function toOperation(row: OperationRow): Operation {
  return {
    id: row.id,
    tenantId: row.tenant_id,
    kind: row.kind,
    generation: row.generation,
    configHash: row.config_hash,
    executionId: row.execution_id,
    executionHandle: row.execution_handle,
    workflowProvider: row.workflow_provider,
    workflowName: row.workflow_name,
    startBefore: toDate(row.start_before),
    invokedAt: toDateOrNull(row.invoked_at),
    stopPhase: row.stop_phase,
    stopRequestedAt: toDateOrNull(row.stop_requested_at),
    stopReason: row.stop_reason,
    subState: row.sub_state,
    retryCount: row.retry_count,
    createdAt: toDate(row.created_at),
  };
}

export function toOperationRecord(row: OperationRow): OperationRecord {
  return {
    ...toOperation(row),
    outcome: row.outcome,
    error: row.error,
    finishedAt: toDateOrNull(row.finished_at),
  };
}

export function toTransition(row: TransitionRow): Transition {
  return {
    id: row.id,
    position: row.position,
    tenantId: row.tenant_id,
    tenantName: row.tenant_name,
    fromStatus: row.from_status,
    toStatus: row.to_status,
    reason: row.reason,
    message: row.message,
    generation: row.generation,
    actor: row.actor,
    requestId: row.request_id,
    operationId: row.operation_id,
    labels: row.labels,
    at: toDate(row.at),
  };
}

export function toSequenced(row: TransitionRow): SequencedTransition {
  return { ...toTransition(row), position: row.position ?? 0 };
}
