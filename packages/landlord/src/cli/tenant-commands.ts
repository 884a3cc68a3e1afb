/** The commands that read and write tenants. */
import type { LandlordClient, Tenant } from "@landlord/client";
import type { Command } from "commander";
import { clientOf, hasOutputColour, print, type CliDeps, type GlobalOptions } from "./context.ts";
import {
  parseConfigArgument,
  parsePairs,
  parseTenant,
  parseTimeout,
  parseWhole,
  UsageError,
  type TenantReference,
} from "./input.ts";
import { printable } from "./output.ts";
import { startProgress } from "./progress.ts";
import { tenantDetails, tenantTable } from "./tenant-view.ts";

interface WaitFlags {
  readonly wait?: boolean;
  readonly timeout: string;
}

/** Collects the values of an option that may be repeated. */
export function collect(value: string, before: readonly string[]): string[] {
  return [...before, value];
}

/** Adds the three ways to name a tenant. */
export function withTenant(command: Command): Command {
  return command
    .argument("[tenant]", "uuid or name of the tenant")
    .option("--tenant-name <name>", "name of the tenant")
    .option("--tenant-id <uuid>", "uuid of the tenant");
}

function withWait(command: Command, goal: string): Command {
  return command
    .option("--wait", `return only once the tenant is ${goal}`)
    .option("--timeout <duration>", "with --wait: give up after this time", "5m");
}

export function example(...lines: readonly string[]): string {
  return `\n${lines.length === 1 ? "Example" : "Examples"}:\n${lines.map((line) => `  $ landlord ${line}\n`).join("")}`;
}

export function addTenantCommands(program: Command, deps: CliDeps): void {
  addCreate(program, deps);
  addGet(program, deps);
  addList(program, deps);
  addSet(program, deps);
  addRemoval(program, deps, {
    name: "archive",
    description: "Remove a tenant's compute and keep its record",
    goal: "archived",
    call: (client, tenant) => client.archiveTenant(tenant),
  });
  addRemoval(program, deps, {
    name: "delete",
    description: "Remove a tenant with its compute; its history stays",
    goal: "deleted",
    call: (client, tenant) => client.deleteTenant(tenant),
  });
}

interface CreateOptions extends GlobalOptions, WaitFlags {
  readonly tenantName?: string;
  readonly config: string;
  readonly label: string[];
  readonly annotation: string[];
  readonly provider?: string;
}

function addCreate(program: Command, deps: CliDeps): void {
  const command = program
    .command("create")
    .description("Create a tenant")
    .argument("[name]", "name of the tenant")
    .option("--tenant-name <name>", "name of the tenant: a-z, 0-9 and -")
    .requiredOption("--config <config>", "compute configuration: JSON, YAML, @file or file://path")
    .option("--label <key=value>", "label; may be repeated", collect, [])
    .option("--annotation <key=value>", "annotation; may be repeated", collect, [])
    .option("--provider <name>", "compute provider; the default one if left out");
  withWait(command, "ready").addHelpText(
    "after",
    example(
      `create --tenant-name acme --config '{"command": ["sleep", "600"]}' --label plan=pro --wait`,
      "create --tenant-name acme --config @acme.yaml --provider process",
    ),
  );
  command.action(async (positional: string | undefined) => {
    const options = command.optsWithGlobals<CreateOptions>();
    const name = positional ?? options.tenantName;
    if (name === undefined) throw new UsageError("name the tenant: --tenant-name NAME");
    if (positional !== undefined && options.tenantName !== undefined)
      throw new UsageError("name the tenant once");
    const body = {
      name,
      compute_config: { ...parseConfigArgument(options.config, deps.cwd ?? process.cwd()) },
      ...(options.label.length === 0 ? {} : { labels: parsePairs("--label", options.label) }),
      ...(options.annotation.length === 0
        ? {}
        : { annotations: parsePairs("--annotation", options.annotation) }),
      ...(options.provider === undefined ? {} : { compute_provider: options.provider }),
    };
    const timeoutMs = parseTimeout(options.timeout);
    const client = clientOf(deps, options);
    // With a key a create that was answered by a broken connection can be repeated without making two.
    const tenant = await client.createTenant(body, { idempotencyKey: globalThis.crypto.randomUUID() });
    await finish(deps, client, options, { tenant, goal: "ready", timeoutMs });
  });
}

function addGet(program: Command, deps: CliDeps): void {
  const command = withTenant(program.command("get").description("Show one tenant")).addHelpText(
    "after",
    example("get acme", "get --tenant-name acme -o yaml"),
  );
  command.action(async (positional: string | undefined) => {
    const options = command.optsWithGlobals<GlobalOptions & TenantReference>();
    const tenant = await clientOf(deps, options).getTenant(parseTenant(positional, options));
    print(deps, options.output, tenant, () => tenantDetails(tenant, hasOutputColour(deps)));
  });
}

