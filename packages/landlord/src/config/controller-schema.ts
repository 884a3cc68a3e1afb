/** The section `controller`: the reconciler. */
import { z } from "zod";
import { ANY_SPAN, duration, HOUR, MINUTE, SECOND } from "./duration-schema.ts";

/** What concerns all tenants at once. */
const fleetKeys = {
  resync_interval: duration(ANY_SPAN)
    .default(MINUTE)
    .describe(
      "Time between two looks at the compute of a settled tenant. With many tenants it grows, so that resync_rate holds.",
    ),
  resync_rate: z
    .number()
    .min(0)
    .max(10_000)
    .default(20)
    .describe("Tenants a second that all servers together look at again; 0 for none."),
  max_in_flight: z
    .int()
    .min(1)
    .max(100_000)
    .default(1_000)
    .describe("Unfinished operations of all servers together. A fifth is left for interactive requests."),
  max_repairs_in_flight: z
    .int()
    .min(1)
    .max(10_000)
    .default(10)
    .describe("Repairs of drifted compute at the same time, for each compute provider."),
  compute_limits: z
    .record(
      z.string(),
      z.strictObject({
        max_in_flight: z
          .int()
          .min(1)
          .max(100_000)
          .optional()
          .describe("Unfinished operations at the same time."),
        starts_per_second: z
          .number()
          .min(0.001)
          .max(10_000)
          .optional()
          .describe("Operations started a second."),
      }),
    )
    .default({})
    .describe("Limits of single compute providers, by their names."),
  sweep_interval: duration(ANY_SPAN)
    .default(10 * MINUTE)
    .describe("Time between two comparisons of what providers run with what tenants there are."),
  orphan_grace: duration(ANY_SPAN)
    .default(HOUR)
    .describe("How long compute without a tenant must have been seen before it may be removed."),
  remove_orphans: z
    .boolean()
    .default(false)
    .describe(
      "Remove compute of this instance that belongs to no tenant. If false, it is reported. What deleted tenants left is always removed.",
    ),
};

export const controllerSection = (engineName: z.ZodType<string, string>) =>
  z.strictObject({
    enabled: z
      .boolean()
      .default(true)
      .describe("Run the reconciler in this server. If false, it serves the API only."),
    workflow_provider: engineName
      .optional()
      .describe("Engine that new operations run on. Without it: workflow.default_provider."),
    reconciliation_interval: duration()
      .default(SECOND)
      .describe("How often due tenants are looked for when nothing wakes the reconciler earlier."),
    status_poll_interval: duration().default(SECOND).describe("Time between two looks at a young execution."),
    status_poll_max_interval: duration()
      .default(30 * SECOND)
      .describe("Time between two looks at an old execution; the interval grows up to this."),
    workers: z
      .int()
      .min(1)
      .max(1000)
      .default(64)
      .describe("Tenants that one server reconciles at the same time."),
    workflow_trigger_timeout: duration()
      .default(5 * SECOND)
      .describe("Longest time that one call to the engine may take; at most a third of lease_duration."),
    shutdown_timeout: duration()
      .default(30 * SECOND)
      .describe("How long a stop waits for tenants being reconciled."),
    lease_duration: duration({ minMs: SECOND })
      .default(30 * SECOND)
      .describe("How long a claimed tenant belongs to one server if that server dies."),
    operation_deadline: duration(ANY_SPAN)
      .default(30 * MINUTE)
      .describe("After this time without success a tenant is marked Stalled, and on_deadline applies."),
    on_deadline: z
      .enum(["keep_retrying", "fail"])
      .default("keep_retrying")
      .describe("What happens to an operation past its deadline: go on, or make the tenant failed."),
    backoff_initial: duration().default(SECOND).describe("Wait before the second attempt of an operation."),
    backoff_max: duration()
      .default(5 * MINUTE)
      .describe("Longest wait between two attempts."),
    start_timeout: duration(ANY_SPAN)
      .default(5 * MINUTE)
      .describe("How long after it was recorded a job may still start; a later one does nothing."),
    stop_grace: duration()
      .default(5 * SECOND)
      .describe("How long a cancelled execution may clean up before it is killed."),
    tombstone_retention: duration(ANY_SPAN)
      .default(24 * HOUR)
      .describe("How long a deleted tenant's id, generation and scopes are remembered."),
    history_retention: duration(ANY_SPAN)
      .default(2160 * HOUR)
      .describe("How long transitions and operations are kept."),
    ...fleetKeys,
  });
