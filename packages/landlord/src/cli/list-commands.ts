/** The commands that show tenants: one, some, or all, once or as they change. */
import type { LandlordClient, ListParams, Tenant, TenantEvent, TenantList } from "@landlord/client";
import type { Command } from "commander";
import { example, inParallel } from "./command.ts";
import { clientOf, hasOutputColour, print, type CliDeps, type GlobalOptions } from "./context.ts";
import { parseTenants, parseWhole, UsageError, type TenantReference } from "./input.ts";
import { toJsonLine } from "./output.ts";
import { tenantDetails, tenantTable } from "./tenant-view.ts";
import { eventLine } from "./watch-commands.ts";

const READS_AT_ONCE = 8;

export function addListCommands(program: Command, deps: CliDeps): void {
  addGet(program, deps);
  addList(program, deps);
}

interface FilterFlags {
  readonly selector?: string;
  readonly status?: string;
  readonly prefix?: string;
  readonly all?: boolean;
  readonly includeDeleted?: boolean;
  readonly watch?: boolean;
  readonly limit?: string;
  readonly offset?: string;
}

function withFilters(command: Command): Command {
  return command
    .option("-l, --selector <selector>", "only tenants with these labels: env=prod,tier!=free")
    .option("--status <statuses>", "only tenants with one of these statuses, joined by commas")
    .option("--prefix <text>", "only tenants whose name begins so")
    .option("--all", "every page, and archived tenants too")
    .option("--include-deleted", "also those that are archived")
    .option("--limit <count>", "how many at most, up to 500")
    .option("--offset <count>", "how many to skip")
    .option("-w, --watch", "go on with a line for each change");
}

function addGet(program: Command, deps: CliDeps): void {
  const command = withFilters(
    program
      .command("get")
      .description("Show tenants: one in detail, several as a table")
      .argument("[tenants...]", "uuids or names of tenants")
      .option("--tenant-name <name>", "name of the tenant")
      .option("--tenant-id <uuid>", "uuid of the tenant"),
  ).addHelpText(
    "after",
    example(
      "get acme",
      "get acme globex -o wide",
      "get acme -o jsonpath='{.endpoints[0].url}'",
      "get acme -w",
    ),
  );
  command.action(async (positional: readonly string[]) => {
    const options = command.optsWithGlobals<GlobalOptions & TenantReference & FilterFlags>();
    const { selector, status, prefix, all } = options;
    const isList = [selector, status, prefix, all].some((each) => each !== undefined);
    if (isList && positional.length === 0 && !options.tenantName && !options.tenantId)
      return list(deps, options);
    const names = parseTenants(positional, { ...options, selector: undefined });
    if (isList) throw new UsageError("name tenants, or select them with options: not both");
    const client = clientOf(deps, options);
    const read = () => inParallel(names, READS_AT_ONCE, (name) => client.getTenant(name));
    if (options.watch === true) return showAndWatch(deps, client, options, { read, names });
    return show(deps, options, await read());
  });
}

function show(deps: CliDeps, options: GlobalOptions, tenants: Tenant[]): void {
  const [only] = tenants;
  if (tenants.length > 1 || only === undefined) return printPage(deps, options, { tenants });
  const colour = hasOutputColour(deps);
  print(deps, options.output, only, (wide) =>
    wide ? tenantTable(tenants, deps.stdout, { colour, wide }) : tenantDetails(only, colour),
  );
}

function printPage(
  deps: CliDeps,
  options: GlobalOptions,
  page: Partial<TenantList> & Pick<TenantList, "tenants">,
): void {
  print(deps, options.output, page, (wide) =>
    tenantTable(page.tenants, deps.stdout, { colour: hasOutputColour(deps), wide }),
  );
}

function addList(program: Command, deps: CliDeps): void {
  const command = withFilters(program.command("list").alias("ls").description("List tenants")).addHelpText(
    "after",
    example(
      "list",
      "list -l plan=pro,region!=eu --status failed,updating",
      "list --all -o name",
      "list -o jsonpath='{.tenants[*].name}'",
    ),
  );
  command.action(() => list(deps, command.optsWithGlobals<GlobalOptions & FilterFlags>()));
}

