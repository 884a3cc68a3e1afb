/** The status machine: which status may follow which, and what a client's write does to it. */
import type { Intent, OperationKind, Tenant, TenantStatus } from "./tenant.ts";

/**
 * Every allowed move. A tenant may always be archived or deleted; `failed` and `archived` are left only by a
 * client's write.
 */
const STATUS_TRANSITIONS: Readonly<Record<TenantStatus, readonly TenantStatus[]>> = {
  requested: ["provisioning", "archiving", "deleting"],
  provisioning: ["ready", "updating", "failed", "archiving", "deleting"],
  ready: ["updating", "archiving", "deleting"],
  updating: ["ready", "failed", "archiving", "deleting"],
  // A restore may overtake an archive: before its removal ended, or after it did.
  archiving: ["archived", "requested", "updating", "deleting"],
  // Compute that was proven absent may be seen again: after a late effect, or in a restored database.
  archived: ["requested", "archiving", "deleting"],
  deleting: [],
  failed: ["requested", "updating", "archiving", "deleting"],
};

export function isAllowedTransition(from: TenantStatus, to: TenantStatus): boolean {
  return from === to || STATUS_TRANSITIONS[from].includes(to);
}

/** A settled tenant waits for nobody but its clients. */
export function isSettled(tenant: Pick<Tenant, "status" | "generation" | "observedGeneration">): boolean {
  switch (tenant.status) {
    case "ready":
    case "archived":
      return tenant.observedGeneration === tenant.generation;
    case "failed":
      return true;
    case "requested":
    case "provisioning":
    case "updating":
    case "archiving":
    case "deleting":
      return false;
  }
}

/** The status of a tenant at the moment in which a client's write raised its generation. */
export function statusAfterWrite(
  tenant: Pick<Tenant, "status" | "observedGeneration">,
  intent: Intent,
): TenantStatus {
  switch (intent) {
    case "deleted":
      return "deleting";
    case "archived":
      return "archiving";
    case "present":
      switch (tenant.status) {
        case "requested":
        case "provisioning":
          // Not created yet: the change joins the creation instead of following it.
          return tenant.status;
        case "failed":
          return tenant.observedGeneration === 0 ? "requested" : "updating";
        case "archived":
          return "requested";
        case "archiving":
          // The removal in flight ends first; the operation that ends it moves the tenant on.
          return "archiving";
        case "ready":
        case "updating":
        case "deleting":
          return "updating";
      }
  }
}

/** The operation that an unsettled tenant needs next, and the status that it has while that runs. */
export function nextOperation(tenant: Pick<Tenant, "status" | "intent">): {
  readonly kind: OperationKind;
  readonly status: TenantStatus;
} {
  switch (tenant.intent) {
    case "deleted":
      return { kind: "delete", status: "deleting" };
    case "archived":
      return { kind: "delete", status: "archiving" };
    case "present":
      return tenant.status === "requested" || tenant.status === "provisioning"
        ? { kind: "create", status: "provisioning" }
        : { kind: "update", status: "updating" };
  }
}
