import {
  canonicalJson,
  isJsonObject,
  type Json,
  type JsonObject,
  pointerSegment,
} from "../../domain/json.ts";
import type { ComputeSpec, Observation, PlannedChange } from "../provider.ts";

/** Pointers (RFC 6901) to everything that differs; arrays are compared as one value. In key order. */
export function changedFields(before: JsonObject, after: JsonObject, prefix = ""): readonly string[] {
  const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
  return keys.flatMap((key) => {
    const pointer = `${prefix}${pointerSegment(key)}`;
    const old: Json | undefined = before[key];
    const wanted: Json | undefined = after[key];
    if (isJsonObject(old) && isJsonObject(wanted)) return changedFields(old, wanted, pointer);
    const same = old !== undefined && wanted !== undefined && canonicalJson(old) === canonicalJson(wanted);
    return same ? [] : [pointer];
  });
}

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
