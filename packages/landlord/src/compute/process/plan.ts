import { changedFields } from "../../domain/plan.ts";
import type { ComputeSpec, Observation, PlannedChange } from "../provider.ts";

/**
 * What an apply would do when every change replaces the whole workload: nothing, create it, or replace it. A
 * higher generation of the same config replaces too, because only one generation may serve.
 */
export function planReplacement(
  resource: string,
  spec: ComputeSpec,
  observation: Observation,
): readonly PlannedChange[] {
  const { presence, configHash, generation, config } = observation;
  if (presence !== "present" || config === null) {
    return [{ action: "create", resource, fields: [], downtime: false }];
  }
  if (configHash === spec.configHash && generation === spec.generation) {
    return [{ action: "none", resource, fields: [], downtime: false }];
  }
  return [{ action: "replace", resource, fields: changedFields(config, spec.config), downtime: true }];
}
