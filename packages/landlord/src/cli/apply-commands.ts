/** The declarative commands: what files say is compared with what is, shown, and made so. */
import { LandlordApiError, type LandlordClient, type Tenant } from "@landlord/client";
import type { Command } from "commander";
import { LandlordError } from "../domain/errors.ts";
import {
  collect,
  confirm,
  CONCURRENCY_LIMIT,
  DEFAULT_CONCURRENCY,
  example,
  inParallel,
  SeveralFailures,
  throwFailures,
  withWait,
  type Failure,
} from "./command.ts";
import { clientOf, hasOutputColour, print, type CliDeps, type GlobalOptions } from "./context.ts";
import { readDocuments, type TenantDocument } from "./documents.ts";
import { EXIT_CODES } from "./failure.ts";
import { startCount, waitForAll, type WaitFlags } from "./finish.ts";
import { parseTimeout, parseWhole, UsageError } from "./input.ts";
import { printable } from "./output.ts";
import { planText, verdictOf, type Planned } from "./plan-view.ts";

export interface FileFlags {
  readonly filename: readonly string[];
  readonly recursive?: boolean;
  readonly concurrency: string;
}

export function withFiles(command: Command): Command {
  return command
    .option("-f, --filename <path>", "file, folder, or - for standard input; may be repeated", collect, [])
    .option("-R, --recursive", "with a folder: also the folders in it")
    .option("--concurrency <count>", `calls at once, up to ${CONCURRENCY_LIMIT}`, DEFAULT_CONCURRENCY);
}

interface ApplyFlags extends FileFlags, WaitFlags {
  readonly yes?: boolean;
  readonly plan: boolean;
  readonly dryRun?: boolean;
  readonly prune?: boolean;
  readonly selector?: string;
}

/** One write that is to happen. */
interface Step extends Planned {
  /** Null for a tenant that is to be deleted. */
  readonly document: TenantDocument | null;
  /** Its id, when it is there already. */
  readonly id: string | null;
}

export function addApplyCommand(program: Command, deps: CliDeps): void {
  const command = withFiles(
    program
      .command("apply")
      .description("Make tenants exactly what files say: shows the plan and asks first"),
  )
    .option("-y, --yes", "do not ask")
    .option("--dry-run", "only show the plan")
    .option("--no-plan", "ask no worker what would change; for when none is there")
    .option("--prune", "delete tenants that --selector selects and that no file names")
    .option("-l, --selector <selector>", "with --prune: which tenants the files are all of");
  withWait(command, "ready").addHelpText(
    "after",
    example(
      "apply -f tenants.yaml",
      "apply -f tenants/ -R --yes --wait",
      "apply -f fleet.yaml --prune --selector fleet=eu",
      "apply -f - --yes < tenants.json",
    ),
  );
  command.action(async () => {
    const options = command.optsWithGlobals<GlobalOptions & ApplyFlags>();
    checkFlags(options);
    const timeoutMs = parseTimeout(options.timeout);
    const limit = parseWhole("--concurrency", options.concurrency, 1, CONCURRENCY_LIMIT);
    const documents = await readDocuments(deps, options.filename, options.recursive === true);
    const client = clientOf(deps, options);
    const steps = await planSteps(client, documents, { ...options, limit });
    const isForPeople = options.output === "table" || options.output === "wide";
    if (isForPeople || options.dryRun !== true)
      (isForPeople ? deps.stdout : deps.stderr).write(planText(steps, isForPeople && hasOutputColour(deps)));
    if (options.dryRun === true) {
      if (!isForPeople) print(deps, options.output, { plans: steps.map(({ plan }) => plan) }, () => "");
      return;
    }
    const due = steps.filter(({ verdict }) => verdict !== "unchanged");
    if (due.length > 0) await confirm(deps, "Apply these changes?", options.yes);
    const results = await applySteps(deps, client, due, { limit, isPlanned: options.plan });
    const failed = results.filter(({ error }) => error !== null);
    const unchanged = steps.filter(({ verdict }) => verdict === "unchanged");
    if (!isForPeople)
      print(deps, options.output, { results: [...results, ...unchanged].map(resultBody) }, () => "");
    if (failed.length > 0) throw notApplied(failed, due.length);
    if (options.wait === true) await settle(deps, client, results, timeoutMs);
  });
}

function notApplied(failed: readonly Result[], total: number): SeveralFailures {
  return new SeveralFailures(
    `${failed.length} of ${total} tenants were not applied`,
    failed.map(({ step, error }) => ({ what: step.document?.source ?? step.name, error })),
    EXIT_CODES.failure,
  );
}

function checkFlags(options: ApplyFlags): void {
  if (options.filename.length === 0) throw new UsageError("name what to apply: -f FILE");
  if (options.dryRun === true && !options.plan)
    throw new UsageError("--dry-run shows the plan: leave --no-plan out");
  if (options.prune === true && !options.selector?.trim())
    throw new UsageError("--prune needs --selector: which tenants are the files all of?");
  if (options.prune !== true && options.selector !== undefined)
    throw new UsageError("--selector says what --prune may delete: add --prune, or leave it out");
  if (options.filename.includes("-") && options.yes !== true && options.dryRun !== true)
    throw new UsageError("standard input is the documents, so nobody can be asked: pass --yes");
}

