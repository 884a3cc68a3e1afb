/**
 * Whose a service is, and what it claims to be, in its tags. Tags are written before the configuration that they speak
 * of, and are believed only where the configuration agrees with them.
 */
import type { Tag } from "@aws-sdk/client-ecs";
import type { JsonObject } from "../../domain/json.ts";
import { canonicalJson, isJsonObject } from "../../domain/json.ts";
import type { ComputeSpec, Owner } from "../provider.ts";

const INSTANCE = "landlord:instance";
const TENANT = "landlord:tenant";
const GENERATION = "landlord:generation";
const CONFIG_HASH = "landlord:config-hash";
const CONFIG = "landlord:config-";
/** A value has at most 256 characters of a small set (AWS General Reference, "Tag naming limits"): base64url fits. */
const CHUNK_LENGTH = 250;
/** A resource has at most 50 tags; 20 are the tenant's own. */
const CHUNK_LIMIT = 24;
/** A larger config finds no place in the tags. */
export const CONFIG_LIMIT_BYTES = (CHUNK_LIMIT * CHUNK_LENGTH * 3) / 4;

export interface Claims extends Owner {
  readonly generation: number;
  readonly configHash: string;
  /** Null when the tags that hold it were changed. */
  readonly config: JsonObject | null;
}

export function tagsOf(spec: ComputeSpec, own: Readonly<Record<string, string>>): Tag[] {
  const encoded = Buffer.from(canonicalJson(spec.config)).toString("base64url");
  const count = Math.ceil(encoded.length / CHUNK_LENGTH);
  const chunks = Array.from({ length: count }, (_, index) =>
    encoded.slice(index * CHUNK_LENGTH, (index + 1) * CHUNK_LENGTH),
  );
  const tags: Readonly<Record<string, string>> = {
    ...own,
    [INSTANCE]: spec.instanceId,
    [TENANT]: spec.tenantId,
    [GENERATION]: String(spec.generation),
    [CONFIG_HASH]: spec.configHash,
    // The count goes with the first chunk: chunks of a longer config before this one are left over, and not read.
    ...Object.fromEntries(
      chunks.map((chunk, index) => [`${CONFIG}${index}`, index === 0 ? `${chunks.length}:${chunk}` : chunk]),
    ),
  };
  return Object.entries(tags).map(([key, value]) => ({ key, value }));
}

/** Null when the tags are not ours, or not complete. */
export function claimsOf(tags: readonly Tag[] | undefined): Claims | null {
  const values = new Map((tags ?? []).map(({ key = "", value = "" }) => [key, value]));
  const [instanceId, tenantId] = [values.get(INSTANCE), values.get(TENANT)];
  const generation = Number(values.get(GENERATION));
  const configHash = values.get(CONFIG_HASH);
  if (instanceId === undefined || tenantId === undefined || configHash === undefined) return null;
  if (!Number.isSafeInteger(generation) || generation < 1) return null;
  return { instanceId, tenantId, generation, configHash, config: configIn(values) };
}

function configIn(values: ReadonlyMap<string, string>): JsonObject | null {
  const [, count = "0", first = ""] = /^(\d+):(.*)$/.exec(values.get(`${CONFIG}0`) ?? "") ?? [];
  const rest = Array.from(
    { length: Math.max(0, Number(count) - 1) },
    (_, index) => values.get(`${CONFIG}${index + 1}`) ?? "",
  );
  try {
    const config: unknown = JSON.parse(Buffer.from([first, ...rest].join(""), "base64url").toString("utf8"));
    return isJsonObject(config) ? config : null;
  } catch {
    return null;
  }
}

export function isOwnedBy(claims: Claims | null, owner: Owner): claims is Claims {
  return claims !== null && claims.instanceId === owner.instanceId && claims.tenantId === owner.tenantId;
}
