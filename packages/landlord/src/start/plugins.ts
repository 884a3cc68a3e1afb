/** Loads the packages that the configuration names, and refuses in plain words what is no provider. */
import path from "node:path";
import { pathToFileURL } from "node:url";
import type { ComputeProviderFactory } from "../compute/provider.ts";
import { WORKFLOW_ENGINES } from "../config/schema.ts";
import type { PluginReference } from "../config/plugins.ts";
import { LandlordError, messageOf } from "../domain/errors.ts";
import { COMPUTE_PORT_VERSION, type ComputePlugin } from "../plugin/compute.ts";
import { WORKFLOW_PORT_VERSION, type WorkflowPlugin } from "../plugin/workflow.ts";

export interface Plugins {
  readonly compute: readonly ComputeProviderFactory[];
  readonly workflow: readonly WorkflowPlugin[];
}

/** A package that cannot be used as the provider that it is named for. */
class PluginError extends LandlordError {}

/** What a default export must have, by kind: a name and a type of each property. */
const SHAPES = {
  compute: {
    engineConfigSchema: "schema",
    secretKeys: "array",
    describe: "function",
    create: "function",
  },
  workflow: { configSchema: "schema", createProvider: "function", createWorker: "function" },
} as const;

const PORT_VERSIONS = { compute: COMPUTE_PORT_VERSION, workflow: WORKFLOW_PORT_VERSION } as const;

/**
 * Loads every package, once each.
 *
 * @throws PluginError `plugin_not_installed`, `plugin_failed` (it threw while it was loaded), `plugin_invalid` (its
 * default export is no provider), `plugin_port_version`, `plugin_name_taken`
 */
export async function loadPlugins(
  references: readonly PluginReference[],
  builtInCompute: readonly string[],
): Promise<Plugins> {
  const compute: ComputeProviderFactory[] = [];
  const workflow: WorkflowPlugin[] = [];
  for (const reference of references) {
    const taken: readonly string[] = reference.kind === "compute" ? builtInCompute : WORKFLOW_ENGINES;
    if (taken.includes(reference.name) || reference.name === "step_functions") {
      throw new PluginError(
        "plugin_name_taken",
        `${keyOf(reference)} names a package, but Landlord itself brings ${reference.name}: give the block another name.`,
      );
    }
    const exported = await importDefault(reference);
    checkShape(reference, exported);
    if (reference.kind === "compute") compute.push(exported as unknown as ComputePlugin);
    else workflow.push(exported as unknown as WorkflowPlugin);
  }
  return { compute, workflow };
}

const keyOf = ({ kind, name }: PluginReference): string => `${kind}.${name}`;

async function importDefault(reference: PluginReference): Promise<Readonly<Record<string, unknown>>> {
  const url = await locate(reference);
  const { importModule } = await import("./import-module.ts");
  let module: { readonly default?: unknown };
  try {
    module = (await importModule(url.href)) as { readonly default?: unknown };
  } catch (error) {
    throw new PluginError(
      "plugin_failed",
      `The package "${reference.package}" of ${keyOf(reference)} failed while it was loaded: ${messageOf(error)}. The fault is in the package, or in what it needs: ${url.href}`,
      { cause: error },
    );
  }
  const exported = module.default;
  if (typeof exported !== "object" || exported === null) {
    throw invalid(reference, "it has no default export that is an object");
  }
  return exported as Readonly<Record<string, unknown>>;
}

/** Where the file that names the package would find it; else where Landlord itself is installed. */
async function locate(reference: PluginReference): Promise<URL> {
  const { moduleResolve } = await import("import-meta-resolve");
  const conditions = new Set(["node", "import"]);
  const parents = [pathToFileURL(path.join(reference.folder, "landlord.yaml")), new URL(import.meta.url)];
  let failure: unknown;
  for (const parent of parents) {
    try {
      return moduleResolve(reference.package, parent, conditions);
    } catch (error) {
      failure ??= error;
    }
  }
  const isPath = /^[./]/.test(reference.package);
  const remedy = isPath
    ? `The path is relative to ${reference.folder}.`
    : `Run \`npm install ${reference.package}\` in ${reference.folder}.`;
  throw new PluginError(
    "plugin_not_installed",
    `${keyOf(reference)} names the package "${reference.package}", which is not installed there: ${messageOf(failure)}. ${remedy}`,
    { cause: failure },
  );
}

function checkShape(reference: PluginReference, exported: Readonly<Record<string, unknown>>): void {
  const { kind } = reference;
  if (exported["kind"] !== kind) {
    throw invalid(reference, `its kind is ${JSON.stringify(exported["kind"])}, and must be "${kind}"`);
  }
  const version = exported["portVersion"];
  const supported = PORT_VERSIONS[kind];
  if (version !== supported) {
    const written = typeof version === "number" ? `version ${version}` : "no version";
    const remedy =
      typeof version === "number" && version > supported
        ? "Use an older release of the package, or a newer Landlord."
        : "Use a newer release of the package.";
    throw new PluginError(
      "plugin_port_version",
      `The package "${reference.package}" of ${keyOf(reference)} was written for ${written} of the ${kind} port, and this Landlord has version ${supported}. ${remedy}`,
    );
  }
  if (exported["name"] !== reference.name) {
    throw invalid(
      reference,
      `it calls itself ${JSON.stringify(exported["name"])}: configure it under that name`,
    );
  }
  const missing = Object.entries(SHAPES[kind])
    .filter(([key, type]) => !hasType(exported[key], type))
    .map(([key, type]) => `${key} (${type === "schema" ? "a strict object of zod 4" : type})`);
  if (missing.length > 0) throw invalid(reference, `it lacks ${missing.join(", ")}`);
}

function hasType(value: unknown, type: "schema" | "array" | "function"): boolean {
  switch (type) {
    case "array":
      return Array.isArray(value);
    case "function":
      return typeof value === "function";
    case "schema":
      // zod 4: an object of another major version has the same methods, and cannot be part of our schema.
      return typeof value === "object" && value !== null && "_zod" in value && "extend" in value;
  }
}

function invalid(reference: PluginReference, why: string): PluginError {
  return new PluginError(
    "plugin_invalid",
    `The package "${reference.package}" of ${keyOf(reference)} is no ${reference.kind} provider: ${why}.`,
  );
}
