/**
 * Providers that come from packages: a block `compute.<name>` or `workflow.<name>` with the key `package`. They have to
 * be known before the configuration can be checked, because each brings the schema of its own block.
 */
import { readFileSync } from "node:fs";
import path from "node:path";
import { parse as parseYaml } from "yaml";
import { isJsonObject } from "../domain/json.ts";
import { environment } from "./environment.ts";
import { findConfigFile } from "./file.ts";
import type { FlagSetting } from "./load.ts";

export const PLUGIN_KINDS = ["compute", "workflow"] as const;
export type PluginKind = (typeof PLUGIN_KINDS)[number];

/** A package that the configuration names. */
export interface PluginReference {
  readonly kind: PluginKind;
  /** The key of its block, and the provider's name. */
  readonly name: string;
  /** A package's name, or a path; relative to `folder`. */
  readonly package: string;
  /** Where the package is looked for: the folder of the file that names it, or the start folder. */
  readonly folder: string;
}

const VARIABLE = /^LANDLORD_(COMPUTE|WORKFLOW)__([A-Z0-9_]+?)__PACKAGE$/;

/**
 * Every package that file, environment and flags name, in the order of precedence. What is wrong with these sources is
 * left for `loadConfig` to tell.
 */
export function findPlugins(options: {
  readonly configFile?: string | undefined;
  readonly flags?: readonly FlagSetting[];
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
}): readonly PluginReference[] {
  const { env = environment(), cwd = process.cwd() } = options;
  const found = new Map<string, PluginReference>();
  const add = (kind: PluginKind, name: string, value: unknown, folder: string): void => {
    if (typeof value !== "string" || value === "") return;
    found.set(`${kind}.${name}`, { kind, name, package: value, folder });
  };
  const file = findConfigFile({ explicit: options.configFile, env, cwd });
  const document = file === null ? null : readQuietly(file);
  for (const kind of PLUGIN_KINDS) {
    const section = isJsonObject(document) ? document[kind] : null;
    for (const [name, block] of Object.entries(isJsonObject(section) ? section : {})) {
      if (isJsonObject(block)) add(kind, name, block["package"], path.dirname(file ?? cwd));
    }
  }
  for (const [variable, value] of Object.entries(env)) {
    const [, kind, name] = VARIABLE.exec(variable) ?? [];
    if (kind !== undefined && name !== undefined) {
      add(kind.toLowerCase() as PluginKind, name.toLowerCase().replaceAll("_", "-"), value, cwd);
    }
  }
  for (const { key, value } of options.flags ?? []) {
    const [section, name, last, ...more] = key.split(".");
    const kind = PLUGIN_KINDS.find((each) => each === section);
    if (kind === undefined || name === undefined || last !== "package" || more.length > 0) continue;
    add(kind, name, value, cwd);
  }
  return [...found.values()];
}

function readQuietly(file: string): unknown {
  try {
    return parseYaml(readFileSync(file, "utf8"));
  } catch {
    return null;
  }
}
