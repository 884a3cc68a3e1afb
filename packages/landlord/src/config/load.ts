/** Loads the configuration: defaults, then a YAML file, then the environment, then flags. */
import type { z } from "zod";
import { isJsonObject } from "../domain/json.ts";
import { LandlordError } from "../domain/errors.ts";
import { crossChecks, type Role } from "./checks.ts";
import { applyEnvironment, environment } from "./environment.ts";
import { applyFile, findConfigFile } from "./file.ts";
import {
  applyText,
  applyValue,
  createLayers,
  describeSource,
  locateKey,
  plainSettings,
  type Layers,
  type Problem,
  type Source,
} from "./layers.ts";
import {
  configSchema,
  type ComputeSchemas,
  type Config,
  type WorkerConfig,
  type WorkflowSchemas,
} from "./schema.ts";
import { shapeOf } from "./schema-walk.ts";

/** Each schema is used once: to compile it takes longer than to interpret it. */
const ONCE = { jitless: true } as const;

/** The configuration is wrong; `details` holds one line for each problem. */
export class ConfigError extends LandlordError {}

/** A setting from the command line. */
export interface FlagSetting {
  /** Dotted key, for example "http.port". */
  readonly key: string;
  /** Text is parsed as the key's type wants. */
  readonly value: unknown;
  /** What the user typed, for messages: "--port". */
  readonly flag: string;
}

export interface LoadOptions {
  readonly role: Role;
  /** The schema of each compute provider's block, by provider name. */
  readonly computeSchemas: ComputeSchemas;
  /** The schema of each workflow engine's block that comes from a package. */
  readonly workflowSchemas?: WorkflowSchemas;
  readonly flags?: readonly FlagSetting[];
  /** From `--config-file`; must exist. */
  readonly configFile?: string | undefined;
  /** The process's own by default. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
}

export interface LoadedConfig<Values = Config | WorkerConfig> {
  readonly config: Values;
  /** Where each leaf of `config` came from, by dotted key. */
  readonly sources: ReadonlyMap<string, Source>;
  /** Absolute path of the file that was read; null when there is none. */
  readonly file: string | null;
  readonly schema: z.ZodType;
}

/**
 * The configuration for a role. A worker's never holds the `database` section: neither file nor environment is
 * looked at for it. Throws ConfigError with every problem at once.
 */
export function loadConfig(options: LoadOptions & { readonly role: "worker" }): LoadedConfig<WorkerConfig>;
export function loadConfig(
  options: LoadOptions & { readonly role: Exclude<Role, "worker"> },
): LoadedConfig<Config>;
export function loadConfig(options: LoadOptions): LoadedConfig {
  const { role, computeSchemas, env = environment(), cwd = process.cwd() } = options;
  const schema = configSchema(computeSchemas, {
    withDatabase: role !== "worker",
    workflowSchemas: options.workflowSchemas ?? {},
  });
  const layers = createLayers(schema, role === "worker" ? ["database"] : []);
  const file = findConfigFile({ explicit: options.configFile, env, cwd });
  if (file !== null) applyFile(layers, file, cwd);
  applyEnvironment(layers, env);
  for (const { key, value, flag } of options.flags ?? []) {
    const source: Source = { kind: "flag", flag };
    if (layers.ignored.has(key.split(".")[0] ?? "")) continue;
    if (typeof value === "string") applyText(layers, key.split("."), value, source);
    else applyValue(layers, key.split("."), value, () => source);
  }

  const config = parseSections(layers);
  const sourceOf = (key: string): Source | null => layers.sources.get(key) ?? null;
  layers.problems.push(...crossChecks({ config, role, computeSchemas, sourceOf }));
  if (layers.problems.length > 0) throw configError(layers.problems);
  const complete = withDerived(config as Config);
  return { config: complete, sources: leafSources(complete, layers), file, schema };
}

/** Each section by itself, so that a mistake in one hides none in another. */
function parseSections(layers: Layers): Partial<Config> {
  const settings = plainSettings(layers);
  const parsed: Record<string, unknown> = {};
  for (const [section, schema] of Object.entries(shapeOf(layers.schema) ?? {})) {
    const result = schema.safeParse(settings[section], ONCE);
    if (result.success) parsed[section] = result.data;
    else layers.problems.push(...result.error.issues.flatMap((issue) => problemsOf(layers, section, issue)));
  }
  return parsed;
}

function problemsOf(layers: Layers, section: string, issue: z.core.$ZodIssue): Problem[] {
  const path = [section, ...issue.path.map(String)];
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => ({
      source: locateKey(layers, [...path, key]),
      key: [...path, key].join("."),
      reason: "unknown key",
    }));
  }
  const missing = issue.code === "invalid_type" && valueAt(layers, path) === undefined;
  const message = issue.message.replace(/^Invalid input: /, "");
  const reason = missing ? "is required" : message.charAt(0).toLowerCase() + message.slice(1);
  return [{ source: locateKey(layers, path), key: path.join("."), reason }];
}

function valueAt(layers: Layers, path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (value, key) =>
      isJsonObject(value) || Array.isArray(value)
        ? (value as Readonly<Record<string, unknown>>)[key]
        : undefined,
    plainSettings(layers),
  );
}

function configError(problems: readonly Problem[]): ConfigError {
  const details = problems.map(({ source, key, reason }) =>
    [source === null ? "" : describeSource(source), key, reason].filter((part) => part !== "").join(": "),
  );
  const count = problems.length === 1 ? "one problem" : `${problems.length} problems`;
  return new ConfigError("invalid_config", `The configuration has ${count}; correct it and start again.`, {
    details,
  });
}

/** Defaults that are another key's value. */
function withDerived<Values extends Config | WorkerConfig>(config: Values): Values {
  const engine = config.workflow.default_provider;
  return {
    ...config,
    controller: { ...config.controller, workflow_provider: config.controller.workflow_provider ?? engine },
    worker: { ...config.worker, engine: config.worker.engine ?? engine },
  };
}

function leafSources(config: unknown, layers: Layers): Map<string, Source> {
  const sources = new Map<string, Source>();
  const visit = (value: unknown, path: readonly string[]): void => {
    if (value === undefined) return;
    const dotted = path.join(".");
    if (isJsonObject(value) && Object.keys(value).length > 0) {
      for (const [key, own] of Object.entries(value)) visit(own, [...path, key]);
      return;
    }
    const empty = isJsonObject(value) ? layers.sections.get(dotted) : undefined;
    sources.set(dotted, layers.sources.get(dotted) ?? empty ?? { kind: "default" });
  };
  visit(config, []);
  return sources;
}
