import { createHash } from "node:crypto";

/** Any value that JSON can carry. */
export type Json = null | boolean | number | string | readonly Json[] | JsonObject;

/** A JSON object. Keys whose value is `undefined` do not exist. */
export interface JsonObject {
  readonly [key: string]: Json;
}

/** True for objects that are neither arrays nor null. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * The one text of a JSON value: keys sorted by UTF-16 code unit, no white space, numbers and strings as
 * `JSON.stringify` prints them (RFC 8785, which builds on the same ECMAScript rules).
 */
export function canonicalJson(value: Json): string {
  if (Array.isArray(value)) return `[${value.map((item: Json) => canonicalJson(item)).join(",")}]`;
  if (isJsonObject(value)) {
    const members = Object.keys(value)
      .sort()
      .filter((key) => value[key] !== undefined)
      .map((key) => `${JSON.stringify(key)}:${canonicalJson(value[key] as Json)}`);
    return `{${members.join(",")}}`;
  }
  return JSON.stringify(value);
}

/** SHA-256 over the canonical JSON, in lower-case hex (64 characters). */
export function configHash(config: JsonObject): string {
  return createHash("sha256").update(canonicalJson(config)).digest("hex");
}

/** A key as one segment of a JSON pointer, its slash included (RFC 6901, section 3). */
export function pointerSegment(key: string): string {
  return `/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`;
}

/** JSON merge patch (RFC 7396): null removes a member, objects merge, anything else replaces. */
export function mergePatch(target: Json | undefined, patch: Json): Json {
  if (!isJsonObject(patch)) return patch;
  const merged = new Map<string, Json>(isJsonObject(target) ? Object.entries(target) : []);
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) merged.delete(key);
    else merged.set(key, mergePatch(merged.get(key), value));
  }
  // fromEntries defines own properties, so a key named `__proto__` stays data.
  return Object.fromEntries(merged);
}

/** `value` laid over `defaults`: objects merge key by key, everything else in `value` wins, null included. */
export function withDefaults(value: JsonObject, defaults: JsonObject): JsonObject {
  const merged = new Map<string, Json>(Object.entries(defaults));
  for (const [key, own] of Object.entries(value)) {
    const fallback = merged.get(key);
    merged.set(key, isJsonObject(own) && isJsonObject(fallback) ? withDefaults(own, fallback) : own);
  }
  return Object.fromEntries(merged);
}
