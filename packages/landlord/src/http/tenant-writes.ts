/**
 * Clients' writes to the desired state. Each reads the tenant, computes its whole next state, and writes it by
 * compare-and-set; when somebody wrote in between, it is computed again from what is there now. Nothing here talks to an
 * engine: a write only stages work.
 */
import { randomUUID } from "node:crypto";
import { canonicalJson, configHash, mergePatch, type Json, type JsonObject } from "../domain/json.ts";
import { ANONYMOUS } from "../domain/principal.ts";
import { requestedTenant } from "../domain/new-tenant.ts";
import type { Intent, Tenant } from "../domain/tenant.ts";
import {
  updateTenantSchema,
  type ApplyTenantBody,
  type CreateTenantBody,
  type PatchTenantBody,
  type UpdateTenantBody,
} from "../contract/tenant.ts";
import { asJsonObject, freezeDesiredState, resolveProvider } from "./desired-state.ts";
import type { HttpDependencies } from "./dependencies.ts";
import { planWrite, requirePlan } from "./plans.ts";
import { assertWithinScope, isVisible } from "./principal.ts";
import { HttpError } from "./problem.ts";
import {
  archived,
  change,
  contention,
  described,
  deleting,
  raised,
  type Change,
  type WriteContext,
  type WriteResult,
} from "./change.ts";

export interface CreateContext extends WriteContext {
  readonly idempotencyKey: string | undefined;
}

export async function createTenant(
  body: CreateTenantBody,
  context: CreateContext,
  dependencies: HttpDependencies,
): Promise<WriteResult> {
  const requestHash = configHash(body as unknown as JsonObject);
  const replay = await replayed(context, requestHash, dependencies);
  if (replay !== null) return replay;
  const tenant = tenantOf(body, dependencies);
  assertWithinScope(context.principal, tenant.labels);
  if (context.isDryRun) {
    const holder = await dependencies.store.getTenant({ idOrName: body.name });
    if (holder !== null) throw taken(body.name, holder.tenant, context);
    return { kind: "planned", plan: await planWrite({ before: null, next: tenant }, dependencies) };
  }
  await requirePlan(context.ifPlan, { before: null, next: tenant }, dependencies);
  const outcome = await insert(tenant, requestHash, context, dependencies);
  switch (outcome.kind) {
    case "created":
      dependencies.onWrite();
      return { kind: "written", tenant: outcome.tenant, isStarted: true, isCreated: true, isReplayed: false };
    case "key_used":
    case "name_taken": {
      // A second delivery of the same request may have been the one that came first.
      const first = await replayed(context, requestHash, dependencies);
      if (first !== null) return first;
      throw taken(body.name, outcome.kind === "name_taken" ? outcome.tenant : null, context);
    }
  }
}

function insert(
  tenant: Tenant,
  requestHash: string,
  { actor, lane, principal, idempotencyKey }: CreateContext,
  { store, idempotencyRetentionMs }: HttpDependencies,
): ReturnType<HttpDependencies["store"]["createTenant"]> {
  const key = keyOf(principal.name, idempotencyKey);
  const idempotency = key === null ? null : { key, requestHash, ttlMs: idempotencyRetentionMs };
  return store.createTenant({ tenant, actor, lane, idempotency });
}

/** Everybody has keys of their own: nobody is answered what another one created. No header has a line break in it. */
function keyOf(principal: string, key: string | undefined): string | null {
  if (key === undefined) return null;
  return principal === ANONYMOUS.name ? key : `${principal}\n${key}`;
}

async function replayed(
  { principal, idempotencyKey, isDryRun }: CreateContext,
  requestHash: string,
  { store }: HttpDependencies,
): Promise<WriteResult | null> {
  const key = keyOf(principal.name, idempotencyKey);
  const answer = key === null || isDryRun ? null : await store.findIdempotentAnswer({ key });
  if (answer === null) return null;
  if (answer.requestHash !== requestHash) {
    throw new HttpError(
      422,
      "idempotency_key_reused",
      "This Idempotency-Key was used with another body; use a new key.",
    );
  }
  return { kind: "written", tenant: answer.tenant, isStarted: true, isCreated: true, isReplayed: true };
}