interface Planning {
  readonly limit: number;
  readonly plan: boolean;
  readonly prune?: boolean;
  readonly selector?: string;
}

async function planSteps(
  client: LandlordClient,
  documents: readonly TenantDocument[],
  options: Planning,
): Promise<readonly Step[]> {
  const applied = await planDocuments(client, documents, options);
  if (options.prune !== true) return applied;
  const names = new Set(documents.map(({ name }) => name));
  const surplus: Tenant[] = [];
  const filter = { selector: options.selector, include_deleted: true, limit: 500 };
  for await (const tenant of client.listAllTenants(filter))
    if (!names.has(tenant.name) && tenant.intent !== "deleted") surplus.push(tenant);
  const deleted = await inParallel(surplus, options.limit, async ({ id, name }): Promise<Step> => {
    const plan = options.plan ? await client.plans.delete(id) : null;
    return { name, id, verdict: "delete", plan, document: null };
  });
  return [...applied, ...deleted];
}

/** The plan of each document. Throws when one has none: nothing is sent then. */
export async function planDocuments(
  client: LandlordClient,
  documents: readonly TenantDocument[],
  { limit, plan: isPlanned }: { readonly limit: number; readonly plan: boolean },
): Promise<readonly Step[]> {
  const failures: Failure[] = [];
  const steps = await inParallel(documents, limit, async (document): Promise<Step | null> => {
    const { name, body, source } = document;
    try {
      if (!isPlanned) {
        const id = await idOf(client, name);
        return { name, id, verdict: id === null ? "create" : "change", plan: null, document };
      }
      const plan = await client.plans.apply(name, body);
      return { name, id: plan.tenant_id, verdict: verdictOf(plan), plan, document };
    } catch (error) {
      failures.push({ what: `${source}: ${name}`, error });
      return null;
    }
  });
  throwFailures(failures, documents.length, "tenants cannot be planned; nothing was sent");
  return steps.filter((step) => step !== null);
}

async function idOf(client: LandlordClient, name: string): Promise<string | null> {
  try {
    return (await client.getTenant(name)).id;
  } catch (error) {
    if (error instanceof LandlordApiError && error.status === 404) return null;
    throw error;
  }
}

interface Result {
  readonly step: Step;
  readonly tenant: Tenant | null;
  readonly error: unknown;
}

/** Deletions come last, and only when all else went well. */
async function applySteps(
  deps: CliDeps,
  client: LandlordClient,
  due: readonly Step[],
  { limit, isPlanned }: { readonly limit: number; readonly isPlanned: boolean },
): Promise<readonly Result[]> {
  const progress = startCount(deps, due.length, "applied");
  const one = async (step: Step): Promise<Result> => {
    try {
      const tenant = await write(client, step, due.length > 1, isPlanned);
      progress.done(`${step.name} ${outcomeOf(step)}`);
      return { step, tenant, error: null };
    } catch (error) {
      return { step, tenant: null, error };
    }
  };
  try {
    const applied = await inParallel(
      due.filter(({ document }) => document !== null),
      limit,
      one,
    );
    const surplus = due.filter(({ document }) => document === null);
    if (applied.some(({ error }) => error !== null)) return [...applied, ...surplus.map(notPruned)];
    return [...applied, ...(await inParallel(surplus, limit, one))];
  } finally {
    progress.stop();
  }
}

function notPruned(step: Step): Result {
  const error = new LandlordError("not_pruned", "Not deleted, because not everything else was applied.");
  return { step, tenant: null, error };
}

function write(client: LandlordClient, step: Step, bulk: boolean, isPlanned: boolean): Promise<Tenant> {
  const options = {
    ...(isPlanned && step.plan !== null ? { ifPlan: step.plan.hash } : {}),
    ...(bulk ? { priority: "bulk" as const } : {}),
  };
  if (step.document === null) return client.deleteTenant(step.id ?? step.name, options);
  return client.applyTenant(step.name, step.document.body, options);
}

function outcomeOf({ verdict }: Planned): string {
  return { create: "created", change: "changed", delete: "deleting", unchanged: "unchanged" }[verdict];
}

async function settle(
  deps: CliDeps,
  client: LandlordClient,
  results: readonly Result[],
  timeoutMs: number,
): Promise<void> {
  const written = (isDeletion: boolean) =>
    results.flatMap(({ step, tenant }) =>
      tenant !== null && (step.document === null) === isDeletion ? [tenant] : [],
    );
  await Promise.all([
    waitForAll(deps, client, written(false), { goal: "ready", timeoutMs }),
    waitForAll(deps, client, written(true), { goal: "deleted", timeoutMs }),
  ]);
}

function resultBody(result: Result | Step): object {
  if ("verdict" in result)
    return { name: result.name, outcome: "unchanged", generation: result.plan?.generation };
  const { step, tenant, error } = result;
  if (error === null) return { name: step.name, outcome: outcomeOf(step), generation: tenant?.generation };
  return {
    name: step.name,
    outcome: "failed",
    error: printable(error instanceof Error ? error.message : ""),
  };
}