async function list(deps: CliDeps, options: GlobalOptions & FilterFlags): Promise<void> {
  const client = clientOf(deps, options);
  const filter: ListParams = {
    include_deleted: options.includeDeleted === true || options.all === true ? true : undefined,
    selector: options.selector,
    status: options.status,
    name_prefix: options.prefix,
  };
  const limit = options.limit === undefined ? undefined : parseWhole("--limit", options.limit, 1, 500);
  const offset = parseWhole("--offset", options.offset ?? "0", 0, Number.MAX_SAFE_INTEGER);
  if (options.all === true && (limit !== undefined || offset > 0))
    throw new UsageError("--all shows everything: leave --limit and --offset out");
  if (options.watch === true) {
    const read = () => everyTenant(client, filter);
    return showAndWatch(deps, client, options, { read, names: null });
  }
  if (options.all === true) {
    const tenants = await everyTenant(client, filter);
    const { length } = tenants;
    return printPage(deps, options, {
      tenants,
      total: length,
      limit: length,
      offset: 0,
      next_page_token: null,
    });
  }
  const page = await client.listTenants({ limit: limit ?? 50, offset, ...filter });
  printPage(deps, options, page);
  const next = offset + page.tenants.length;
  const isForPeople = options.output === "table" || options.output === "wide";
  if (isForPeople && next < page.total) {
    deps.stderr.write(`${page.tenants.length} of ${page.total} tenants; the next: --offset ${next}\n`);
  }
}

async function everyTenant(client: LandlordClient, filter: ListParams): Promise<Tenant[]> {
  const tenants: Tenant[] = [];
  for await (const tenant of client.listAllTenants({ ...filter, limit: 500 })) tenants.push(tenant);
  return tenants;
}

interface Watched {
  readonly read: () => Promise<readonly Tenant[]>;
  /** Only these, by name or uuid; null for all that the options select. */
  readonly names: readonly string[] | null;
}

/** The watch is opened first, so that nothing happens unseen between the list and the first event. */
async function showAndWatch(
  deps: CliDeps,
  client: LandlordClient,
  options: GlobalOptions & FilterFlags,
  { read, names }: Watched,
): Promise<void> {
  const { output, selector } = options;
  if (output !== "table" && output !== "wide" && output !== "json" && output !== "ndjson")
    throw new UsageError("--watch prints table, wide, json or ndjson");
  const lines = output === "json" || output === "ndjson";
  let opened: string | undefined;
  const abort = new AbortController();
  const signal = deps.signal === undefined ? abort.signal : AbortSignal.any([abort.signal, deps.signal]);
  const first = client.watch({ selector, signal, onOpen: (token) => (opened ??= token) });
  // The generator runs from here on; its first event waits until the tenants are printed.
  let event = first.next();
  event.catch(() => undefined);
  await opening(() => opened !== undefined, event);
  const tenants = await read();
  if (lines) for (const tenant of tenants) deps.stdout.write(toJsonLine({ type: "tenant", tenant }));
  else
    deps.stdout.write(
      tenantTable(tenants, deps.stdout, { colour: hasOutputColour(deps), wide: output === "wide" }),
    );
  const isWanted = filterOf(options, names === null ? null : tenants);
  for (let step = await event; step.done !== true; event = first.next(), step = await event) {
    if (!isWanted(step.value)) continue;
    deps.stdout.write(
      lines ? toJsonLine({ type: "transition", transition: step.value }) : eventLine(step.value, deps),
    );
  }
}

/** Until the watch is open, or has failed. */
async function opening(isOpen: () => boolean, event: Promise<unknown>): Promise<void> {
  let isOver = false;
  const over = event.finally(() => (isOver = true));
  over.catch(() => undefined);
  while (!isOpen() && !isOver) await new Promise((resolve) => setTimeout(resolve, 10));
}

function filterOf(
  { prefix, status }: FilterFlags,
  only: readonly Tenant[] | null,
): (event: TenantEvent) => boolean {
  const ids = only === null ? null : new Set(only.map(({ id }) => id));
  const statuses = status === undefined ? null : new Set(status.split(",").map((each) => each.trim()));
  return (event) =>
    (ids === null || ids.has(event.tenant_id)) &&
    (prefix === undefined || event.tenant_name.startsWith(prefix)) &&
    (statuses === null ||
      [event.from_status, event.to_status].some((each) => each !== null && statuses.has(each)));
}
