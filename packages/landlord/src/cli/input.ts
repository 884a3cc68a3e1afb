/** What people type: configuration from text or a file, pairs, durations, the name of a tenant. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parse as parseYaml } from "yaml";
import { parseDuration } from "../config/duration.ts";
import { LandlordError, messageOf } from "../domain/errors.ts";
import { isJsonObject, type JsonObject } from "../domain/json.ts";

/** The command was called wrongly; exit code 2. */
export class UsageError extends LandlordError {
  constructor(message: string, options: { details?: readonly string[]; cause?: unknown } = {}) {
    super("usage", message, options);
  }
}

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** A configuration given as JSON, YAML, `@file` or `file://…`. Throws UsageError. */
export function parseConfigArgument(text: string, cwd: string): JsonObject {
  const file = fileOf(text, cwd);
  const source = file === null ? text : readText(file);
  const where = file ?? "--config";
  let value: unknown;
  try {
    value = parseYaml(source);
  } catch (error) {
    throw new UsageError(`${where} is neither JSON nor YAML`, {
      details: messageOf(error).split("\n"),
      cause: error,
    });
  }
  if (isJsonObject(value)) return value;
  const details = file === null ? [`to read a file, write --config @${text}`] : [];
  throw new UsageError(`${where} must be an object like {"command": ["sleep", "60"]}`, { details });
}

function fileOf(text: string, cwd: string): string | null {
  if (text.startsWith("@")) return path.resolve(cwd, text.slice(1));
  if (!text.startsWith("file://")) return null;
  return text.startsWith("file:///") ? fileURLToPath(text) : path.resolve(cwd, text.slice("file://".length));
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new UsageError(`cannot read ${file}`, { details: [messageOf(error)], cause: error });
  }
}

/** `key=value` pairs as one object; the value may be empty and may hold "=". Throws UsageError. */
export function parsePairs(option: string, pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const split = pair.indexOf("=");
      if (split < 1) throw new UsageError(`${option} wants key=value, got "${pair}"`);
      return [pair.slice(0, split), pair.slice(split + 1)];
    }),
  );
}

/** Milliseconds of `--timeout`. Throws UsageError. */
export function parseTimeout(text: string): number {
  const milliseconds = parseDuration(text);
  if (milliseconds === null || milliseconds === 0) {
    throw new UsageError(`--timeout wants a duration such as 30s, 5m or 1h30m, got "${text}"`);
  }
  return milliseconds;
}

export interface TenantReference {
  readonly tenantId?: string | undefined;
  readonly tenantName?: string | undefined;
}

/** The uuid or name of the one tenant that a command is about. Throws UsageError. */
export function parseTenant(positional: string | undefined, options: TenantReference): string {
  const given = [positional, options.tenantId, options.tenantName].filter((each) => each !== undefined);
  const [tenant] = given;
  if (tenant === undefined || tenant === "")
    throw new UsageError("name a tenant: --tenant-name NAME or --tenant-id UUID");
  if (given.length > 1)
    throw new UsageError("name the tenant once: as an argument, by --tenant-name or by --tenant-id");
  if (options.tenantId !== undefined && !UUID.test(options.tenantId)) {
    throw new UsageError(`--tenant-id wants a UUID, got "${options.tenantId}"; for a name use --tenant-name`);
  }
  return tenant;
}

/** The tenants that a command names, each once; none when a selector names them. Throws UsageError. */
export function parseTenants(
  positional: readonly string[],
  options: TenantReference & { readonly selector?: string | undefined },
): readonly string[] {
  const { tenantId, tenantName, selector } = options;
  const isNamed = positional.length > 0 || tenantId !== undefined || tenantName !== undefined;
  if (selector !== undefined) {
    if (isNamed) throw new UsageError("name tenants, or select them with --selector: not both");
    return [];
  }
  const [first, ...more] = positional;
  return [...new Set([parseTenant(first, options), ...more])];
}

/** A whole number within bounds. Throws UsageError. */
export function parseWhole(option: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < min || value > max) {
    throw new UsageError(`${option} wants a whole number from ${min} to ${max}, got "${text}"`);
  }
  return value;
}
