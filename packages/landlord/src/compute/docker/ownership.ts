/**
 * How what belongs to a tenant is named and labelled. Everything that a worker must know after a restart is in these
 * names and labels. Names are unique at a daemon, so they are what only one of several racing workers gets.
 */
import { createHash } from "node:crypto";
import type { JsonObject } from "../../domain/json.ts";
import { isJsonObject } from "../../domain/json.ts";
import { ComputeError, type ComputeSpec, type Owner } from "../provider.ts";

const TENANT_ID = /^[A-Za-z0-9-]{1,64}$/;
const INSTANCE_HASH_LENGTH = 8;

/** The keys of our labels. */
export interface LabelKeys {
  readonly instance: string;
  readonly tenant: string;
  readonly tenantName: string;
  readonly generation: string;
  readonly configHash: string;
  readonly config: string;
  /** `fence`, `network` or `data`; containers have none. */
  readonly role: string;
}

export function labelKeys(prefix: string): LabelKeys {
  return {
    instance: `${prefix}.instance`,
    tenant: `${prefix}.tenant`,
    tenantName: `${prefix}.tenant-name`,
    generation: `${prefix}.generation`,
    configHash: `${prefix}.config-hash`,
    config: `${prefix}.config`,
    role: `${prefix}.role`,
  };
}

/** Begins the name of everything of a tenant. Two databases may know a tenant of the same id; their names differ. */
export function tenantBase(prefix: string, { instanceId, tenantId }: Owner): string {
  if (!TENANT_ID.test(tenantId) || instanceId === "" || instanceId.length > 255) {
    throw new ComputeError("invalid_owner", "A tenant id is 1 to 64 letters, digits and -.", {
      retryable: false,
    });
  }
  const instance = createHash("sha256").update(instanceId).digest("hex").slice(0, INSTANCE_HASH_LENGTH);
  return `${prefix}-${instance}-${tenantId.toLowerCase()}`;
}

export function containerName(base: string, generation: number): string {
  return `${base}-g${generation}`;
}

/**
 * The name of a container that was replaced and may be removed from `untilSeconds` (unix time of the daemon's clock).
 * The generation keeps its own name free of it, and every worker can read when its time is over.
 */
export function retiredName(base: string, generation: number, untilSeconds: number): string {
  return `${base}-g${generation}-until-${untilSeconds}`;
}

export interface ParsedName {
  readonly generation: number;
  /** Null for a container that was not replaced. */
  readonly retiredUntilSeconds: number | null;
}

/** Null when the name is none of the tenant's: such a container is not ours, whatever its labels say. */
export function parseContainerName(base: string, name: string): ParsedName | null {
  if (!name.startsWith(`${base}-g`)) return null;
  const match = /^([0-9]{1,15})(?:-until-([0-9]{1,15}))?$/.exec(name.slice(base.length + 2));
  if (match === null) return null;
  return {
    generation: Number(match[1]),
    retiredUntilSeconds: match[2] === undefined ? null : Number(match[2]),
  };
}

export interface Fence {
  readonly generation: number;
  readonly kind: "applied" | "destroyed";
  readonly configHash: string;
}

/** One name for each generation and kind: creating it decides who was first. */
export function fenceName(base: string, { generation, kind }: Pick<Fence, "generation" | "kind">): string {
  return `${base}-fence-${generation}-${kind}`;
}

export function parseFenceName(base: string, name: string): Pick<Fence, "generation" | "kind"> | null {
  if (!name.startsWith(`${base}-fence-`)) return null;
  const match = /^([0-9]{1,15})-(applied|destroyed)$/.exec(name.slice(base.length + "-fence-".length));
  if (match === null) return null;
  return { generation: Number(match[1]), kind: match[2] as Fence["kind"] };
}

/** A higher generation is higher, and of one generation its end is. */
export function compareFences(
  a: Pick<Fence, "generation" | "kind">,
  b: Pick<Fence, "generation" | "kind">,
): number {
  if (a.generation !== b.generation) return a.generation - b.generation;
  return Number(a.kind === "destroyed") - Number(b.kind === "destroyed");
}

export function volumeName(base: string, source: string): string {
  return `${base}-data-${source}`;
}

export function networkNameOf(base: string): string {
  return `${base}-net`;
}

/** The labels by which everything of a tenant is found. */
export function ownerLabels(keys: LabelKeys, { instanceId, tenantId }: Owner): Record<string, string> {
  return { [keys.instance]: instanceId, [keys.tenant]: tenantId };
}

/** Filter of a list: everything of the tenant, or of the whole instance without one. */
export function ownerFilter(
  keys: LabelKeys,
  owner: { readonly instanceId: string; readonly tenantId?: string },
  role?: string,
): { label: string[] } {
  return {
    label: [
      `${keys.instance}=${owner.instanceId}`,
      ...(owner.tenantId === undefined ? [] : [`${keys.tenant}=${owner.tenantId}`]),
      ...(role === undefined ? [] : [`${keys.role}=${role}`]),
    ],
  };
}

/**
 * The config as a container carries it: names of environment variables only, since labels are shown wherever
 * containers are listed. Their values are in the container itself.
 */
export function configLabel(config: ComputeSpec["config"]): string {
  const { env } = config;
  return JSON.stringify(isJsonObject(env) ? { ...config, env: Object.keys(env) } : config);
}

/** The config that a container was made from; null when its label is damaged. */
export function configOfLabel(label: string | undefined, containerEnv: readonly string[]): JsonObject | null {
  let config: unknown;
  try {
    config = JSON.parse(label ?? "");
  } catch {
    return null;
  }
  if (!isJsonObject(config)) return null;
  const { env } = config;
  if (!Array.isArray(env)) return config;
  const values = new Map(
    containerEnv.map((entry) => {
      const at = entry.indexOf("=");
      return [entry.slice(0, at), entry.slice(at + 1)] as const;
    }),
  );
  const names = env.filter((name): name is string => typeof name === "string");
  return { ...config, env: Object.fromEntries(names.map((name) => [name, values.get(name) ?? ""])) };
}
