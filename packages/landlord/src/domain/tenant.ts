import type { JsonObject } from "./json.ts";

/** Where a tenant stands in its lifecycle. Authoritative, and always in the database. */
export const TENANT_STATUSES = [
  "requested",
  "provisioning",
  "ready",
  "updating",
  "archiving",
  "archived",
  "deleting",
  "failed",
] as const;
export type TenantStatus = (typeof TENANT_STATUSES)[number];

/** What the client wants to exist: its compute, only its record, or nothing. */
export type Intent = "present" | "archived" | "deleted";

/** What one attempt does. Archiving is a `delete` of the compute that keeps the row. */
export const OPERATION_KINDS = ["create", "update", "delete"] as const;
export type OperationKind = (typeof OPERATION_KINDS)[number];

/** What an execution is doing, in the words of every engine (see workflow/sub-state.ts). */
export const SUB_STATES = ["running", "waiting", "backing-off", "error", "succeeded", "failed"] as const;
export type SubState = (typeof SUB_STATES)[number];

/** Lower is served first. */
export const LANES = { interactive: 0, repair: 1, background: 2 } as const;
export type Lane = keyof typeof LANES;
/** By their number: the lower, the earlier. */
export const LANE_NAMES = ["interactive", "repair", "background"] as const satisfies readonly Lane[];

export interface Endpoint {
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly url: string;
}

export const HEALTHS = ["healthy", "starting", "unhealthy", "exited", "absent", "unknown"] as const;
export type Health = (typeof HEALTHS)[number];

/** An error as it is kept and shown. */
export interface ErrorRecord {
  readonly code: string;
  readonly message: string;
}

export const CONDITION_TYPES = [
  "Ready",
  "Progressing",
  "Healthy",
  "ComputeReachable",
  "EngineReachable",
  "Stalled",
  "Paused",
] as const;
export type ConditionType = (typeof CONDITION_TYPES)[number];

/** One aspect of a tenant, after the Kubernetes API conventions. `since` moves only when `status` does. */
export interface Condition {
  readonly type: ConditionType;
  readonly status: "True" | "False" | "Unknown";
  readonly reason: string;
  readonly message: string;
  readonly observedGeneration: number;
  readonly since: Date;
}

/** The compute that was last reported, and every scope in which some may exist. */
export interface Observed {
  readonly config: JsonObject | null;
  readonly resourceIds: Readonly<Record<string, string>>;
  readonly endpoints: readonly Endpoint[];
  readonly health: Health;
  /** Hosts, daemons or clusters where compute of this tenant was created and not yet proven absent. */
  readonly scopes: readonly string[];
}

export interface Tenant {
  readonly id: string;
  readonly name: string;
  readonly status: TenantStatus;
  readonly statusMessage: string;
  readonly intent: Intent;
  readonly computeProvider: string;
  readonly desiredConfig: JsonObject;
  readonly configHash: string;
  readonly generation: number;
  readonly observedGeneration: number;
  readonly observed: Observed;
  readonly paused: boolean;
  /** Who paused it; null when it is not paused. */
  readonly pausedBy: string | null;
  /** Attempts at the present generation that did not succeed. */
  readonly attempts: number;
  /** No new attempt starts before this time. */
  readonly nextAttemptAt: Date | null;
  readonly lastError: ErrorRecord | null;
  /** When the present generation was accepted; the operation deadline counts from here. */
  readonly generationAt: Date;
  readonly workflowExecutionId: string | null;
  readonly workflowSubState: SubState | null;
  readonly workflowRetryCount: number | null;
  readonly conditions: readonly Condition[];
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** Counts client writes; the ETag. */
  readonly version: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

/** How far the stop of an execution has come. Each phase is written before its effect. */
export type StopPhase = "occupy_or_cancel" | "kill";

/** A row of the ledger: one attempt to bring a tenant to a generation. */
export interface Operation {
  readonly id: string;
  readonly tenantId: string;
  readonly kind: OperationKind;
  readonly generation: number;
  readonly configHash: string;
  /** Random, minted with the row: the engine's idempotency key. */
  readonly executionId: string;
  /** The engine's own address of the execution, once it answered. */
  readonly executionHandle: string | null;
  readonly workflowProvider: string;
  readonly workflowName: string;
  /** A job that starts later than this touches nothing. */
  readonly startBefore: Date;
  readonly invokedAt: Date | null;
  readonly stopPhase: StopPhase | null;
  readonly stopRequestedAt: Date | null;
  readonly stopReason: string | null;
  readonly subState: SubState | null;
  readonly retryCount: number;
  readonly createdAt: Date;
}
