/** Wire shapes of tenants. Everything that the API says is declared here once; types and OpenAPI are derived. */
import { z } from "zod";
import { CONDITION_TYPES, SUB_STATES, TENANT_STATUSES } from "../domain/tenant.ts";
import { messageOf } from "../domain/errors.ts";
import { parseSelector } from "../domain/selector.ts";
import { endpointSchema } from "./job.ts";
import { looseObject, timestamp } from "./json.ts";

export const COMPUTE_CONFIG_LIMIT_BYTES = 128 * 1024;
const MAP_ENTRIES_LIMIT = 64;
const PAGE_SIZE_LIMIT = 500;
export const PAGE_SIZE_DEFAULT = 50;

const UUID_PATTERN = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const RESERVED_NAMES = new Set(["by-name"]);

function isUuid(text: string): boolean {
  return UUID_PATTERN.test(text);
}

const tenantNameSchema = z
  .string()
  .min(1)
  .max(255)
  .regex(/^[a-z0-9-]+$/, "must consist of a-z, 0-9 and -")
  .refine((name) => !isUuid(name), "must not look like a UUID: it would be taken for an id")
  .refine((name) => !RESERVED_NAMES.has(name), "is reserved")
  .meta({ description: "1 to 255 of a-z, 0-9 and -. Unique among living tenants." });

const mapKey = z.string().min(1).max(253);
/** Zod's own words for a bad key do not say what is wrong with it. */
const mapErrors: z.core.$ZodRecordParams = {
  error: (issue) =>
    issue.code === "invalid_key" ? "is a key that does not have 1 to 253 characters" : undefined,
};
const labelMap = (valueLimit: number) =>
  z
    .record(mapKey, z.string().max(valueLimit), mapErrors)
    .refine(
      (map) => Object.keys(map).length <= MAP_ENTRIES_LIMIT,
      `must have at most ${MAP_ENTRIES_LIMIT} entries`,
    );

const labelsSchema = labelMap(1_024).meta({ description: "Labels: for selection and ownership." });
const annotationsSchema = labelMap(16_384).meta({
  description: "Annotations: free text, kept and given back.",
});

const computeConfigSchema = looseObject
  .refine(
    (config) => Buffer.byteLength(JSON.stringify(config)) <= COMPUTE_CONFIG_LIMIT_BYTES,
    `must be at most ${COMPUTE_CONFIG_LIMIT_BYTES} bytes of JSON`,
  )
  .meta({ description: "What the compute provider should run; its schema is at /v1/compute/config." });

const computeProviderSchema = z.string().min(1).max(100);

export const createTenantSchema = z
  .strictObject({
    name: tenantNameSchema,
    compute_config: computeConfigSchema,
    compute_provider: computeProviderSchema.optional(),
    labels: labelsSchema.optional(),
    annotations: annotationsSchema.optional(),
  })
  .meta({ id: "CreateTenant" });
export type CreateTenantBody = z.infer<typeof createTenantSchema>;

export const updateTenantSchema = z
  .strictObject({
    name: tenantNameSchema.optional(),
    compute_config: computeConfigSchema.optional(),
    compute_provider: computeProviderSchema.optional(),
    labels: labelsSchema.optional(),
    annotations: annotationsSchema.optional(),
  })
  .meta({ id: "UpdateTenant", description: "What is left out stays as it is." });
export type UpdateTenantBody = z.infer<typeof updateTenantSchema>;

export const applyTenantSchema = z
  .strictObject({
    compute_config: computeConfigSchema,
    compute_provider: computeProviderSchema.optional(),
    labels: labelsSchema.optional(),
    annotations: annotationsSchema.optional(),
  })
  .meta({
    id: "ApplyTenant",
    description: "The whole desired state: labels and annotations that are left out are removed.",
  });
export type ApplyTenantBody = z.infer<typeof applyTenantSchema>;

export const rollbackSchema = z
  .strictObject({
    generation: z
      .int()
      .min(1)
      .optional()
      .meta({ description: "Without it: the newest generation with another configuration." }),
  })
  .meta({ id: "Rollback" });

