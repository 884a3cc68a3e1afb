/** The wire form of a job result, as domain/decide reads it. */
import { jobResultSchema, type JobResult } from "../contract/job.ts";
import type { JobReport } from "../domain/decide.ts";

/** Null when the value has not the shape of a job result: an answer that must not be used. */
export function parseJobResult(value: unknown): JobResult | null {
  const parsed = jobResultSchema.safeParse(value);
  return parsed.success ? parsed.data : null;
}

export function toJobReport(result: JobResult): JobReport {
  return {
    outcome: result.outcome,
    tenantId: result.tenant_id,
    generation: result.generation,
    configHash: result.config_hash,
    observedConfig: result.observed_config,
    resourceIds: result.observed_resource_ids,
    endpoints: result.endpoints,
    health: result.health,
    scope: result.scope,
    absentObservations: result.absent_observations,
    error: result.error === null ? null : { code: result.error.code, message: result.error.message },
    staleGeneration:
      result.error?.code === "stale_generation" ? (result.error.observed_generation ?? null) : null,
  };
}
