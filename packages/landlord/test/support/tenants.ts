/** Values of the domain for unit tests. */
import type { DecideSettings, ExecutionFact, JobReport } from "../../src/domain/decide.ts";
import type { Operation, Tenant } from "../../src/domain/tenant.ts";

export const NOW = new Date("2026-01-01T12:00:00.000Z");

export const SETTINGS: DecideSettings = {
  backoffInitialMs: 1_000,
  backoffMaxMs: 60_000,
  stopGraceMs: 5_000,
  statusPollMs: 1_000,
  statusPollMaxMs: 30_000,
  visibilityGraceMs: 5_000,
  operationDeadlineMs: 1_800_000,
  onDeadline: "keep_retrying",
};

export function at(offsetMs: number): Date {
  return new Date(NOW.getTime() + offsetMs);
}

export function tenantWith(change: Partial<Tenant> = {}): Tenant {
  return {
    id: "11111111-1111-4111-8111-111111111111",
    name: "acme",
    status: "requested",
    statusMessage: "",
    intent: "present",
    computeProvider: "process",
    desiredConfig: { command: ["true"] },
    configHash: "hash-1",
    generation: 1,
    generationAt: at(-1_000),
    observedGeneration: 0,
    observed: { config: null, resourceIds: {}, endpoints: [], health: "unknown", scopes: [] },
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
    createdAt: at(-1_000),
    updatedAt: at(-1_000),
    ...change,
  };
}

export function operationWith(change: Partial<Operation> = {}): Operation {
  return {
    id: "22222222-2222-4222-8222-222222222222",
    tenantId: "11111111-1111-4111-8111-111111111111",
    kind: "create",
    generation: 1,
    configHash: "hash-1",
    executionId: "33333333-3333-4333-8333-333333333333",
    executionHandle: "inv_1",
    workflowProvider: "mock",
    workflowName: "LandlordTenantV1",
    startBefore: at(300_000),
    invokedAt: at(-500),
    stopPhase: null,
    stopRequestedAt: null,
    stopReason: null,
    subState: "running",
    retryCount: 0,
    createdAt: at(-600),
    ...change,
  };
}

export function reportWith(change: Partial<JobReport> = {}): JobReport {
  return {
    outcome: "succeeded",
    tenantId: "11111111-1111-4111-8111-111111111111",
    generation: 1,
    configHash: "hash-1",
    observedConfig: { command: ["true"] },
    resourceIds: { pid: "42" },
    endpoints: [],
    health: "healthy",
    scope: "process:host:1",
    absentObservations: 0,
    error: null,
    staleGeneration: null,
    ...change,
  };
}

export function executionWith(change: Partial<ExecutionFact> = {}): ExecutionFact {
  return { state: "running", subState: "running", retryCount: 0, error: null, report: null, ...change };
}
