/** The conditions of a tenant, derived from its state; only `since` has a memory. */
import type { Condition, ConditionType, Tenant } from "./tenant.ts";
import { isSettled } from "./status.ts";

export interface ConditionSettings {
  readonly operationDeadlineMs: number;
}

type Verdict = Pick<Condition, "status" | "reason" | "message">;

/** Recomputes all conditions. `since` of each stays as long as its status does. */
export function deriveConditions(
  tenant: Tenant,
  now: Date,
  settings: ConditionSettings,
): readonly Condition[] {
  const verdicts: Readonly<Record<ConditionType, Verdict>> = {
    Ready: ready(tenant),
    Progressing: progressing(tenant),
    Healthy: healthy(tenant),
    ComputeReachable: computeReachable(tenant),
    // Overlaid from the engine's breaker when a tenant is read: one outage must not rewrite every tenant.
    EngineReachable: { status: "True", reason: "reachable", message: "" },
    Stalled: stalled(tenant, now, settings),
    Paused: tenant.paused
      ? {
          status: "True",
          reason: "paused_by_user",
          message: `Paused by ${tenant.pausedBy ?? "somebody"}: nothing is started until the tenant is resumed.`,
        }
      : { status: "False", reason: "not_paused", message: "" },
  };
  return Object.entries(verdicts).map(([type, verdict]) => {
    const previous = tenant.conditions.find((condition) => condition.type === type);
    return {
      type: type as ConditionType,
      ...verdict,
      observedGeneration: tenant.generation,
      since: previous !== undefined && previous.status === verdict.status ? previous.since : now,
    };
  });
}

function ready(tenant: Tenant): Verdict {
  if (tenant.status === "ready" && tenant.observedGeneration === tenant.generation) {
    return { status: "True", reason: "ready", message: "" };
  }
  return { status: "False", reason: tenant.status, message: tenant.statusMessage };
}

function progressing(tenant: Tenant): Verdict {
  if (isSettled(tenant)) return { status: "False", reason: "settled", message: "" };
  if (tenant.paused) return { status: "False", reason: "paused", message: "" };
  return tenant.nextAttemptAt === null
    ? { status: "True", reason: tenant.status, message: "" }
    : { status: "True", reason: "backing_off", message: tenant.statusMessage };
}

function healthy(tenant: Tenant): Verdict {
  switch (tenant.observed.health) {
    case "healthy":
      return { status: "True", reason: "observed_healthy", message: "" };
    case "absent":
      return { status: "False", reason: "absent", message: "No compute exists." };
    case "unhealthy":
    case "exited":
      return { status: "False", reason: tenant.observed.health, message: tenant.statusMessage };
    case "starting":
    case "unknown":
      return { status: "Unknown", reason: tenant.observed.health, message: "" };
  }
}

function computeReachable(tenant: Tenant): Verdict {
  return tenant.lastError?.code === "compute_unreachable"
    ? { status: "False", reason: "compute_unreachable", message: tenant.lastError.message }
    : { status: "True", reason: "reachable", message: "" };
}

function stalled(tenant: Tenant, now: Date, settings: ConditionSettings): Verdict {
  const overdue = now.getTime() - tenant.generationAt.getTime() >= settings.operationDeadlineMs;
  return overdue && !isSettled(tenant)
    ? {
        status: "True",
        reason: "operation_deadline",
        message: tenant.lastError?.message ?? tenant.statusMessage,
      }
    : { status: "False", reason: "within_deadline", message: "" };
}
