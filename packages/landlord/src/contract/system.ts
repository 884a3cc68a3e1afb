/** Wire shapes of everything that is not a tenant. */
import { z } from "zod";

const looseObject = z.record(z.string(), z.unknown());

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

export const computeEngineParamsSchema = z.object({ name: z.string().min(1).max(100) });
