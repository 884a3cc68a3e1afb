/** How every write to an existing tenant is made: read, compute, compare and set. */
import { deriveConditions } from "../domain/conditions.ts";
import type { Principal } from "../domain/principal.ts";
import { isSettled, statusAfterWrite } from "../domain/status.ts";
import type { Lane, Tenant } from "../domain/tenant.ts";
import type { PlanBody } from "../contract/plan.ts";
import type { Actor, StoredTenant } from "../store/store.ts";
import type { HttpDependencies } from "./dependencies.ts";
import { planWrite, requirePlan } from "./plans.ts";
import { assertWithinScope, isVisible } from "./principal.ts";
import { HttpError } from "./problem.ts";

/** A tenant that is written by so many at once is somebody's mistake; the client is told to slow down. */
export const WRITE_ATTEMPTS = 10;

export interface WriteContext {
  readonly actor: Actor;
  readonly principal: Principal;
  /** The `If-Match` header. */
  readonly ifMatch: string | undefined;
  /** The `If-Plan` header: the hash of the plan that the write is based on. */
  readonly ifPlan: string | undefined;
  /** Answer the plan and store nothing. */
  readonly isDryRun: boolean;
  /** Where the work that this write stages queues up. */
  readonly lane: Lane;
}

export type WriteResult =
  | {
      readonly kind: "written";
      readonly tenant: Tenant;
      /** Work was staged: 202 instead of 200. */
      readonly isStarted: boolean;
      readonly isCreated: boolean;
      /** The answer to an earlier request with the same Idempotency-Key. */
      readonly isReplayed: boolean;
    }
  | { readonly kind: "planned"; readonly plan: PlanBody };

export interface Change {
  readonly next: Tenant;
  readonly reason: string;
  /** Operations begin anew: the clock of the deadline does, too. */
  readonly generationRaised: boolean;
  /** A settled tenant: only its compute is to be looked at, now. */
  readonly isLookRequested?: boolean;
}

/** The compare-and-set loop of every write. `compute` returns null for nothing to change. */
export async function change(
  idOrName: string,
  context: WriteContext,
  dependencies: HttpDependencies,
  compute: (tenant: Tenant) => Change | null | Promise<Change | null>,
): Promise<WriteResult> {
  const { store } = dependencies;
  for (let attempt = 0; attempt < WRITE_ATTEMPTS; attempt++) {
    const stored = await readForWrite(idOrName, context, dependencies);
    const { tenant } = stored;
    const computed = await compute(tenant);
    if (computed !== null) assertWithinScope(context.principal, computed.next.labels);
    const planned = { before: tenant, next: computed?.next ?? tenant };
    if (context.isDryRun) return { kind: "planned", plan: await planWrite(planned, dependencies) };
    await requirePlan(context.ifPlan, planned, dependencies);
    if (computed === null) return written(tenant, !isSettled(tenant));
    const outcome = await store.writeTenant({
      tenant: computed.next,
      revision: stored.revision,
      generationRaised: computed.generationRaised,
      isLookRequested: computed.isLookRequested ?? false,
      transition: {
        fromStatus: tenant.status,
        toStatus: computed.next.status,
        reason: computed.reason,
        message: "",
        generation: computed.next.generation,
        operationId: null,
      },
      actor: context.actor,
      lane: context.lane,
    });
    if (outcome.kind === "written") {
      dependencies.onWrite();
      return written(outcome.tenant, computed.generationRaised);
    }
    if (outcome.kind === "name_taken") {
      throw new HttpError(409, "name_taken", `A tenant named "${computed.next.name}" exists already.`);
    }
  }
  throw contention();
}

function written(tenant: Tenant, isStarted: boolean): WriteResult {
  return { kind: "written", tenant, isStarted, isCreated: false, isReplayed: false };
}

/** @throws HttpError 404 when there is none that the principal may see, 412 when it is at another version */
export async function readForWrite(
  idOrName: string,
  { principal, ifMatch }: Pick<WriteContext, "principal" | "ifMatch">,
  { store }: HttpDependencies,
): Promise<StoredTenant> {
  const stored = await store.getTenant({ idOrName });
  if (stored === null || !isVisible(principal, stored.tenant.labels)) throw notFound(idOrName);
  requireMatch(ifMatch, stored.tenant);
  return stored;
}

/** A new generation: the count of attempts and the deadline begin anew. */
export function raised(
  tenant: Tenant,
  desired: Partial<Pick<Tenant, "intent" | "desiredConfig" | "configHash">>,
  dependencies: HttpDependencies,
): Tenant {
  const status = statusAfterWrite(tenant, desired.intent ?? tenant.intent);
  return begunAnew({ ...tenant, ...desired, status, generation: tenant.generation + 1 }, dependencies);
}

/** What failed before does not count any more. */
export function begunAnew(tenant: Tenant, dependencies: HttpDependencies): Tenant {
  const generationAt = new Date();
  return described(
    { ...tenant, statusMessage: "", generationAt, attempts: 0, nextAttemptAt: null, lastError: null },
    dependencies,
  );
}

/** Counted as a client's write, and told in the conditions. */
export function described(tenant: Tenant, { conditions }: HttpDependencies): Tenant {
  const next = { ...tenant, version: tenant.version + 1 };
  return { ...next, conditions: deriveConditions(next, new Date(), conditions) };
}

export function etagOf(tenant: Tenant): string {
  return `"${tenant.version}"`;
}

/** RFC 9110, section 13.1.1: `*`, or a list of entity tags of which one is the present. */
function requireMatch(ifMatch: string | undefined, tenant: Tenant): void {
  if (ifMatch === undefined || ifMatch.trim() === "*") return;
  const tags = ifMatch.split(",").map((tag) => tag.trim());
  if (tags.includes(etagOf(tenant))) return;
  throw new HttpError(
    412,
    "precondition_failed",
    `The tenant is at version ${tenant.version}, not at ${ifMatch}. Read it again and repeat the change.`,
  );
}

export function notFound(idOrName: string): HttpError {
  return new HttpError(404, "tenant_not_found", `There is no tenant "${idOrName}".`);
}

export function deleting(tenant: Tenant): HttpError {
  return new HttpError(
    409,
    "tenant_deleting",
    `Tenant "${tenant.name}" is being deleted. Wait until it is gone; then its name is free again.`,
  );
}

export function archived(tenant: Tenant): HttpError {
  return new HttpError(
    409,
    "tenant_archived",
    `Tenant "${tenant.name}" is archived and has no compute to change. Restore it first: POST /v1/tenants/${tenant.id}/restore.`,
  );
}

export function contention(): HttpError {
  return new HttpError(409, "write_contention", "The tenant is being written by others; try again.");
}
