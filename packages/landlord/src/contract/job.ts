/**
 * What travels between the server and a worker through the engine. This is a wire format that running
 * executions carry: a changed shape is a new workflow name (see WORKFLOW_NAME).
 */
import { createHash } from "node:crypto";
import { z } from "zod";
import { CHANGE_ACTIONS } from "../domain/plan.ts";
import { HEALTHS, OPERATION_KINDS } from "../domain/tenant.ts";
import type { JsonObject } from "../domain/json.ts";

/** The workflow that runs tenant jobs. Its version is part of its name; workers serve this one and the one before. */
export const WORKFLOW_NAME = "LandlordTenantV1";
/** The plain service that answers read-only questions. */
export const QUERY_SERVICE_NAME = "LandlordQueryV1";

/**
 * Where jobs and questions for compute in one scope go when only a worker in that scope can do them: a workflow or
 * service of its own, served by the workers there. Null is the one that every worker serves.
 */
export function nameInScope(name: string, scope: string | null): string {
  return scope === null ? name : `${name}-${createHash("sha256").update(scope).digest("hex").slice(0, 16)}`;
}

/** A job result larger than this is refused by the worker. */
export const JOB_RESULT_LIMIT_BYTES = 64 * 1024;

export const jsonObject = z.record(z.string(), z.json()) as unknown as z.ZodType<JsonObject, JsonObject>;
const stringMap = z.record(z.string(), z.string());

export const endpointSchema = z.object({
  name: z.string(),
  address: z.string(),
  port: z.int().min(1).max(65535),
  url: z.string(),
});

export const provisionRequestSchema = z.object({
  tenant_id: z.uuid(),
  tenant_name: z.string(),
  operation: z.enum(OPERATION_KINDS),
  desired_config: jsonObject,
  /** Absent in requests of older senders: resolved through the API, see worker/compute-resolver.ts. */
  compute_provider: z.string().optional(),
  generation: z.int().min(1),
  execution_id: z.string(),
  /** RFC 3339; by the database's clock. */
  start_before: z.iso.datetime(),
  scopes: z.array(z.string()),
  observed_resource_ids: stringMap,
  labels: stringMap,
  annotations: stringMap,
  api_base_url: z.string(),
  metadata: z.object({
    config_hash: z.string(),
    /** The database that owns the tenant: part of every ownership label. */
    instance_id: z.string(),
    /** Hash of the compute engine configuration at the server: a worker with another one fetches it anew. */
    engine_config_hash: z.string().optional(),
    traceparent: z.string().optional(),
  }),
});
/** Everything a worker needs to run one operation. The same operation always gives the same bytes. */
export type ProvisionRequest = z.infer<typeof provisionRequestSchema>;

export const JOB_OUTCOMES = ["succeeded", "rejected", "gave_up", "expired", "void"] as const;

export const jobResultSchema = z.object({
  outcome: z.enum(JOB_OUTCOMES),
  tenant_id: z.string(),
  generation: z.int(),
  config_hash: z.string(),
  observed_config: jsonObject.nullable(),
  observed_resource_ids: stringMap,
  endpoints: z.array(endpointSchema),
  health: z.enum(HEALTHS),
  scope: z.string().nullable(),
  /** For a delete: how many times in a row, settle time apart, every scope was seen empty. */
  absent_observations: z.int().min(0),
  error: z
    .object({
      code: z.string(),
      message: z.string(),
      /** With code `stale_generation`: the generation that reality is at. */
      observed_generation: z.int().optional(),
    })
    .nullable(),
});
/**
 * What a job reports. Only `rejected` makes a tenant `failed`; `gave_up` is tried again by the reconciler,
 * `expired` and `void` touched nothing.
 */
export type JobResult = z.infer<typeof jobResultSchema>;

/** The answer of an execution whose id was occupied by a stop. It echoes nothing: it knows nothing. */
export const VOID_RESULT: JobResult = {
  outcome: "void",
  tenant_id: "",
  generation: 0,
  config_hash: "",
  observed_config: null,
  observed_resource_ids: {},
  endpoints: [],
  health: "unknown",
  scope: null,
  absent_observations: 0,
  error: null,
};

/** The body by which a stop occupies an execution id that the engine has never seen. */
export const VOID_REQUEST = { void: true } as const;

export const QUERY_METHODS = ["observe", "plan", "list", "logs"] as const;
export type QueryMethod = (typeof QUERY_METHODS)[number];

export const queryRequestSchema = z.object({
  compute_provider: z.string(),
  instance_id: z.string(),
  /** `observe`, `logs`: the tenants to look at; at most 100. */
  tenants: z
    .array(z.object({ tenant_id: z.uuid(), scopes: z.array(z.string()) }))
    .max(100)
    .default([]),
  /** `plan`: the spec to compare with reality. */
  spec: z
    .object({
      tenant_id: z.uuid(),
      tenant_name: z.string(),
      generation: z.int(),
      config_hash: z.string(),
      desired_config: jsonObject,
    })
    .optional(),
  /** `logs`: the newest bytes to return, at most 256 KiB. */
  tail_bytes: z.int().min(1).max(262_144).default(16_384),
});
/** Read-only question to a worker. */
export type QueryRequest = z.infer<typeof queryRequestSchema>;

const observationSchema = z.object({
  presence: z.enum(["present", "absent", "unknown"]),
  generation: z.int().nullable(),
  config_hash: z.string().nullable(),
  health: z.enum(HEALTHS),
  message: z.string().nullable(),
  config: jsonObject.nullable(),
  resource_ids: stringMap,
  endpoints: z.array(endpointSchema),
  scope: z.string(),
});

/** The answer to `observe`: one observation for each tenant, in the order asked. */
export const observeAnswerSchema = z.object({ observations: z.array(observationSchema) });
export type ObserveAnswer = z.infer<typeof observeAnswerSchema>;

/** The answer to `plan`. */
export const planAnswerSchema = z.object({
  observation: observationSchema,
  changes: z
    .array(
      z.object({
        action: z.enum(CHANGE_ACTIONS),
        resource: z.string(),
        fields: z.array(z.string()),
        downtime: z.boolean(),
      }),
    )
    .max(1_000),
});

/** The answer to `logs`. */
export const logsAnswerSchema = z.object({ logs: z.string() });

/** The answer to `list`. `truncated`: there is more than one answer may hold. */
export const listAnswerSchema = z.object({
  truncated: z.boolean(),
  resources: z.array(
    z.object({
      tenant_id: z.uuid(),
      generation: z.int().nullable(),
      scope: z.string(),
      resource_ids: stringMap,
    }),
  ),
});
export type ListAnswer = z.infer<typeof listAnswerSchema>;
