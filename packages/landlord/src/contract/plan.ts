/** Wire shapes of plans: what a write would change, told before it is made. */
import { z } from "zod";
import { CHANGE_ACTIONS } from "../domain/plan.ts";
import { HEALTHS } from "../domain/tenant.ts";
import { looseObject } from "./json.ts";
import { updateTenantSchema } from "./tenant.ts";

const action = z.enum(CHANGE_ACTIONS);

export const planSchema = z
  .object({
    tenant_id: z.string().nullable().meta({ description: "null: the tenant does not exist yet." }),
    tenant_name: z.string(),
    hash: z
      .string()
      .meta({ description: "Send it as If-Plan with the write: it is refused once the plan is stale." }),
    action: action.meta({
      description: "The heaviest of the changes: none, in_place, create, replace, destroy.",
    }),
    downtime: z.boolean(),
    generation: z.int().meta({ description: "The generation that the write would bring." }),
    fields: z
      .array(
        z.object({
          pointer: z.string().meta({ description: "JSON pointer into the body of the write" }),
          from: z
            .unknown()
            .optional()
            .meta({ description: "Absent: it was not there. Secrets are redacted." }),
          to: z.unknown().optional().meta({ description: "Absent: it goes." }),
          action: action.nullable().meta({ description: "null: compute is not concerned." }),
        }),
      )
      .meta({ description: "What the write changes in the desired state; at most 1,000." }),
    changes: z
      .array(
        z.object({
          action,
          resource: z.string().meta({ description: "In the compute provider's words" }),
          fields: z.array(z.string()).meta({ description: "JSON pointers into compute_config" }),
          downtime: z.boolean(),
        }),
      )
      .meta({ description: "What happens to compute, as a worker that looked at it says." }),
    observed: z
      .object({
        presence: z.enum(["present", "absent", "unknown"]),
        generation: z.int().nullable(),
        health: z.enum(HEALTHS),
        message: z.string().nullable(),
        scope: z.string(),
      })
      .nullable()
      .meta({ description: "What was seen just now; null when the change does not concern compute." }),
    desired_config: looseObject.meta({
      description: "As it would be stored: defaults merged in, secrets redacted.",
    }),
  })
  .meta({ id: "Plan", description: "What a write would change. Nothing is stored." });
export type PlanBody = z.infer<typeof planSchema>;

export const planRequestSchema = updateTenantSchema.meta({
  id: "PlanRequest",
  description: "The body of the update to plan. Empty: what is missing to the present desired state.",
});
