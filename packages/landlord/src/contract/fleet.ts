/** Wire shapes of what concerns the fleet: explanations, the summary, workers, engines, logs. */
import { z } from "zod";
import { EXPLANATION_REASONS } from "../domain/explain.ts";
import { LANE_NAMES, SUB_STATES, TENANT_STATUSES } from "../domain/tenant.ts";
import { timestamp } from "./json.ts";

const lane = z.enum(LANE_NAMES);

const workerSchema = z
  .object({
    id: z.string(),
    engine: z.string(),
    workflows: z.array(z.string()).meta({ description: "Names of the workflows that it serves" }),
    compute_providers: z.array(z.string()),
    scopes: z.array(z.string()).meta({ description: "Hosts, daemons or clusters whose jobs only it takes" }),
    version: z.string(),
    started_at: timestamp,
    registered_at: timestamp.nullable().meta({ description: "When the engine last confirmed it" }),
    last_error: z.string().nullable().meta({ description: "Why it is not registered" }),
    last_seen_at: timestamp,
    live: z.boolean().meta({ description: "It reported within the last 45 s." }),
  })
  .meta({ id: "Worker" });

export const workerListSchema = z.object({ workers: z.array(workerSchema) }).meta({ id: "WorkerList" });

export const workerParamsSchema = z.object({
  id: z
    .string()
    .max(200)
    .regex(/^[\x21-\x7e]+$/, "must be printable ASCII"),
});

const names = z.array(z.string().min(1).max(500)).max(1_000);
export const workerReportSchema = z
  .strictObject({
    engine: z.string().min(1).max(100),
    workflows: names,
    compute_providers: names,
    scopes: names,
    version: z.string().max(100),
    started_at: z.iso.datetime(),
    registered_at: z.iso.datetime().nullable(),
    last_error: z.string().max(2_000).nullable(),
  })
  .meta({ id: "WorkerReport" });
export type WorkerReport = z.infer<typeof workerReportSchema>;

export const explanationSchema = z
  .object({
    tenant_id: z.string(),
    tenant_name: z.string(),
    status: z.enum(TENANT_STATUSES),
    settled: z.boolean().meta({ description: "It waits for nobody but its clients." }),
    stalled: z.boolean().meta({ description: "Past the operation deadline" }),
    reason: z.enum(EXPLANATION_REASONS).meta({ description: "Stable; branch on this." }),
    message: z.string().meta({ description: "One sentence: what it is, or what it waits for and why" }),
    what_to_do: z.array(z.string()).meta({ description: "Next steps for a person; empty for none." }),
    since: timestamp,
    next_attempt_at: timestamp.nullable(),
    attempts: z.int().meta({ description: "Attempts at this generation that did not succeed" }),
    queue: z
      .object({
        lane,
        owner: z.string(),
        position: z
          .int()
          .nullable()
          .meta({ description: "Tenants that come first, at most 10,000; null: it does not queue now." }),
      })
      .nullable(),
    execution: z
      .object({
        operation_id: z.string(),
        kind: z.enum(["create", "update", "delete"]),
        generation: z.int(),
        execution_id: z.string(),
        workflow_provider: z.string(),
        workflow: z.string(),
        sub_state: z.enum(SUB_STATES).nullable(),
        retry_count: z.int(),
        started_at: timestamp.nullable(),
        stop_reason: z.string().nullable(),
        progress: z.string().nullable().meta({ description: "The last hint of its worker" }),
        link: z.string().nullable().meta({ description: "Where the engine shows it" }),
      })
      .nullable(),
    last_error: z.object({ code: z.string(), message: z.string() }).nullable(),
    workers: z
      .array(workerSchema)
      .meta({ description: "Those that could serve it, live ones first; at most 20." }),
  })
  .meta({ id: "Explanation" });
export type ExplanationBody = z.infer<typeof explanationSchema>;

const countSchema = z.object({
  count: z.int(),
  oldest_at: timestamp.meta({ description: "Since when the one that waits longest is so" }),
});

export const summarySchema = z
  .object({
    total: z.int(),
    by_status: z.record(z.string(), countSchema),
    by_reason: z.record(z.string(), countSchema).meta({
      description: "Unsettled and failed tenants by what they wait for: a code as in the tenant's conditions",
    }),
    paused: z.int(),
    operations_in_flight: z.int(),
    at: timestamp.meta({ description: "When it was counted; at most a few seconds ago." }),
  })
  .meta({ id: "Summary" });

export const workflowProviderListSchema = z
  .object({
    providers: z.array(
      z.object({
        name: z.string(),
        default: z.boolean(),
        reachable: z.boolean(),
        error: z.string().nullable(),
        unreachable_since: timestamp.nullable(),
      }),
    ),
  })
  .meta({ id: "WorkflowProviderList" });

export const logsQuerySchema = z.strictObject({
  tail_bytes: z
    .string()
    .regex(/^\d{1,6}$/, "must be a whole number")
    .transform(Number)
    .pipe(z.int().min(1).max(262_144))
    .optional()
    .meta({ description: "The newest bytes of output to answer; 16,384 by default." }),
});

export const logsSchema = z.object({ logs: z.string() }).meta({ id: "Logs" });