const nullableMap = z.record(mapKey, z.union([z.string(), z.null()]), mapErrors).nullable();

export const patchTenantSchema = z
  .strictObject({
    name: tenantNameSchema.optional(),
    compute_config: looseObject.optional(),
    compute_provider: computeProviderSchema.optional(),
    labels: nullableMap.optional(),
    annotations: nullableMap.optional(),
  })
  .meta({ id: "PatchTenant", description: "JSON merge patch (RFC 7396) on the body of an update." });
export type PatchTenantBody = z.infer<typeof patchTenantSchema>;

const conditionSchema = z
  .object({
    type: z.enum(CONDITION_TYPES),
    status: z.enum(["True", "False", "Unknown"]),
    reason: z.string(),
    message: z.string(),
    observed_generation: z.int(),
    since: timestamp,
  })
  .meta({ id: "Condition" });

export const tenantSchema = z
  .object({
    id: z.string().meta({ format: "uuid" }),
    name: z.string(),
    status: z.enum(TENANT_STATUSES),
    status_message: z.string(),
    intent: z
      .enum(["present", "archived", "deleted"])
      .meta({ description: "What its clients want: the status may still be on the way." }),
    compute_provider: z.string(),
    desired_config: looseObject,
    compute_config: looseObject.meta({ description: "The same as desired_config." }),
    observed_config: looseObject,
    observed_resource_ids: z.record(z.string(), z.string()),
    endpoints: z.array(endpointSchema),
    workflow_execution_id: z.string().optional(),
    workflow_sub_state: z.enum(SUB_STATES).optional(),
    workflow_retry_count: z.int().optional(),
    workflow_error_message: z.string().optional(),
    generation: z.int().meta({ description: "Counts changes of the desired state." }),
    observed_generation: z.int().meta({ description: "The newest generation that reality reached." }),
    paused: z.boolean(),
    conditions: z.array(conditionSchema),
    labels: z.record(z.string(), z.string()),
    annotations: z.record(z.string(), z.string()),
    version: z.int().meta({ description: "Counts client writes; the ETag." }),
    created_at: timestamp,
    updated_at: timestamp,
  })
  .meta({ id: "Tenant" });
export type TenantBody = z.infer<typeof tenantSchema>;

export const tenantListSchema = z
  .object({
    tenants: z.array(tenantSchema),
    total: z.int().meta({ description: "Of all pages; with a page_token: as it was at the first page." }),
    limit: z.int(),
    offset: z.int(),
    next_page_token: z
      .string()
      .nullable()
      .meta({ description: "Send it as page_token to get what follows; null: this is the end." }),
  })
  .meta({ id: "TenantList" });

/** What a forced delete did not wait for. */
export const deletedTenantSchema = tenantSchema
  .extend({
    may_remain: z
      .object({
        scopes: z.array(z.string()).meta({ description: "Hosts, daemons or clusters where its compute was" }),
        resource_ids: z.record(z.string(), z.string()),
        execution_id: z.string().nullable().meta({ description: "An execution that may still be running" }),
      })
      .optional()
      .meta({ description: "Only after `force=true`: what may be left, until a sweep has removed it." }),
  })
  .meta({ id: "DeletedTenant" });

const queryBoolean = z.enum(["true", "false"]).transform((text) => text === "true");
const queryInteger = (schema: z.ZodInt) =>
  z
    .string()
    .regex(/^\d{1,9}$/, "must be a whole number")
    .transform(Number)
    .pipe(schema);

export const pageQuerySchema = z.strictObject({
  limit: queryInteger(z.int().min(1).max(PAGE_SIZE_LIMIT)).optional(),
  offset: queryInteger(z.int().min(0)).optional(),
});

/** Text on the wire, a Selector inside. */
export const selectorSchema = z
  .string()
  .transform((text, context) => {
    try {
      return parseSelector(text);
    } catch (error) {
      context.issues.push({ code: "custom", message: messageOf(error), input: text });
      return z.NEVER;
    }
  })
  .meta({
    description:
      "Label selector: key=value, key!=value, key in (a,b), key notin (a,b), key, !key; joined by commas.",
    example: "env=prod,tier!=free",
  });