/** Whoever may not see the holder of a name is told no more than that it is taken. */
function taken(name: string, holder: Tenant | null, { principal }: WriteContext): HttpError {
  if (holder?.intent === "deleted" && isVisible(principal, holder.labels)) return deleting(holder);
  return new HttpError(409, "name_taken", `A tenant named "${name}" exists already.`);
}

function tenantOf(body: CreateTenantBody, { catalog, conditions }: HttpDependencies): Tenant {
  const written = asJsonObject(body.compute_config);
  const { labels = {}, annotations = {} } = body;
  const provider = resolveProvider(
    { computeProvider: body.compute_provider, config: written, labels, annotations, present: null },
    catalog,
  );
  const desired = freezeDesiredState(written, provider, catalog, null);
  const { config: desiredConfig, ...rest } = desired;
  const own = { id: randomUUID(), name: body.name, desiredConfig, ...rest, labels, annotations };
  return requestedTenant(own, new Date(), conditions);
}

const APPLY_ATTEMPTS = 3;

/**
 * Creates the tenant, or makes it exactly what is given; the same again changes nothing, also when it failed: whoever
 * applies in a loop must not repeat a failure.
 */
export async function applyTenant(
  name: string,
  body: ApplyTenantBody,
  context: WriteContext & { readonly ifNoneMatch: string | undefined },
  dependencies: HttpDependencies,
): Promise<WriteResult> {
  const exact = { labels: {}, annotations: {}, ...body };
  for (let attempt = 1; ; attempt++) {
    const stored = await dependencies.store.getTenant({ idOrName: name });
    try {
      if (stored === null) {
        if (context.ifMatch !== undefined)
          throw new HttpError(
            412,
            "precondition_failed",
            `There is no tenant "${name}" that If-Match could match.`,
          );
        return await createTenant(
          { name, ...exact },
          { ...context, idempotencyKey: undefined },
          dependencies,
        );
      }
      if (context.ifNoneMatch !== undefined)
        throw new HttpError(412, "precondition_failed", `A tenant named "${name}" exists already.`);
      return await change(name, context, dependencies, (tenant) =>
        applyUpdate(tenant, exact, { retriesFailed: false }, dependencies),
      );
    } catch (error) {
      // It came, or went, in between.
      const isRace =
        error instanceof HttpError &&
        (stored === null ? error.code === "name_taken" : error.code === "tenant_not_found");
      if (isRace && attempt < APPLY_ATTEMPTS) continue;
      throw stored === null && isRace ? contention() : error;
    }
  }
}

export function updateTenant(
  idOrName: string,
  body: UpdateTenantBody,
  context: WriteContext,
  dependencies: HttpDependencies,
): Promise<WriteResult> {
  return change(idOrName, context, dependencies, (tenant) =>
    applyUpdate(tenant, body, { retriesFailed: true }, dependencies),
  );
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
    return applyUpdate(tenant, body.data, { retriesFailed: true }, dependencies);
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

function applyUpdate(
  tenant: Tenant,
  body: UpdateTenantBody,
  { retriesFailed }: { readonly retriesFailed: boolean },
  dependencies: HttpDependencies,
): Change | null {
  if (tenant.intent === "deleted") throw deleting(tenant);
  if (tenant.intent === "archived" && body.compute_config !== undefined) throw archived(tenant);
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
  const named = {
    name: body.name ?? tenant.name,
    labels: body.labels ?? tenant.labels,
    annotations: body.annotations ?? tenant.annotations,
  };
  const desired =
    body.compute_config === undefined
      ? { config: tenant.desiredConfig, configHash: tenant.configHash }
      : freezeDesiredState(written, provider, dependencies.catalog, tenant.desiredConfig);
  // The same config again is how a user says "try again" to a tenant that rejected it.
  const retried = retriesFailed && body.compute_config !== undefined && tenant.status === "failed";
  if (desired.configHash !== tenant.configHash || retried) {
    const next = raised(
      { ...tenant, ...named },
      { desiredConfig: desired.config, configHash: desired.configHash },
      dependencies,
    );
    return { next, reason: "changed", generationRaised: true };
  }
  const before = { name: tenant.name, labels: tenant.labels, annotations: tenant.annotations };
  if (canonicalJson(before) === canonicalJson(named)) return null;
  return {
    next: described({ ...tenant, ...named }, dependencies),
    reason: "described",
    generationRaised: false,
  };
}