interface ListOptions extends GlobalOptions {
  readonly includeDeleted?: boolean;
  readonly limit: string;
  readonly offset: string;
}

function addList(program: Command, deps: CliDeps): void {
  const command = program
    .command("list")
    .description("List tenants")
    .option("--include-deleted", "also those that are archived")
    .option("--limit <count>", "how many at most, up to 500", "50")
    .option("--offset <count>", "how many to skip", "0")
    .addHelpText("after", example("list", "list --include-deleted --limit 100 -o json"));
  command.action(async () => {
    const options = command.optsWithGlobals<ListOptions>();
    const offset = parseWhole("--offset", options.offset, 0, Number.MAX_SAFE_INTEGER);
    const page = await clientOf(deps, options).listTenants({
      limit: parseWhole("--limit", options.limit, 1, 500),
      offset,
      include_deleted: options.includeDeleted === true ? true : undefined,
    });
    print(deps, options.output, page, () => tenantTable(page.tenants, deps.stdout, hasOutputColour(deps)));
    const next = offset + page.tenants.length;
    if (options.output === "table" && next < page.total) {
      deps.stderr.write(`${page.tenants.length} of ${page.total} tenants; the next: --offset ${next}\n`);
    }
  });
}

interface SetOptions extends GlobalOptions, WaitFlags, TenantReference {
  readonly config: string;
  readonly patch?: boolean;
}

function addSet(program: Command, deps: CliDeps): void {
  const command = withTenant(program.command("set").description("Change a tenant's compute configuration"))
    .requiredOption("--config <config>", "compute configuration: JSON, YAML, @file or file://path")
    .option(
      "--patch",
      "merge into the present configuration (RFC 7396; null removes a key) instead of replacing it",
    );
  withWait(command, "ready").addHelpText(
    "after",
    example(
      "set --tenant-name acme --config @acme.yaml --wait",
      `set --tenant-name acme --config '{"env": {"DEBUG": null}}' --patch`,
    ),
  );
  command.action(async (positional: string | undefined) => {
    const options = command.optsWithGlobals<SetOptions>();
    const id = parseTenant(positional, options);
    const body = { compute_config: { ...parseConfigArgument(options.config, deps.cwd ?? process.cwd()) } };
    const timeoutMs = parseTimeout(options.timeout);
    const client = clientOf(deps, options);
    const tenant = await (options.patch === true
      ? client.patchTenant(id, body)
      : client.updateTenant(id, body));
    await finish(deps, client, options, { tenant, goal: "ready", timeoutMs });
  });
}

interface Removal {
  readonly name: string;
  readonly description: string;
  readonly goal: "archived" | "deleted";
  readonly call: (client: LandlordClient, tenant: string) => Promise<Tenant>;
}

function addRemoval(program: Command, deps: CliDeps, removal: Removal): void {
  const command = withTenant(program.command(removal.name).description(removal.description));
  withWait(command, removal.goal).addHelpText("after", example(`${removal.name} --tenant-name acme --wait`));
  command.action(async (positional: string | undefined) => {
    const options = command.optsWithGlobals<GlobalOptions & WaitFlags & TenantReference>();
    const id = parseTenant(positional, options);
    const timeoutMs = parseTimeout(options.timeout);
    const client = clientOf(deps, options);
    const tenant = await removal.call(client, id);
    await finish(deps, client, options, { tenant, goal: removal.goal, timeoutMs });
  });
}

interface Goal {
  /** As the write answered it. */
  readonly tenant: Tenant;
  readonly goal: "ready" | "archived" | "deleted";
  readonly timeoutMs: number;
}

/** Waits, if asked to, and prints the tenant. */
async function finish(
  deps: CliDeps,
  client: LandlordClient,
  options: GlobalOptions & WaitFlags,
  { tenant, goal, timeoutMs }: Goal,
): Promise<void> {
  const last =
    options.wait === true ? await waitWithProgress(deps, client, { tenant, goal, timeoutMs }) : tenant;
  if (options.wait === true && goal === "deleted") {
    const gone = { id: tenant.id, name: tenant.name, status: "deleted" };
    print(deps, options.output, gone, () => `${printable(tenant.name)} deleted\n`);
    return;
  }
  print(deps, options.output, last, () => tenantTable([last], deps.stdout, hasOutputColour(deps)));
}

async function waitWithProgress(deps: CliDeps, client: LandlordClient, goal: Goal): Promise<Tenant> {
  const { tenant, timeoutMs } = goal;
  const live = deps.isTerminal && deps.env["TERM"] !== "dumb";
  const progress = startProgress(deps.stderr, live, tenant);
  try {
    const last = await client.waitFor(tenant.id, {
      for: goal.goal,
      timeoutMs,
      generation: tenant.generation,
      onChange: (changed) => progress.update(changed),
    });
    return last ?? tenant;
  } finally {
    progress.stop();
  }
}
