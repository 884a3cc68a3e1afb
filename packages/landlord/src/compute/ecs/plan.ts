import type { JsonObject } from "../../domain/json.ts";
import { changedFields } from "../../domain/plan.ts";
import type { ComputeSpec, Observation, PlannedChange } from "../provider.ts";

/** Fixed when a service is made. */
const FIXED = new Set(["/launch_type"]);

/**
 * What an apply would do. ECS itself rolls updates out: new tasks run before old ones stop. What a service cannot change
 * means that it is deleted and made anew.
 */
export function planEcs(spec: ComputeSpec, observation: Observation): readonly PlannedChange[] {
  const resource = "service";
  const { presence, config, configHash, generation } = observation;
  if (presence !== "present" || config === null) {
    return [{ action: "create", resource, fields: [], downtime: false }];
  }
  if (configHash === spec.configHash && generation === spec.generation) {
    return [{ action: "none", resource, fields: [], downtime: false }];
  }
  const fields = changedFields(comparable(config), comparable(spec.config));
  const losesNetwork = fields.some((field) => field.startsWith("/subnets")) && !hasSubnets(spec.config);
  const isReplaced = losesNetwork || fields.some((field) => FIXED.has(field));
  return [{ action: isReplaced ? "replace" : "in_place", resource, fields, downtime: isReplaced }];
}

const hasSubnets = ({ subnets }: JsonObject): boolean => Array.isArray(subnets) && subnets.length > 0;

/** How long health is awaited is no part of the service. */
function comparable(config: JsonObject): JsonObject {
  const { health_check: _, ...rest } = config;
  return rest;
}
