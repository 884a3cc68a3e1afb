import { canonicalJson, isJsonObject, type Json, type JsonObject, pointerSegment } from "../domain/json.ts";

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
