/** Wire shapes of watching and waiting. */
import { z } from "zod";
import { selectorSchema, transitionSchema } from "./tenant.ts";

/** Instead of a token: from the oldest event that is kept. */
export const AFTER_OLDEST = "oldest";
export const WAIT_DEFAULT_MS = 30_000;
const WAIT_LIMIT_MS = 5 * 60_000;

/** The data of an event `transition`. */
export const tenantEventSchema = transitionSchema
  .extend({
    labels: z
      .record(z.string(), z.string())
      .meta({ description: "The tenant's, as they were with the transition" }),
  })
  .meta({ id: "TenantEvent" });

const tokenSchema = z.string().min(1).max(200);

export const eventsQuerySchema = z.strictObject({
  after: tokenSchema.optional().meta({
    description: `The id of the last event that was handled: what follows it is sent. \`${AFTER_OLDEST}\`: everything that is kept. Without it: from now on.`,
  }),
  selector: selectorSchema.optional(),
  tenant: z
    .string()
    .regex(/^[a-z0-9-]{1,255}$/i, "must be a UUID or a tenant's name")
    .optional()
    .meta({ description: "Only events of this tenant, by UUID, or by the name that it had then." }),
});

export const eventsHeadersSchema = z.object({
  "last-event-id": tokenSchema.optional().meta({
    description: "The same as `after`, which it overrides: EventSource sends it when it reconnects.",
  }),
});

export const WAIT_GOALS = ["ready", "archived", "deleted", "settled"] as const;
export type WaitGoal = (typeof WAIT_GOALS)[number];

const UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000 };

/** Other parameters are ignored, as they always were here. */
export const waitQuerySchema = z
  .object({
    wait: z.enum(WAIT_GOALS).optional().meta({
      description:
        "Hold the answer back until the tenant is `ready` at its newest generation, `archived`, `deleted` (the answer is 404 then) or `settled` (nothing is under way). A failed tenant is answered at once.",
    }),
    timeout: z
      .string()
      .regex(/^\d{1,6}(ms|s|m)$/, 'must be a duration such as "500ms", "30s" or "5m"')
      .transform((text) => Number.parseInt(text, 10) * (UNITS_MS[text.replace(/^\d+/, "")] ?? 0))
      .pipe(z.int().min(1).max(WAIT_LIMIT_MS, "must be at most 5m"))
      .optional()
      .meta({
        description:
          "How long `wait` may take, at most 5m; 30s without it. The tenant is answered as it is then.",
      }),
  })
  .refine(({ wait, timeout }) => timeout === undefined || wait !== undefined, {
    path: ["timeout"],
    message: "needs `wait`",
  });
export type WaitQuery = z.infer<typeof waitQuerySchema>;
