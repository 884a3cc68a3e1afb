/** What a fresh look at a settled tenant's compute means: nothing, something to note, or something to repair. */
import type { Decision } from "./decide.ts";
import { canonicalJson } from "./json.ts";
import type { Observation } from "./observation.ts";
import { type TenantChange, unchanged } from "./tenant-change.ts";
import type { Observed, Tenant } from "./tenant.ts";

export interface Drift {
  readonly reason:
    | "drift_missing"
    | "drift_exited"
    | "drift_changed"
    | "drift_unhealthy"
    | "compute_reappeared"
    | "generation_recovered";
  readonly message: string;
  /** Applying the present generation again would leave it as it is: only a new one replaces it. */
  readonly needsNewGeneration: boolean;
}

/** Decides for a settled tenant that was looked at. A paused one is only noted. */
export function decideObserved(tenant: Tenant, observation: Observation): Decision {
  if (observation.presence === "unknown") return { kind: "settle" };
  const observed = observedNow(tenant, observation);
  const drift = tenant.paused ? null : driftOf(tenant, observation);
  if (drift !== null) return { kind: "repair", change: repairChange(tenant, observation, observed, drift) };
  if (!isNews(tenant, observed)) return { kind: "settle" };
  return {
    kind: "record",
    observed,
    message: observation.message ?? "",
    isConfirmedSoon: tenant.status === "ready" && observed.health !== "healthy",
  };
}

function driftOf(tenant: Tenant, observation: Observation): Drift | null {
  switch (tenant.status) {
    case "archived":
      // What has ended by itself is absent, and still leaves something to clear away.
      return observation.presence === "present" || observation.health === "exited"
        ? {
            reason: "compute_reappeared",
            message: "Compute of this archived tenant was seen; it is removed again.",
            needsNewGeneration: false,
          }
        : null;
    case "ready":
      return driftOfReady(tenant, observation);
    default:
      // A tenant that failed is left to its users, and nobody else is settled.
      return null;
  }
}

function driftOfReady(tenant: Tenant, observation: Observation): Drift | null {
  const { generation, configHash, health } = observation;
  const because = observation.message === null ? "" : ` ${observation.message}`;
  if (health === "exited")
    return {
      reason: "drift_exited",
      message: `The workload ended by itself.${because}`,
      needsNewGeneration: false,
    };
  if (observation.presence === "absent")
    return { reason: "drift_missing", message: `Compute is gone.${because}`, needsNewGeneration: false };
  if (generation !== null && generation > tenant.generation) {
    return {
      reason: "generation_recovered",
      message: `Compute was found at generation ${generation}, and the database is at ${tenant.generation}: it continues above.`,
      needsNewGeneration: true,
    };
  }
  const isOther =
    (generation !== null && generation < tenant.generation) ||
    (configHash !== null && configHash !== tenant.configHash);
  if (isOther)
    return {
      reason: "drift_changed",
      message: `Compute is not what was applied.${because}`,
      needsNewGeneration: true,
    };
  const isBad = health === "unhealthy" || health === "starting";
  // Once may be a blip. It is noted, and the next look follows soon.
  if (!isBad || tenant.observed.health === "healthy") return null;
  return {
    reason: "drift_unhealthy",
    message: `Compute stays unhealthy.${because}`,
    needsNewGeneration: true,
  };
}

function repairChange(
  tenant: Tenant,
  observation: Observation,
  observed: Observed,
  drift: Drift,
): TenantChange {
  return {
    ...unchanged(tenant),
    status: tenant.status === "archived" ? "archiving" : "updating",
    reason: drift.reason,
    message: drift.message,
    generation: drift.needsNewGeneration
      ? Math.max(tenant.generation, observation.generation ?? 0) + 1
      : tenant.generation,
    observed,
    attempts: 0,
    nextAttemptAt: null,
    lastError: null,
  };
}

function observedNow(tenant: Tenant, observation: Observation): Observed {
  const { scopes } = tenant.observed;
  if (observation.presence === "absent") {
    return {
      config: null,
      resourceIds: {},
      endpoints: [],
      health: observation.health === "exited" ? "exited" : "absent",
      scopes,
    };
  }
  return {
    config: observation.config,
    resourceIds: observation.resourceIds,
    endpoints: observation.endpoints,
    health: observation.health,
    scopes: scopes.includes(observation.scope) ? scopes : [...scopes, observation.scope],
  };
}

/** What clients see of compute has changed. */
function isNews({ observed: before }: Tenant, now: Observed): boolean {
  // What could not be told now is no news about what was known.
  if (now.health === "unknown") return false;
  const seen = ({ health, endpoints, resourceIds, scopes }: Observed): string =>
    canonicalJson([health, endpoints.map((endpoint) => ({ ...endpoint })), { ...resourceIds }, [...scopes]]);
  return seen(before) !== seen(now);
}
