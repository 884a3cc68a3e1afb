/** The commands that explain: what a provider takes, what happened to a tenant. */
import type { Explanation, Operation, OperationEvent } from "@landlord/client";
import type { Command } from "commander";
import { isJsonObject, type JsonObject } from "../domain/json.ts";
import { example, inParallel, withTenant } from "./command.ts";
import { clientOf, hasOutputColour, print, type CliDeps, type GlobalOptions } from "./context.ts";
import { parseTenant, type TenantReference } from "./input.ts";
import { printable, toTable, toYaml } from "./output.ts";
import { paintStatus } from "./tenant-view.ts";

export function addInspectCommands(program: Command, deps: CliDeps): void {
  addCompute(program, deps);
  addHistory(program, deps);
  addOperations(program, deps);
  addGenerations(program, deps);
  addExplain(program, deps);
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

interface OperationsFlags {
  readonly events?: boolean;
}

const EVENT_READS_AT_ONCE = 4;

function addOperations(program: Command, deps: CliDeps): void {
  const command = withTenant(
    program
      .command("operations")
      .description("Show the ledger: every attempt to bring a tenant to a generation"),
  )
    .option("--events", "also what workers reported of each")
    .addHelpText("after", example("operations acme", "operations acme --events", "operations acme -o json"));
  command.action(async (positional: string | undefined) => {
    const options = command.optsWithGlobals<GlobalOptions & TenantReference & OperationsFlags>();
    const client = clientOf(deps, options);
    const name = parseTenant(positional, options);
    const operations = await client.getOperations(name);
    if (options.events !== true) {
      print(deps, options.output, operations, () => operationTable(operations, deps));
      return;
    }
    const detailed = await inParallel(operations, EVENT_READS_AT_ONCE, async (operation) => ({
      ...operation,
      events: await client.getOperationEvents(name, operation.id),
    }));
    print(deps, options.output, detailed, () =>
      detailed
        .map((operation) => operationTable([operation], deps) + eventLines(operation.events))
        .join("\n"),
    );
  });
}

function eventLines(events: readonly OperationEvent[]): string {
  if (events.length === 0) return "  no word of a worker\n";
  return events.map(({ at, phase, message }) => `  ${printable(`${at}  ${phase}  ${message}`)}\n`).join("");
}

function operationTable(operations: readonly Operation[], deps: CliDeps): string {
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
}

function addGenerations(program: Command, deps: CliDeps): void {
  const command = withTenant(
    program.command("generations").description("Show the configurations that a tenant had, to roll back to"),
  ).addHelpText("after", example("generations acme", "generations acme -o yaml"));
  command.action(async (positional: string | undefined) => {
    const options = command.optsWithGlobals<GlobalOptions & TenantReference>();
    const generations = await clientOf(deps, options).getGenerations(parseTenant(positional, options));
    print(deps, options.output, generations, () => {
      const rows = generations.map((each) => [
        String(each.generation),
        each.created_at,
        each.intent,
        each.actor,
        each.config_hash.slice(0, 12),
        JSON.stringify(each.compute_config),
      ]);
      const columns = ["GENERATION", "TIME", "INTENT", "ACTOR", "HASH", "CONFIG"];
      return toTable(columns, rows, { width: deps.stdout.columns });
    });
  });
}

function addExplain(program: Command, deps: CliDeps): void {
  const command = withTenant(
    program.command("explain").description("Say why a tenant is where it is, and what to do about it"),
  ).addHelpText("after", example("explain acme", "explain acme -o json"));
  command.action(async (positional: string | undefined) => {
    const options = command.optsWithGlobals<GlobalOptions & TenantReference>();
    const explanation = await clientOf(deps, options).explainTenant(parseTenant(positional, options));
    print(deps, options.output, explanation, () => explained(explanation, deps));
  });
}

function explained(explanation: Explanation, deps: CliDeps): string {
  const { execution, queue, last_error: lastError, next_attempt_at: next } = explanation;
  const generation = execution === null ? "" : ` at generation ${execution.generation}`;
  const stalled = explanation.stalled ? ", stalled" : "";
  const status = paintStatus(printable(explanation.status), hasOutputColour(deps));
  const facts = [
    `Since: ${explanation.since}`,
    ...(next === null ? [] : [`Next attempt: ${next}`]),
    ...(explanation.attempts === 0 ? [] : [`Attempts: ${explanation.attempts}`]),
    ...(lastError === null ? [] : [`Last error: ${lastError.code}: ${lastError.message}`]),
    ...(queue === null
      ? []
      : [
          `Queue: ${queue.lane}${queue.owner === "" ? "" : ` of ${queue.owner}`}${queue.position === null ? "" : `, ${queue.position} ahead`}`,
        ]),
    ...(execution === null
      ? []
      : [
          `Execution: ${execution.execution_id} (${execution.kind}, ${execution.sub_state ?? "not seen yet"}) by ${execution.workflow_provider}`,
        ]),
    ...(execution?.progress ? [`Progress: ${execution.progress}`] : []),
    ...(execution?.link ? [`Link: ${execution.link}`] : []),
  ];
  const lines = [
    "",
    `  ${explanation.reason}: ${explanation.message}`,
    "",
    ...facts.map((fact) => `  ${fact}`),
    ...(explanation.what_to_do.length === 0
      ? []
      : ["", ...explanation.what_to_do.map((step) => `  Next step: ${step}`)]),
  ];
  const head = `${printable(explanation.tenant_name)} is ${status}${generation}${stalled}`;
  return `${[head, ...lines.map(printable)].join("\n")}\n`;
}
