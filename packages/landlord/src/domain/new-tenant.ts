/** A tenant as it begins. */
import { deriveConditions, type ConditionSettings } from "./conditions.ts";
import type { Tenant } from "./tenant.ts";

/** What every tenant has before anything was done for it. */
export const FRESH_TENANT = {
  statusMessage: "",
  observedGeneration: 0,
  paused: false,
  pausedBy: null,
  attempts: 0,
  nextAttemptAt: null,
  lastError: null,
  workflowExecutionId: null,
  workflowSubState: null,
  workflowRetryCount: null,
  conditions: [],
  labels: {},
  annotations: {},
  version: 1,
} as const satisfies Partial<Tenant>;

/** As a client asks for it. The database fills in the times; the ones here serve the conditions. */
export function requestedTenant(
  asked: Pick<
    Tenant,
    "id" | "name" | "computeProvider" | "desiredConfig" | "configHash" | "labels" | "annotations"
  >,
  now: Date,
  settings: ConditionSettings,
): Tenant {
  const tenant: Tenant = {
    ...FRESH_TENANT,
    ...asked,
    status: "requested",
    intent: "present",
    generation: 1,
    generationAt: now,
    observed: { config: null, resourceIds: {}, endpoints: [], health: "unknown", scopes: [] },
    createdAt: now,
    updatedAt: now,
  };
  return { ...tenant, conditions: deriveConditions(tenant, now, settings) };
}
