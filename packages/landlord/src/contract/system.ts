/** Wire shapes of everything that is not a tenant. */
import { z } from "zod";
import { looseObject } from "./json.ts";

export const problemSchema = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    instance: z.string(),
    code: z.string().meta({ description: "Stable; branch on this." }),
    error: z.string().meta({ description: "The message, as older clients read it." }),
    details: z.array(z.string()),
    request_id: z.string(),
  })
  .meta({ id: "Problem", description: "RFC 9457, with the members that older clients read" });
export type Problem = z.infer<typeof problemSchema>;

export const healthSchema = z.object({ status: z.literal("ok"), time: z.string() }).meta({ id: "Health" });

export const readinessSchema = z
  .object({
    status: z.enum(["ready", "unavailable"]),
    checks: z.record(z.string(), z.string()),
    error: z.string().optional(),
    time: z.string(),
  })
  .meta({ id: "Readiness" });

export const computeConfigQuerySchema = z.strictObject({ provider: z.string().min(1).max(100) });

export const computeConfigResponseSchema = z
  .object({
    provider: z.string(),
    schema: looseObject.meta({ description: "JSON Schema 2020-12 of compute_config" }),
    defaults: looseObject.optional(),
  })
  .meta({ id: "ComputeConfig" });

export const computeEngineSchema = z
  .object({
    name: z.string(),
    schema: looseObject,
    defaults: looseObject.nullable(),
    immutable_keys: z.array(z.string()),
    engine_config: looseObject.meta({
      description: "The provider's block of the configuration, without secrets.",
    }),
    engine_config_hash: z.string(),
  })
  .meta({ id: "ComputeEngine" });

export const computeEngineListSchema = z
  .object({ engines: z.array(computeEngineSchema) })
  .meta({ id: "ComputeEngineList" });

/** The chore that compares what providers run with what tenants there are, by its name in the store. */
export const SWEEP_CHORE = "sweep";

export const sweepRequestSchema = z
  .strictObject({
    remove_orphans: z.boolean().default(false).meta({
      description:
        "Remove, in this sweep, what belongs to no tenant and was first seen longer ago than the grace time.",
    }),
  })
  .meta({ id: "SweepRequest" });

const orphanSchema = z
  .object({
    compute_provider: z.string(),
    scope: z.string(),
    tenant_id: z.string(),
    generation: z.int().nullable(),
    resource_ids: z.record(z.string(), z.string()),
    first_seen_at: z.string(),
    last_seen_at: z.string(),
  })
  .meta({ id: "Orphan", description: "Compute of this instance that belongs to no tenant" });

export const sweepReportSchema = z.object({
  resources: z.int().meta({ description: "Everything that providers run for this instance." }),
  orphans: z.int(),
  adopted: z.int().meta({ description: "Put under a tenant of their own that is being deleted." }),
  rechecked: z.int().meta({ description: "Tenants whose compute is looked at again." }),
  strays: z
    .array(z.object({ compute_provider: z.string(), tenant_id: z.string(), scope: z.string() }))
    .meta({ description: "Resources of a tenant that lives in another scope; at most 100." }),
  unseen: z
    .array(z.object({ compute_provider: z.string(), scope: z.string().nullable(), error: z.string() }))
    .meta({ description: "What could not be listed, and is not taken for empty." }),
});

export const sweepSchema = z
  .object({
    requested_at: z.string().nullable(),
    finished_at: z.string().nullable(),
    report: sweepReportSchema.nullable(),
    orphans: z.array(orphanSchema).meta({ description: "Oldest first; at most 500." }),
  })
  .meta({ id: "Sweep" });

export const computeEngineParamsSchema = z.object({ name: z.string().min(1).max(100) });
