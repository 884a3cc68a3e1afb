/** What the end of an operation changes in a tenant. */
import type { ErrorRecord, Observed, Tenant, TenantStatus } from "./tenant.ts";

/** How a tenant is after an operation ended. */
export interface TenantChange {
  readonly status: TenantStatus;
  readonly reason: string;
  readonly message: string;
  readonly generation: number;
  readonly observedGeneration: number;
  readonly observed: Observed;
  readonly attempts: number;
  readonly nextAttemptAt: Date | null;
  readonly lastError: ErrorRecord | null;
}

export function unchanged(tenant: Tenant): TenantChange {
  return {
    status: tenant.status,
    reason: "",
    message: tenant.statusMessage,
    generation: tenant.generation,
    observedGeneration: tenant.observedGeneration,
    observed: tenant.observed,
    attempts: tenant.attempts,
    nextAttemptAt: tenant.nextAttemptAt,
    lastError: tenant.lastError,
  };
}

export function settledStatus(removed: boolean): Pick<TenantChange, "status" | "reason" | "message"> {
  return removed
    ? { status: "archived", reason: "archived", message: "Compute is removed; the record is kept." }
    : { status: "ready", reason: "ready", message: "" };
}

/** A newer generation waits: the tenant goes on without ever having been called settled. */
export function followingStatus(
  tenant: Tenant,
  removed: boolean,
): Pick<TenantChange, "status" | "reason" | "message"> {
  const message = `A newer generation (${tenant.generation}) follows.`;
  if (tenant.intent !== "present") return { status: tenant.status, reason: "superseded", message };
  return { status: removed ? "requested" : "updating", reason: "superseded", message };
}

export function failedChange(
  error: ErrorRecord,
): Pick<TenantChange, "status" | "reason" | "message" | "lastError"> {
  return { status: "failed", reason: error.code, message: error.message, lastError: error };
}
