/** The commands that ask for something to happen to tenants: one, several, or all with some labels. */
import type { LandlordClient, Tenant } from "@landlord/client";
import type { Command } from "commander";
import {
  ask,
  confirm,
  DeclinedError,
  example,
  inParallel,
  throwFailures,
  withTenant,
  withTenants,
  withWait,
  type Failure,
} from "./command.ts";
import { clientOf, hasOutputColour, print, type CliDeps, type GlobalOptions } from "./context.ts";
import { finish, startCount, waitForAll, type WaitFlags, type WaitGoal } from "./finish.ts";
import {
  parseTenant,
  parseTenants,
  parseTimeout,
  parseWhole,
  UsageError,
  type TenantReference,
} from "./input.ts";
import { printable } from "./output.ts";
import { tenantTable } from "./tenant-view.ts";

const CALLS_AT_ONCE = 8;
const GENERATION_LIMIT = 2 ** 31 - 1;

interface Verb {
  readonly name: string;
  readonly description: string;
  /** As the confirmation says it: "Archive 3 tenants?" */
  readonly title: string;
  readonly goal: WaitGoal;
  /** Whether all that match are asked for, or those that are not archived. */
  readonly withArchived: boolean;
  readonly call: (client: LandlordClient, tenant: string, bulk: boolean) => Promise<Tenant>;
}

const priority = (bulk: boolean) => (bulk ? ({ priority: "bulk" } as const) : {});

const VERBS: readonly Verb[] = [
  {
    name: "archive",
    description: "Remove tenants' compute and keep their records",
    title: "Archive",
    goal: "archived",
    withArchived: false,
    call: (client, tenant, bulk) => client.archiveTenant(tenant, priority(bulk)),
  },
  {
    name: "restore",
    description: "Bring archived tenants back",
    title: "Restore",
    goal: "ready",
    withArchived: true,
    call: (client, tenant, bulk) => client.restoreTenant(tenant, priority(bulk)),
  },
  {
    name: "retry",
    description: "End a failure or a pause between attempts: the next attempt begins now",
    title: "Retry",
    goal: "ready",
    withArchived: false,
    call: (client, tenant, bulk) => client.retryTenant(tenant, priority(bulk)),
  },
  {
    name: "pause",
    description: "Start nothing for tenants until they are resumed",
    title: "Pause",
    goal: "ready",
    withArchived: true,
    call: (client, tenant, bulk) => client.pauseTenant(tenant, priority(bulk)),
  },
  {
    name: "resume",
    description: "Take tenants up again after a pause",
    title: "Resume",
    goal: "ready",
    withArchived: true,
    call: (client, tenant, bulk) => client.resumeTenant(tenant, priority(bulk)),
  },
];

export function addVerbCommands(program: Command, deps: CliDeps): void {
  for (const verb of VERBS) addVerb(program, deps, verb);
  addRollback(program, deps);
  addDelete(program, deps);
}

interface VerbOptions extends GlobalOptions, WaitFlags, TenantReference {
  readonly selector?: string;
  readonly yes?: boolean;
}

function addVerb(program: Command, deps: CliDeps, verb: Verb): void {
  const command = withTenants(program.command(verb.name).description(verb.description)).option(
    "-y, --yes",
    "with --selector: do not ask",
  );
  if (verb.name !== "pause") withWait(command, verb.goal);
  command.addHelpText("after", example(`${verb.name} acme`, `${verb.name} --selector plan=trial --yes`));
  command.action(async (positional: readonly string[]) => {
    const options = command.optsWithGlobals<VerbOptions>();
    await run(deps, verb, options, positional);
  });
}

async function run(
  deps: CliDeps,
  verb: Verb,
  options: VerbOptions,
  positional: readonly string[],
): Promise<void> {
  const names = parseTenants(positional, options);
  const timeoutMs = parseTimeout(options.timeout ?? "5m");
  const client = clientOf(deps, options);
  const [only] = names;
  if (names.length === 1 && only !== undefined) {
    const tenant = await verb.call(client, only, false);
    return finish(deps, client, options, { tenant, goal: verb.goal, timeoutMs });
  }
  const chosen =
    options.selector === undefined
      ? names.map((name) => ({ id: name, name }))
      : await select(deps, client, verb, { selector: options.selector, yes: options.yes });
  const done = await callAll(deps, client, verb, chosen);
  const isGone = verb.goal === "deleted";
  const lasts =
    options.wait === true ? await waitForAll(deps, client, done, { goal: verb.goal, timeoutMs }) : done;
  const tenants = done.map((tenant, index) =>
    isGone && options.wait === true ? { ...tenant, status: "deleted" as const } : (lasts[index] ?? tenant),
  );
  print(deps, options.output, { tenants }, (wide) =>
    isGone && options.wait === true
      ? done.map(({ name }) => `${printable(name)} deleted\n`).join("")
      : tenantTable(tenants as readonly Tenant[], deps.stdout, { colour: hasOutputColour(deps), wide }),
  );
}

interface Chosen {
  readonly id: string;
  readonly name: string;
}

const SHOWN_NAMES = 10;

