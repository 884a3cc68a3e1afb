/** `LANDLORD_*` variables as settings: `__` nests, so LANDLORD_HTTP__PORT is http.port. */
import type { z } from "zod";
import { applyText, knownKeys, type Layers, type Source } from "./layers.ts";
import { KEY_ALIASES, replacementOf } from "./moved-keys.ts";
import { shapeOf } from "./schema-walk.ts";
import { closest } from "./suggest.ts";

type Environment = Readonly<Record<string, string | undefined>>;

const PREFIX = "LANDLORD_";
/** Ours, but not settings: where the file is, and where the command line finds the API. */
const RESERVED = new Set(["LANDLORD_CONFIG", "LANDLORD_API_URL", "LANDLORD_API_TOKEN"]);

/**
 * Kubernetes gives every container variables for the services in its namespace. A service named `landlord`
 * makes LANDLORD_SERVICE_HOST, LANDLORD_PORT=tcp://… and so on: refusing them as typos would stop every pod.
 */
function isServiceLink(name: string, value: string): boolean {
  if (name.includes("__")) return false;
  if (/_SERVICE_(?:HOST|PORT(?:_[A-Z0-9_]+)?)$/.test(name)) return true;
  if (/_PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?$/.test(name)) return true;
  return name.endsWith("_PORT") && /^(?:tcp|udp|sctp):\/\//.test(value);
}

/** The variable that sets a dotted key. */
export function variableOf(dottedKey: string): string {
  const segments = dottedKey.split(".").map((segment) => segment.toUpperCase().replace(/[^A-Z0-9]/g, "_"));
  return PREFIX + segments.join("__");
}

/** Lays the environment over the settings so far. An empty variable counts as not set. */
export function applyEnvironment(layers: Layers, env: Environment): void {
  const names = Object.keys(env)
    .filter((name) => name.startsWith(PREFIX) && !RESERVED.has(name))
    .sort();
  for (const name of names) {
    const text = env[name];
    if (text === undefined || text === "" || isServiceLink(name, text)) continue;
    const segments = name.slice(PREFIX.length).split("__");
    if (layers.ignored.has((segments[0] ?? "").toLowerCase())) continue;
    const source: Source = { kind: "environment", name };
    const path = resolve(layers.schema, segments);
    if (path === null) refuse(layers, segments, source);
    else applyText(layers, path, text, source);
  }
}

/** The path that the segments name, upper case and hyphens forgiven; null when there is none. */
function resolve(root: z.ZodType, segments: readonly string[]): string[] | null {
  const alias = KEY_ALIASES.get(segments.join(".").toLowerCase());
  if (alias !== undefined) return alias.split(".");
  const path: string[] = [];
  let schema: z.ZodType | null = root;
  for (const segment of segments) {
    const shape: Readonly<Record<string, z.ZodType>> | null = schema === null ? null : shapeOf(schema);
    if (segment === "") return null;
    if (shape === null) {
      path.push(segment.toLowerCase());
      schema = null;
      continue;
    }
    const key: string | undefined = Object.keys(shape).find((each) => variableOf(each) === PREFIX + segment);
    if (key === undefined) return null;
    path.push(key);
    schema = shape[key] ?? null;
  }
  return path;
}

function refuse(layers: Layers, segments: readonly string[], source: Source & { kind: "environment" }): void {
  const key = segments.join(".").toLowerCase();
  const meant = closest(source.name, knownKeys(layers).map(variableOf));
  const reason =
    replacementOf(key) ??
    (meant === null
      ? "unknown setting; the prefix LANDLORD_ is for settings of Landlord only, so unset or rename it"
      : `unknown setting; did you mean ${meant}?`);
  layers.problems.push({ source, key, reason });
}

/** The environment of this process: the one place that reads it. */
export function environment(): Environment {
  return process.env;
}
