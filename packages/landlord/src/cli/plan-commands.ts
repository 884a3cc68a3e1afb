/** `plan` and `diff`: what would change, and nothing is changed. */
import type { LandlordClient, Plan } from "@landlord/client";
import type { Command } from "commander";
import { parse as parseYaml } from "yaml";
import { LandlordError, messageOf } from "../domain/errors.ts";
import { type Json, type JsonObject } from "../domain/json.ts";
import { planDocuments, withFiles, type FileFlags } from "./apply-commands.ts";
import { collect, CONCURRENCY_LIMIT, example, type Report } from "./command.ts";
import { clientOf, hasOutputColour, print, type CliDeps, type GlobalOptions } from "./context.ts";
import { readDocuments } from "./documents.ts";
import { DIFF_FAILED, EXIT_CODES, exitCodeOf } from "./failure.ts";
import { parseConfigArgument, parseWhole, UsageError } from "./input.ts";
import { diffText, planText, verdictOf, type Planned } from "./plan-view.ts";

export function addPlanCommands(program: Command, deps: CliDeps, report: Report): void {
  addPlan(program, deps);
  addDiff(program, deps, report);
}

interface PlanFlags extends FileFlags {
  readonly file?: string;
  readonly config?: string;
  readonly set: readonly string[];
}

async function planFiles(
  deps: CliDeps,
  options: GlobalOptions & FileFlags,
): Promise<readonly (Planned & { readonly plan: Plan | null })[]> {
  const limit = parseWhole("--concurrency", options.concurrency, 1, CONCURRENCY_LIMIT);
  const documents = await readDocuments(deps, options.filename, options.recursive === true);
  return planDocuments(clientOf(deps, options), documents, { limit, plan: true });
}

function addPlan(program: Command, deps: CliDeps): void {
  const command = withFiles(
    program
      .command("plan")
      .description("Show what would change: of files, or of one tenant")
      .argument("[tenant]", "uuid or name of the tenant"),
  )
    .option("--config <config>", "its new configuration: JSON, YAML, @file or file://path")
    .option("--file <file>", "its new configuration, from a file")
    .option("--set <key=value>", "one key of it, dotted, the value as YAML; may be repeated", collect, [])
    .addHelpText(
      "after",
      example(
        "plan -f tenants.yaml",
        "plan acme --set env.DEBUG='\"1\"'",
        "plan acme --file acme.yaml",
        "plan acme",
      ),
    );
  command.action(async (tenant: string | undefined) => {
    const options = command.optsWithGlobals<GlobalOptions & PlanFlags>();
    if ((tenant === undefined) === (options.filename.length === 0))
      throw new UsageError("name what to plan: a tenant, or -f FILE");
    if (tenant === undefined) {
      const planned = await planFiles(deps, options);
      print(deps, options.output, { plans: planned.map(({ plan }) => plan) }, () =>
        planText(planned, hasOutputColour(deps)),
      );
      return;
    }
    const plan = await planOne(clientOf(deps, options), tenant, options, deps.cwd ?? process.cwd());
    const planned = { name: plan.tenant_name, verdict: verdictOf(plan), plan };
    print(deps, options.output, plan, () => planText([planned], hasOutputColour(deps)));
  });
}

function planOne(client: LandlordClient, tenant: string, flags: PlanFlags, cwd: string): Promise<Plan> {
  const { file, config, set } = flags;
  if ([file, config, set.length === 0 ? undefined : set].filter((each) => each !== undefined).length > 1)
    throw new UsageError("say the new configuration once: --config, --file or --set");
  if (set.length > 0) return client.plans.patch(tenant, { compute_config: { ...parseSettings(set) } });
  const text = file === undefined ? config : `@${file}`;
  return client.plans.update(
    tenant,
    text === undefined ? {} : { compute_config: { ...parseConfigArgument(text, cwd) } },
  );
}

/** `a.b=1` as `{a: {b: 1}}`; all of them merged. Throws UsageError. */
export function parseSettings(pairs: readonly string[]): JsonObject {
  return pairs.reduce<JsonObject>((settings, pair) => {
    const [, key = "", text = ""] = /^([^=]+)=([^]*)$/.exec(pair) ?? [];
    if (key === "") throw new UsageError(`--set wants key=value, got "${pair}"`);
    let value: Json;
    try {
      value = parseYaml(text) as Json;
    } catch (error) {
      throw new UsageError(`--set ${key}: the value is no YAML`, {
        details: [messageOf(error)],
        cause: error,
      });
    }
    const nested = key.split(".").reduceRight<Json>((inner, name) => ({ [name]: inner }), value);
    return mergeSettings(settings, nested as JsonObject);
  }, {});
}

/** Like a merge patch, but a null stays: it is what tells the server to remove the key. */
function mergeSettings(into: JsonObject, from: JsonObject): JsonObject {
  const merged: Record<string, Json> = { ...into };
  for (const [key, value] of Object.entries(from)) {
    const before = merged[key];
    const isNested = typeof value === "object" && value !== null && !Array.isArray(value);
    merged[key] =
      isNested && typeof before === "object" && before !== null && !Array.isArray(before)
        ? mergeSettings(before as JsonObject, value as JsonObject)
        : value;
  }
  return merged;
}

function addDiff(program: Command, deps: CliDeps, report: Report): void {
  const command = withFiles(
    program
      .command("diff")
      .description(
        "Show what differs between files and tenants; exit code 1 when something does, above 1 on error",
      ),
  ).addHelpText("after", example("diff -f tenants.yaml", "diff -f tenants/ -R || echo changed"));
  command.action(async () => {
    const options = command.optsWithGlobals<GlobalOptions & FileFlags>();
    if (options.filename.length === 0) throw new UsageError("name what to compare: -f FILE");
    let planned: readonly Planned[];
    try {
      planned = await planFiles(deps, options);
    } catch (error) {
      if (exitCodeOf(error) !== EXIT_CODES.failure) throw error;
      // 1 means that something differs.
      throw new DiffError(error);
    }
    const plans = planned.map(({ plan }) => plan);
    print(deps, options.output, { plans }, () =>
      planned.map((each) => diffText(each, hasOutputColour(deps))).join(""),
    );
    if (planned.some(({ verdict }) => verdict !== "unchanged")) report(EXIT_CODES.failure);
  });
}

/** A failure of `diff` that has no exit code of its own. */
class DiffError extends LandlordError {
  constructor(cause: unknown) {
    super(DIFF_FAILED, messageOf(cause), { cause });
  }
}