async function select(
  deps: CliDeps,
  client: LandlordClient,
  verb: Verb,
  { selector, yes }: { readonly selector: string; readonly yes: boolean | undefined },
): Promise<readonly Chosen[]> {
  if (selector.trim() === "") throw new UsageError("--selector is empty: that would be every tenant");
  const chosen: Chosen[] = [];
  const filter = { selector, include_deleted: verb.withArchived ? true : undefined, limit: 500 };
  for await (const { id, name } of client.listAllTenants(filter)) chosen.push({ id, name });
  if (chosen.length === 0) {
    deps.stderr.write(`no tenant matches ${printable(selector)}\n`);
    return [];
  }
  const shown = chosen.slice(0, SHOWN_NAMES).map(({ name }) => printable(name));
  const more = chosen.length > shown.length ? ` and ${chosen.length - shown.length} more` : "";
  const count = chosen.length === 1 ? "1 tenant" : `${chosen.length} tenants`;
  deps.stderr.write(`${count} with ${printable(selector)}: ${shown.join(", ")}${more}\n`);
  await confirm(deps, `${verb.title} ${count}?`, yes);
  return chosen;
}

async function callAll(
  deps: CliDeps,
  client: LandlordClient,
  verb: Verb,
  chosen: readonly Chosen[],
): Promise<readonly Tenant[]> {
  const failures: Failure[] = [];
  const progress = startCount(deps, chosen.length, verb.name);
  const answers = await inParallel(chosen, CALLS_AT_ONCE, async ({ id, name }) => {
    try {
      const tenant = await verb.call(client, id, chosen.length > 1);
      progress.done(`${name} ${verb.name}: ${tenant.status}`);
      return tenant;
    } catch (error) {
      failures.push({ what: name, error });
      return null;
    }
  });
  progress.stop();
  throwFailures(failures, chosen.length, `tenants: ${verb.name} failed`);
  return answers.filter((tenant) => tenant !== null);
}

function addRollback(program: Command, deps: CliDeps): void {
  const command = withTenant(
    program.command("rollback").description("Bring a tenant back to an earlier configuration"),
  ).option("--to-generation <number>", "which one; without it the newest that is another than the present");
  withWait(command, "ready").addHelpText(
    "after",
    example("rollback acme --wait", "rollback acme --to-generation 3"),
  );
  command.action(async (positional: string | undefined) => {
    const options = command.optsWithGlobals<VerbOptions & { readonly toGeneration?: string }>();
    const name = parseTenant(positional, options);
    const generation =
      options.toGeneration === undefined
        ? undefined
        : parseWhole("--to-generation", options.toGeneration, 1, GENERATION_LIMIT);
    const timeoutMs = parseTimeout(options.timeout);
    const client = clientOf(deps, options);
    const tenant = await client.rollbackTenant(name, generation === undefined ? {} : { generation });
    await finish(deps, client, options, { tenant, goal: "ready", timeoutMs });
  });
}

const DELETE: Verb = {
  name: "delete",
  description: "Remove tenants with their compute; their history stays",
  title: "Delete",
  goal: "deleted",
  withArchived: true,
  call: (client, tenant, bulk) => client.deleteTenant(tenant, priority(bulk)),
};

function addDelete(program: Command, deps: CliDeps): void {
  const command = withTenants(program.command(DELETE.name).description(DELETE.description))
    .option("-y, --yes", "do not ask, with --selector or --force")
    .option("--force", "remove the record now, whether or not its compute is gone; for an admin");
  withWait(command, "deleted").addHelpText(
    "after",
    example("delete acme --wait", "delete --selector plan=trial", "delete acme --force"),
  );
  command.action(async (positional: readonly string[]) => {
    const options = command.optsWithGlobals<VerbOptions & { readonly force?: boolean }>();
    if (options.force === true) await force(deps, options, positional);
    else await run(deps, DELETE, options, positional);
  });
}

async function force(deps: CliDeps, options: VerbOptions, positional: readonly string[]): Promise<void> {
  const names = parseTenants(positional, options);
  const [name] = names;
  if (names.length !== 1 || name === undefined) throw new UsageError("--force takes one tenant by its name");
  const client = clientOf(deps, options);
  if (options.yes !== true) {
    const tenant = await client.getTenant(name);
    const resources = Object.entries(tenant.observed_resource_ids).map(([kind, id]) => `  ${kind} ${id}`);
    const left = resources.length === 0 ? ["  nothing that is known of"] : resources;
    deps.stderr.write(
      `${["This removes the record and waits for nothing. What may be left:", ...left].map(printable).join("\n")}\n`,
    );
    const typed = await ask(deps, `Type the name ${printable(tenant.name)} to go on: `, "--yes");
    if (typed !== tenant.name) throw new DeclinedError();
  }
  const answer = await client.deleteTenant(name, { force: true });
  print(deps, options.output, answer, () => {
    const { may_remain: remains } = answer;
    const facts = [
      ...(remains?.scopes ?? []).map((scope) => `scope ${scope}`),
      ...Object.entries(remains?.resource_ids ?? {}).map(([kind, id]) => `${kind} ${id}`),
      ...(remains?.execution_id ? [`execution ${remains.execution_id}`] : []),
    ];
    const rest = facts.length === 0 ? [] : ["May be left:", ...facts.map((fact) => `  ${fact}`)];
    return `${[`${answer.name} deleted`, ...rest].map(printable).join("\n")}\n`;
  });
}