export const listTenantsQuerySchema = pageQuerySchema.extend({
  include_deleted: queryBoolean.optional().meta({ description: "Also list archived tenants." }),
  workflow_sub_state: z.enum(SUB_STATES).optional(),
  has_workflow_error: queryBoolean.optional(),
  min_retry_count: queryInteger(z.int().min(0)).optional(),
  status: z
    .string()
    .transform((text) => text.split(","))
    .pipe(z.array(z.enum(TENANT_STATUSES)).max(TENANT_STATUSES.length))
    .optional()
    .meta({
      description: "One or more statuses, joined by commas. Naming `archived` lists archived tenants too.",
    }),
  selector: selectorSchema.optional(),
  name_prefix: z
    .string()
    .regex(/^[a-z0-9-]{1,255}$/, "must consist of a-z, 0-9 and -")
    .optional(),
  page_token: z
    .string()
    .max(1_024)
    .optional()
    .meta({ description: "The next_page_token of the page before, with the same filters. Excludes offset." }),
});

export const tenantParamsSchema = z.object({
  id: z
    .string()
    .max(255)
    .refine((text) => isUuid(text) || /^[a-z0-9-]+$/.test(text), "must be a UUID or a tenant's name")
    .meta({ description: "A tenant's UUID or name" }),
});

export const tenantNameParamsSchema = z.object({ name: tenantNameSchema });

export const transitionSchema = z
  .object({
    tenant_id: z.string(),
    tenant_name: z.string(),
    from_status: z.enum(TENANT_STATUSES).nullable(),
    to_status: z.enum(TENANT_STATUSES).nullable().meta({ description: "null: the tenant was removed" }),
    reason: z.string(),
    message: z.string(),
    generation: z.int(),
    actor: z.string(),
    request_id: z.string().nullable(),
    operation_id: z.string().nullable(),
    at: timestamp,
  })
  .meta({ id: "Transition" });

export const generationSchema = z
  .object({
    generation: z.int(),
    intent: z.enum(["present", "archived", "deleted"]),
    compute_provider: z.string(),
    compute_config: looseObject,
    config_hash: z.string(),
    actor: z.string(),
    request_id: z.string().nullable(),
    created_at: timestamp,
  })
  .meta({ id: "Generation", description: "A desired state that a tenant had" });

export const generationListSchema = z
  .object({ generations: z.array(generationSchema) })
  .meta({ id: "GenerationList" });

export const historySchema = z.object({ transitions: z.array(transitionSchema) }).meta({ id: "History" });

export const operationSchema = z
  .object({
    id: z.string(),
    tenant_id: z.string(),
    kind: z.enum(["create", "update", "delete"]),
    generation: z.int(),
    execution_id: z.string(),
    workflow_provider: z.string(),
    outcome: z
      .enum([
        "succeeded",
        "rejected",
        "failed",
        "expired",
        "lost",
        "superseded",
        "stale",
        "ignored",
        "abandoned",
      ])
      .nullable()
      .meta({ description: "null while it is not finished" }),
    error: z.object({ code: z.string(), message: z.string() }).nullable(),
    sub_state: z.enum(SUB_STATES).nullable(),
    retry_count: z.int(),
    stop_reason: z.string().nullable(),
    created_at: timestamp,
    invoked_at: timestamp.nullable(),
    finished_at: timestamp.nullable(),
  })
  .meta({ id: "Operation" });

export const operationListSchema = z
  .object({ operations: z.array(operationSchema) })
  .meta({ id: "OperationList" });

export const operationParamsSchema = tenantParamsSchema.extend({ operation_id: z.uuid() });

export const operationEventsSchema = z
  .object({ events: z.array(z.object({ at: timestamp, phase: z.string(), message: z.string() })) })
  .meta({ id: "OperationEvents" });

export const executionParamsSchema = z.object({
  execution_id: z
    .string()
    .max(255)
    .regex(/^[\x21-\x7e]+$/, "must be printable ASCII"),
});

export const progressSchema = z
  .strictObject({ phase: z.string().min(1).max(100), message: z.string().max(4_096) })
  .meta({ id: "Progress" });
