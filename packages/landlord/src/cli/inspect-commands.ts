/** The commands that explain: what a provider takes, what happened to a tenant. */
import type { Command } from "commander";
import { isJsonObject, type JsonObject } from "../domain/json.ts";
import { clientOf, print, type CliDeps, type GlobalOptions } from "./context.ts";
import { parseTenant, type TenantReference } from "./input.ts";
import { toTable, toYaml } from "./output.ts";
import { example, withTenant } from "./tenant-commands.ts";

export function addInspectCommands(program: Command, deps: CliDeps): void {
  addCompute(program, deps);
  addHistory(program, deps);
  addOperations(program, deps);
}

function addCompute(program: Command, deps: CliDeps): void {
  const command = program
    .command("compute")
    .description("Show what a compute provider takes as configuration")
    .requiredOption("--provider <name>", "compute provider")
    .addHelpText("after", example("compute --provider process", "compute --provider process -o json"));
  command.action(async () => {
    const options = command.optsWithGlobals<GlobalOptions & { readonly provider: string }>();
    const config = await clientOf(deps, options).getComputeConfig(options.provider);
    print(deps, options.output, config, () => {
      const defaults = isJsonObject(config.defaults) ? config.defaults : {};
      const rows = isJsonObject(config.schema) ? propertyRows(config.schema, defaults, "") : [];
      if (rows.length === 0) return toYaml(config.schema);
      const columns = ["KEY", "TYPE", "REQUIRED", "DEFAULT", "DESCRIPTION"];
      return toTable(columns, rows, { width: deps.stdout.columns });
    });
  });
}

/** The properties of a JSON Schema, nested ones with dotted keys. */
function propertyRows(schema: JsonObject, defaults: JsonObject, prefix: string): string[][] {
  const { properties, required } = schema;
  if (!isJsonObject(properties)) return [];
  return Object.entries(properties).flatMap(([key, property]) => {
    if (!isJsonObject(property)) return [];
    const value = defaults[key] ?? property["default"];
    const nested = propertyRows(property, isJsonObject(value) ? value : {}, `${prefix}${key}.`);
    const isRequired = Array.isArray(required) && required.includes(key);
    const own = [
      prefix + key,
      typeOf(property),
      isRequired ? "yes" : "",
      value === undefined || nested.length > 0 ? "" : JSON.stringify(value),
      typeof property["description"] === "string" ? property["description"] : "",
    ];
    return [own, ...nested];
  });
}

function typeOf(property: JsonObject): string {
  const { type } = property;
  if (Array.isArray(property["enum"])) return property["enum"].map((each) => JSON.stringify(each)).join("|");
  if (typeof type === "string") return type;
  return Array.isArray(type) ? type.join("|") : "any";
}

function addHistory(program: Command, deps: CliDeps): void {
  const command = withTenant(
    program.command("history").description("Show every change of a tenant's status, also after its deletion"),
  ).addHelpText("after", example("history acme"));
  command.action(async (positional: string | undefined) => {
    const options = command.optsWithGlobals<GlobalOptions & TenantReference>();
    const transitions = await clientOf(deps, options).getHistory(parseTenant(positional, options));
    print(deps, options.output, transitions, () => {
      const rows = transitions.map((each) => [
        each.at,
        each.from_status ?? "-",
        each.to_status ?? "removed",
        String(each.generation),
        each.reason,
        each.actor,
        each.message,
      ]);
      const columns = ["TIME", "FROM", "TO", "GENERATION", "REASON", "ACTOR", "MESSAGE"];
      return toTable(columns, rows, { width: deps.stdout.columns });
    });
  });
}

function addOperations(program: Command, deps: CliDeps): void {
  const command = withTenant(
    program
      .command("operations")
      .description("Show the ledger: every attempt to bring a tenant to a generation"),
  ).addHelpText("after", example("operations acme", "operations acme -o json"));
  command.action(async (positional: string | undefined) => {
    const options = command.optsWithGlobals<GlobalOptions & TenantReference>();
    const operations = await clientOf(deps, options).getOperations(parseTenant(positional, options));
    print(deps, options.output, operations, () => {
      const rows = operations.map((each) => [
        each.created_at,
        each.kind,
        String(each.generation),
        each.outcome ?? each.sub_state ?? "-",
        String(each.retry_count),
        each.workflow_provider,
        each.execution_id,
        each.error === null ? (each.stop_reason ?? "") : `${each.error.code}: ${each.error.message}`,
      ]);
      const columns = ["TIME", "KIND", "GENERATION", "STATE", "RETRIES", "ENGINE", "EXECUTION", "ERROR"];
      return toTable(columns, rows, { width: deps.stdout.columns });
    });
  });
}
