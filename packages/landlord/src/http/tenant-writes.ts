/**
 * Clients' writes to tenants. Each reads the tenant, computes its whole next state, and writes it by compare-and-set;
 * when somebody wrote in between, it is computed again from what is there now. Nothing here talks to an engine: a
 * write only stages work.
 */
import { randomUUID } from "node:crypto";
import { canonicalJson, configHash, mergePatch, type Json, type JsonObject } from "../domain/json.ts";
import { deriveConditions } from "../domain/conditions.ts";
import { isSettled, statusAfterWrite } from "../domain/status.ts";
import type { Intent, Lane, Tenant } from "../domain/tenant.ts";
import {
  updateTenantSchema,
  type CreateTenantBody,
  type PatchTenantBody,
  type UpdateTenantBody,
} from "../contract/tenant.ts";
import type { Actor, NewTenant } from "../store/store.ts";
import { asJsonObject, freezeDesiredState, resolveProvider } from "./desired-state.ts";
import type { HttpDependencies } from "./dependencies.ts";
import { HttpError } from "./problem.ts";

/** A tenant that is written by so many at once is somebody's mistake; the client is told to slow down. */
const WRITE_ATTEMPTS = 10;

export interface WriteResult {
  readonly tenant: Tenant;
  /** Work was staged: 202 instead of 200. */
  readonly started: boolean;
}

export interface WriteContext {
  readonly actor: Actor;
  /** The `If-Match` header. */
  readonly ifMatch: string | undefined;
  /** Where the work that this write stages queues up. */
  readonly lane: Lane;
}

export async function createTenant(
  body: CreateTenantBody,
  {
    idempotencyKey,
    actor,
    lane,
  }: Pick<WriteContext, "actor" | "lane"> & { readonly idempotencyKey: string | undefined },
  dependencies: HttpDependencies,
): Promise<{ readonly tenant: Tenant; readonly replayed: boolean }> {
  const { store, catalog } = dependencies;
  const requestHash = configHash(body as unknown as JsonObject);
  if (idempotencyKey !== undefined) {
    const replay = await replayed(idempotencyKey, requestHash, dependencies);
    if (replay !== null) return { tenant: replay, replayed: true };
  }
  const written = asJsonObject(body.compute_config);
  const labels = body.labels ?? {};
  const annotations = body.annotations ?? {};
  const provider = resolveProvider(
    { computeProvider: body.compute_provider, config: written, labels, annotations, present: null },
    catalog,
  );
  const desired = freezeDesiredState(written, provider, catalog, null);
  const outcome = await store.createTenant({
    tenant: newTenant(body.name, desired, labels, annotations, dependencies),
    actor,
    lane,
    idempotency:
      idempotencyKey === undefined
        ? null
        : { key: idempotencyKey, requestHash, ttlMs: dependencies.idempotencyRetentionMs },
  });
  switch (outcome.kind) {
    case "created":
      dependencies.onWrite();
      return { tenant: outcome.tenant, replayed: false };
    case "key_used":
    case "name_taken": {
      // A second delivery of the same request may have been the one that came first.
      const replay =
        idempotencyKey === undefined ? null : await replayed(idempotencyKey, requestHash, dependencies);
      if (replay !== null) return { tenant: replay, replayed: true };
      const holder = outcome.kind === "name_taken" ? outcome.tenant : null;
      if (holder?.intent === "deleted") throw deleting(holder);
      throw new HttpError(409, "name_taken", `A tenant named "${body.name}" exists already.`);
    }
  }
}

async function replayed(
  key: string,
  requestHash: string,
  dependencies: HttpDependencies,
): Promise<Tenant | null> {
  const answer = await dependencies.store.findIdempotentAnswer({ key });
  if (answer === null) return null;
  if (answer.requestHash === requestHash) return answer.tenant;
  throw new HttpError(
    422,
    "idempotency_key_reused",
    "This Idempotency-Key was used with another body; use a new key.",
  );
}

export function updateTenant(
  idOrName: string,
  body: UpdateTenantBody,
  context: WriteContext,
  dependencies: HttpDependencies,
): Promise<WriteResult> {
  return change(idOrName, context, dependencies, (tenant) => applyUpdate(tenant, body, dependencies));
}

export function patchTenant(
  idOrName: string,
  patch: PatchTenantBody,
  context: WriteContext,
  dependencies: HttpDependencies,
): Promise<WriteResult> {
  return change(idOrName, context, dependencies, (tenant) => {
    const present: JsonObject = {
      name: tenant.name,
      compute_config: tenant.desiredConfig,
      labels: tenant.labels,
      annotations: tenant.annotations,
    };
    const merged = asJsonObject(mergePatch(present, patch as unknown as Json));
    // A patch that leaves the config alone must not bring in defaults that have changed since, nor repeat a failure.
    const { compute_config: config, ...rest } = merged;
    const written = patch.compute_config === undefined ? rest : { ...rest, compute_config: config };
    const body = updateTenantSchema.safeParse({ labels: {}, annotations: {}, ...written });
    if (!body.success) {
      const details = body.error.issues.map(
        (issue) => `/${issue.path.map(String).join("/")}: ${issue.message}`,
      );
      throw new HttpError(400, "invalid_request", "The patched tenant is not valid.", details);
    }
    return applyUpdate(tenant, body.data, dependencies);
  });
}

