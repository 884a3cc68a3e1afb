/** What a person does to a tenant without describing it anew. Each is safe at any moment, and twice. */
import { planWrite, requirePlan } from "./plans.ts";
import { isSettled, statusAfterWrite } from "../domain/status.ts";
import type { Tenant } from "../domain/tenant.ts";
import type { GenerationRecord } from "../store/store.ts";
import {
  archived,
  begunAnew,
  change,
  contention,
  deleting,
  described,
  raised,
  readForWrite,
  WRITE_ATTEMPTS,
  type Change,
  type WriteContext,
  type WriteResult,
} from "./change.ts";
import { requireAcceptable } from "./desired-state.ts";
import type { HttpDependencies } from "./dependencies.ts";
import { HttpError } from "./problem.ts";

/**
 * Tries again now: a failed tenant leaves `failed`, a backoff ends, and of one that is settled the compute is looked at.
 * Also while it is being deleted, because that may be what is stuck.
 */
export function retryTenant(
  idOrName: string,
  context: WriteContext,
  dependencies: HttpDependencies,
): Promise<WriteResult> {
  return change(idOrName, context, dependencies, (tenant) => {
    const status = tenant.status === "failed" ? statusAfterWrite(tenant, tenant.intent) : tenant.status;
    const next = begunAnew({ ...tenant, status }, dependencies);
    const isIdle = tenant.status === "ready" || tenant.status === "archived";
    return isIdle
      ? {
          next: described(tenant, dependencies),
          reason: "retry_requested",
          generationRaised: false,
          isLookRequested: true,
        }
      : { next, reason: "retry_requested", generationRaised: true };
  });
}

/** Starts nothing more for the tenant; what is in flight ends and is recorded. */
export function pauseTenant(
  idOrName: string,
  context: WriteContext,
  dependencies: HttpDependencies,
): Promise<WriteResult> {
  return change(idOrName, context, dependencies, (tenant) =>
    tenant.paused ? null : paused(tenant, context.actor.name, "paused", dependencies),
  );
}

export function resumeTenant(
  idOrName: string,
  context: WriteContext,
  dependencies: HttpDependencies,
): Promise<WriteResult> {
  return change(idOrName, context, dependencies, (tenant) =>
    tenant.paused ? paused(tenant, null, "resumed", dependencies) : null,
  );
}

function paused(tenant: Tenant, by: string | null, reason: string, dependencies: HttpDependencies): Change {
  const next = described({ ...tenant, paused: by !== null, pausedBy: by }, dependencies);
  // What happened to its compute meanwhile was noted, and not mended.
  const isLookRequested = by === null && tenant.intent !== "deleted" && isSettled(tenant);
  return { next, reason, generationRaised: false, isLookRequested };
}

/** Brings an archived tenant back as it was. */
export function restoreTenant(
  idOrName: string,
  context: WriteContext,
  dependencies: HttpDependencies,
): Promise<WriteResult> {
  return change(idOrName, context, dependencies, (tenant) => {
    if (tenant.intent === "deleted") throw deleting(tenant);
    if (tenant.intent !== "archived") {
      throw new HttpError(
        409,
        "not_archived",
        `Tenant "${tenant.name}" is ${tenant.status}, not archived: there is nothing to restore.`,
      );
    }
    requireAcceptable(tenant.computeProvider, tenant.desiredConfig, dependencies.catalog);
    const next = raised(tenant, { intent: "present" }, dependencies);
    return { next, reason: "restore_requested", generationRaised: true };
  });
}

/** @param generation null for the newest one whose configuration was another */
export function rollbackTenant(
  idOrName: string,
  generation: number | null,
  context: WriteContext,
  dependencies: HttpDependencies,
): Promise<WriteResult> {
  return change(idOrName, context, dependencies, async (tenant) => {
    if (tenant.intent === "deleted") throw deleting(tenant);
    if (tenant.intent === "archived") throw archived(tenant);
    const kept = await dependencies.store.listGenerations({ tenantId: tenant.id });
    const target = rollbackTarget(tenant, generation, kept);
    if (target.configHash === tenant.configHash && tenant.status !== "failed") return null;
    requireAcceptable(tenant.computeProvider, target.desiredConfig, dependencies.catalog);
    const { desiredConfig, configHash } = target;
    const next = raised(tenant, { desiredConfig, configHash }, dependencies);
    return { next, reason: "rollback_requested", generationRaised: true };
  });
}

function rollbackTarget(
  tenant: Tenant,
  generation: number | null,
  kept: readonly GenerationRecord[],
): GenerationRecord {
  const target = kept.find((record) =>
    generation === null
      ? record.generation < tenant.generation && record.configHash !== tenant.configHash
      : record.generation === generation,
  );
  if (target !== undefined) return target;
  const numbers = kept.map((record) => record.generation);
  throw new HttpError(
    404,
    "generation_not_found",
    generation === null
      ? `Tenant "${tenant.name}" had no other configuration to go back to.`
      : `Generation ${generation} of tenant "${tenant.name}" is not kept; there are ${numbers.join(", ")}.`,
  );
}

export interface ForcedDelete {
  readonly tenant: Tenant;
  readonly executionId: string | null;
}

/**
 * Removes the record at once, without waiting for compute to be gone. What is left of it is buried under a tombstone, and
 * the sweep removes it, as far as it can be reached.
 */
export async function forceDeleteTenant(
  idOrName: string,
  context: WriteContext,
  dependencies: HttpDependencies,
): Promise<ForcedDelete | Extract<WriteResult, { kind: "planned" }>> {
  const { store } = dependencies;
  for (let attempt = 0; attempt < WRITE_ATTEMPTS; attempt++) {
    const { tenant, revision } = await readForWrite(idOrName, context, dependencies);
    const planned = { before: tenant, next: { ...tenant, intent: "deleted" as const } };
    if (context.isDryRun) return { kind: "planned", plan: await planWrite(planned, dependencies) };
    await requirePlan(context.ifPlan, planned, dependencies);
    const [newest] = await store.listOperations({ idOrName: tenant.id, limit: 1, offset: 0 });
    const executionId = newest?.outcome === null ? newest.executionId : null;
    const outcome = await store.forceDelete({
      tenantId: tenant.id,
      revision,
      tombstoneTtlMs: dependencies.tombstoneRetentionMs,
      transition: {
        fromStatus: tenant.status,
        toStatus: null,
        reason: "force_deleted",
        message: remainsOf(tenant, executionId),
        generation: tenant.generation,
        operationId: newest?.outcome === null ? newest.id : null,
      },
      actor: context.actor,
    });
    if (outcome === "removed") {
      dependencies.onWrite();
      // As it was, but for what this write made of it.
      return { tenant: described(gone(tenant), dependencies), executionId };
    }
  }
  throw contention();
}

function gone(tenant: Tenant): Tenant {
  return { ...tenant, intent: "deleted", status: "deleting" };
}

function remainsOf(tenant: Tenant, executionId: string | null): string {
  const { scopes, resourceIds } = tenant.observed;
  const resources = Object.entries(resourceIds).map(([kind, id]) => `${kind} ${id}`);
  const parts = [
    ...(scopes.length === 0 ? [] : [`in ${scopes.join(", ")}`]),
    ...resources,
    ...(executionId === null ? [] : [`execution ${executionId}`]),
  ];
  return parts.length === 0
    ? "Removed without proof of absence. Nothing is known to be left."
    : `Removed without proof of absence. May be left: ${parts.join("; ")}.`.slice(0, 2_000);
}
