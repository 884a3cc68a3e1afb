/**
 * Plans: what a write would change, from the desired state that it would store and a fresh look of a worker at the
 * compute. Nothing is stored. Its hash covers all that the answer follows from, so a write that carries the hash of a
 * plan happens as planned or not at all.
 */
import type { PlanBody } from "../contract/plan.ts";
import { configHash, type JsonObject } from "../domain/json.ts";
import { diffFields, heaviestAction, type ChangeAction, type PlannedChange } from "../domain/plan.ts";
import type { Observation } from "../domain/observation.ts";
import { redact } from "../domain/redact.ts";
import type { Tenant } from "../domain/tenant.ts";
import type { HttpDependencies } from "./dependencies.ts";
import { HttpError } from "./problem.ts";

/** A write as it would be: from nothing for a creation. */
export interface PlannedWrite {
  readonly before: Tenant | null;
  readonly next: Tenant;
}

/** Throws UnavailableError `no_worker` when nobody can look. */
export async function planWrite(write: PlannedWrite, dependencies: HttpDependencies): Promise<PlanBody> {
  const { before, next } = write;
  const { observation, changes } = await planCompute(next, dependencies);
  const pointers = new Map<string, ChangeAction>();
  for (const { action, fields } of changes) {
    for (const field of fields) {
      const pointer = `/compute_config${field}`;
      pointers.set(pointer, heaviestAction([{ action }, { action: pointers.get(pointer) ?? "none" }]));
    }
  }
  const fields = diffFields(shownOf(before), shownOf(next)).map(({ pointer, from, to }) => ({
    pointer,
    ...(from === undefined ? {} : { from }),
    ...(to === undefined ? {} : { to }),
    action: actionAt(pointer, pointers, changes),
  }));
  return {
    tenant_id: before?.id ?? null,
    tenant_name: next.name,
    hash: hashOf(write, observation, changes),
    action: heaviestAction(changes),
    downtime: changes.some(({ downtime }) => downtime),
    generation: next.generation,
    fields,
    changes: changes.map((change) => ({ ...change, fields: [...change.fields] })),
    observed: {
      presence: observation.presence,
      generation: observation.generation,
      health: observation.health,
      message: observation.message,
      scope: observation.scope,
    },
    desired_config: redact(next.desiredConfig) as JsonObject,
  };
}

/** The write goes on only when what it was planned on is still so. */
export async function requirePlan(
  hash: string | undefined,
  write: PlannedWrite,
  dependencies: HttpDependencies,
): Promise<void> {
  if (hash === undefined) return;
  const now = await planWrite(write, dependencies);
  if (now.hash === hash) return;
  throw new HttpError(
    412,
    "plan_stale",
    "The tenant, its compute or this write is not as it was when the plan was made. Plan again, and look at what has changed.",
    [`/if-plan: the plan is ${now.hash} now`],
  );
}

async function planCompute(
  next: Tenant,
  { compute }: HttpDependencies,
): Promise<{ readonly observation: Observation; readonly changes: readonly PlannedChange[] }> {
  if (next.intent === "present") return compute.plan(next);
  const observation = await compute.observe(next);
  if (observation.presence === "absent") return { observation, changes: [] };
  const resources = Object.entries(observation.resourceIds);
  const named = resources.length === 0 ? ["compute"] : resources.map(([kind, id]) => `${kind} ${id}`);
  return {
    observation,
    changes: named.map((resource) => ({ action: "destroy", resource, fields: [], downtime: true })),
  };
}

/** A tenant as its writes see it. */
function shownOf(tenant: Tenant | null): JsonObject {
  if (tenant === null) return {};
  return {
    name: tenant.name,
    intent: tenant.intent,
    compute_provider: tenant.computeProvider,
    compute_config: tenant.desiredConfig,
    labels: tenant.labels,
    annotations: tenant.annotations,
  };
}

/** What the provider does about the config key that a pointer leads into; null when compute is not concerned. */
function actionAt(
  pointer: string,
  byPointer: ReadonlyMap<string, ChangeAction>,
  changes: readonly PlannedChange[],
): ChangeAction | null {
  if (!pointer.startsWith("/compute_config") && pointer !== "/intent") return null;
  for (const [known, action] of byPointer) {
    if (pointer === known || pointer.startsWith(`${known}/`) || known.startsWith(`${pointer}/`))
      return action;
  }
  return heaviestAction(changes);
}

function hashOf(
  { before, next }: PlannedWrite,
  observation: Observation,
  changes: readonly PlannedChange[],
): string {
  return configHash({
    tenant_id: before?.id ?? null,
    generation: before?.generation ?? 0,
    next: { ...shownOf(next), compute_config: next.configHash },
    observed: {
      presence: observation.presence,
      generation: observation.generation,
      config_hash: observation.configHash,
      scope: observation.scope,
    },
    changes: changes.map((change) => ({ ...change, fields: [...change.fields] })),
  });
}