/** Archives (`archived`) or deletes (`deleted`). A second request changes nothing. */
export function removeTenant(
  idOrName: string,
  intent: Extract<Intent, "archived" | "deleted">,
  context: WriteContext,
  dependencies: HttpDependencies,
): Promise<WriteResult> {
  return change(idOrName, context, dependencies, (tenant) => {
    if (tenant.intent === intent) return null;
    if (tenant.intent === "deleted") throw deleting(tenant);
    return {
      next: raised(tenant, { intent }, dependencies),
      reason: intent === "deleted" ? "delete_requested" : "archive_requested",
      generationRaised: true,
    };
  });
}

interface Change {
  readonly next: Tenant;
  readonly reason: string;
  readonly generationRaised: boolean;
}

/** The compare-and-set loop of every write. `compute` returns null for nothing to change. */
async function change(
  idOrName: string,
  context: WriteContext,
  dependencies: HttpDependencies,
  compute: (tenant: Tenant) => Change | null,
): Promise<WriteResult> {
  const { store } = dependencies;
  for (let attempt = 0; attempt < WRITE_ATTEMPTS; attempt++) {
    const stored = await store.getTenant({ idOrName });
    if (stored === null) throw notFound(idOrName);
    const { tenant } = stored;
    requireMatch(context.ifMatch, tenant);
    const computed = compute(tenant);
    if (computed === null) return { tenant, started: !isSettled(tenant) };
    const outcome = await store.writeTenant({
      tenant: computed.next,
      revision: stored.revision,
      generationRaised: computed.generationRaised,
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
      return { tenant: outcome.tenant, started: computed.generationRaised };
    }
    if (outcome.kind === "name_taken") {
      throw new HttpError(409, "name_taken", `A tenant named "${computed.next.name}" exists already.`);
    }
  }
  throw new HttpError(409, "write_contention", "The tenant is being written by others; try again.");
}

function applyUpdate(tenant: Tenant, body: UpdateTenantBody, dependencies: HttpDependencies): Change | null {
  if (tenant.intent === "deleted") throw deleting(tenant);
  if (tenant.intent === "archived" && body.compute_config !== undefined) {
    throw new HttpError(
      409,
      "tenant_archived",
      `Tenant "${tenant.name}" is archived and has no compute to change. Restoring is not available yet: delete it, and create it again.`,
    );
  }
  const written =
    body.compute_config === undefined ? tenant.desiredConfig : asJsonObject(body.compute_config);
  const provider = resolveProvider(
    {
      computeProvider: body.compute_provider,
      config: written,
      labels: {},
      annotations: {},
      present: tenant.computeProvider,
    },
    dependencies.catalog,
  );
  const described = {
    name: body.name ?? tenant.name,
    labels: body.labels ?? tenant.labels,
    annotations: body.annotations ?? tenant.annotations,
  };
  const desired =
    body.compute_config === undefined
      ? { config: tenant.desiredConfig, configHash: tenant.configHash }
      : freezeDesiredState(written, provider, dependencies.catalog, tenant.desiredConfig);
  // The same config again is how a user says "try again" to a tenant that rejected it.
  const retried = body.compute_config !== undefined && tenant.status === "failed";
  if (desired.configHash !== tenant.configHash || retried) {
    const next = raised(
      { ...tenant, ...described },
      { desiredConfig: desired.config, configHash: desired.configHash },
      dependencies,
    );
    return { next, reason: "changed", generationRaised: true };
  }
  const before = { name: tenant.name, labels: tenant.labels, annotations: tenant.annotations };
  if (canonicalJson(before) === canonicalJson(described)) return null;
  return {
    next: { ...tenant, ...described, version: tenant.version + 1 },
    reason: "described",
    generationRaised: false,
  };
}

/** A new generation: the count of attempts and the deadline begin anew. */
function raised(
  tenant: Tenant,
  desired: Partial<Pick<Tenant, "intent" | "desiredConfig" | "configHash">>,
  dependencies: HttpDependencies,
): Tenant {
  const now = new Date();
  const next: Tenant = {
    ...tenant,
    ...desired,
    status: statusAfterWrite(tenant, desired.intent ?? tenant.intent),
    statusMessage: "",
    generation: tenant.generation + 1,
    generationAt: now,
    attempts: 0,
    nextAttemptAt: null,
    lastError: null,
    version: tenant.version + 1,
  };
  return { ...next, conditions: deriveConditions(next, now, dependencies.conditions) };
}

function newTenant(
  name: string,
  desired: { readonly computeProvider: string; readonly config: JsonObject; readonly configHash: string },
  labels: Readonly<Record<string, string>>,
  annotations: Readonly<Record<string, string>>,
  dependencies: HttpDependencies,
): NewTenant {
  const now = new Date();
  const tenant: Tenant = {
    id: randomUUID(),
    name,
    status: "requested",
    statusMessage: "",
    intent: "present",
    computeProvider: desired.computeProvider,
    desiredConfig: desired.config,
    configHash: desired.configHash,
    generation: 1,
    generationAt: now,
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
    labels,
    annotations,
    version: 1,
    createdAt: now,
    updatedAt: now,
  };
  return { ...tenant, conditions: deriveConditions(tenant, now, dependencies.conditions) };
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

function deleting(tenant: Tenant): HttpError {
  return new HttpError(
    409,
    "tenant_deleting",
    `Tenant "${tenant.name}" is being deleted. Wait until it is gone; then its name is free again.`,
  );
}
