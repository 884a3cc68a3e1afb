/** The commands of an administrator: keys of the API, and who did what. */
import type { AuditEntry, AuditParams, CreateToken, LandlordClient, NewToken, Token } from "@landlord/client";
import { Option, type Command } from "commander";
import { parseDuration } from "../config/duration.ts";
import { example } from "./command.ts";
import { clientOf, print, type CliDeps, type GlobalOptions } from "./context.ts";
import { parseWhole, UsageError } from "./input.ts";
import { printable, toJsonLine, toTable } from "./output.ts";

const DAY_MS = 86_400_000;
const GRACE_LIMIT_SECONDS = 7 * 86_400;
const PAGE = 500;

export function addAccessCommands(program: Command, deps: CliDeps): void {
  const group = program.command("token").description("Manage keys of the API; for an admin");
  addTokenCreate(group, deps);
  addTokenList(group, deps);
  addTokenRotate(group, deps);
  addTokenRevoke(group, deps);
  addAudit(program, deps);
}

interface TokenFlags {
  readonly role: CreateToken["role"];
  readonly scope?: string;
  readonly expires?: string;
}

function addTokenCreate(group: Command, deps: CliDeps): void {
  const command = group
    .command("create")
    .description("Make a key; its secret is shown this once")
    .argument("<name>", "whose key it is, as it stands in history and audit log")
    .addOption(
      new Option("--role <role>", "what it may do")
        .choices(["viewer", "operator", "admin", "worker"])
        .makeOptionMandatory(),
    )
    .option("--scope <selector>", "only tenants with these labels: team=payments")
    .option("--expires <duration>", "good for so long: 12h, 90d")
    .addHelpText(
      "after",
      example(
        "token create ci --role operator --scope team=payments --expires 90d",
        "token create worker --role worker -o jsonpath={.secret}",
      ),
    );
  command.action(async (name: string) => {
    const options = command.optsWithGlobals<GlobalOptions & TokenFlags>();
    const lifetimeMs = options.expires === undefined ? null : parseAge("--expires", options.expires);
    const token = await clientOf(deps, options).createToken({
      name,
      role: options.role,
      ...(options.scope === undefined ? {} : { scope: options.scope }),
      ...(lifetimeMs === null ? {} : { expires_at: new Date(Date.now() + lifetimeMs).toISOString() }),
    });
    printSecret(deps, options, token);
  });
}

function printSecret(deps: CliDeps, options: GlobalOptions, token: NewToken): void {
  print(deps, options.output, token, () => `${tokenTable([token], deps)}\n${printable(token.secret)}\n`);
  if (options.output === "table") deps.stderr.write("Keep the secret: it is not shown again.\n");
}

/** Milliseconds of a duration that may also count days: "90d". Throws UsageError. */
function parseAge(option: string, text: string): number {
  const days = /^(\d{1,5})d$/.exec(text);
  const milliseconds = days === null ? parseDuration(text) : Number(days[1]) * DAY_MS;
  if (milliseconds === null || milliseconds === 0)
    throw new UsageError(`${option} wants a duration such as 30m, 12h or 90d, got "${text}"`);
  return milliseconds;
}

function tokenTable(tokens: readonly Token[], deps: CliDeps): string {
  const rows = tokens.map((token) => [
    token.id,
    token.name,
    token.role,
    token.scope ?? "-",
    token.created_at,
    token.expires_at ?? "never",
    token.last_used_at ?? "never",
  ]);
  const columns = ["ID", "NAME", "ROLE", "SCOPE", "CREATED", "EXPIRES", "LAST USED"];
  return toTable(columns, rows, { width: deps.stdout.columns });
}

async function everyToken(client: LandlordClient): Promise<Token[]> {
  const tokens: Token[] = [];
  for (let next: string | null = null, isFirst = true; isFirst || next !== null; isFirst = false) {
    const page = await client.listTokens({ limit: PAGE, ...(next === null ? {} : { page_token: next }) });
    tokens.push(...page.tokens);
    next = page.next_page_token;
  }
  return tokens;
}

function addTokenList(group: Command, deps: CliDeps): void {
  const command = group
    .command("list")
    .description("List keys; secrets are not kept")
    .addHelpText("after", example("token list", "token list -o json"));
  command.action(async () => {
    const options = command.optsWithGlobals<GlobalOptions>();
    const tokens = await everyToken(clientOf(deps, options));
    print(deps, options.output, { tokens }, () => tokenTable(tokens, deps));
  });
}

/** Keys are named by their ids; a name will do when one key has it. */
async function idOf(client: LandlordClient, idOrName: string): Promise<string> {
  const found = (await everyToken(client)).filter(({ id, name }) => id === idOrName || name === idOrName);
  const [only, ...more] = found;
  if (only === undefined) throw new UsageError(`there is no key "${idOrName}": see \`landlord token list\``);
  if (more.length > 0)
    throw new UsageError(`${found.length} keys have the name "${idOrName}": name one by its id`, {
      details: found.map(({ id, created_at: createdAt }) => `${id}, made ${createdAt}`),
    });
  return only.id;
}

function addTokenRotate(group: Command, deps: CliDeps): void {
  const command = group
    .command("rotate")
    .description("Give a key a new secret; the one before stays good for a while")
    .argument("<key>", "its id, or its name")
    .option("--grace <duration>", "how long the secret before stays good; 0 ends it now")
    .addHelpText("after", example("token rotate ci --grace 1h"));
  command.action(async (key: string) => {
    const options = command.optsWithGlobals<GlobalOptions & { readonly grace?: string }>();
    const { grace } = options;
    const graceMs = grace === undefined || grace === "0" ? 0 : parseAge("--grace", grace);
    const graceSeconds = parseWhole("--grace", String(Math.round(graceMs / 1_000)), 0, GRACE_LIMIT_SECONDS);
    const client = clientOf(deps, options);
    const id = await idOf(client, key);
    printSecret(deps, options, await client.rotateToken(id, grace === undefined ? {} : { graceSeconds }));
  });
}

function addTokenRevoke(group: Command, deps: CliDeps): void {
  const command = group
    .command("revoke")
    .description("End a key, everywhere within seconds")
    .argument("<key>", "its id, or its name")
    .addHelpText("after", example("token revoke ci"));
  command.action(async (key: string) => {
    const client = clientOf(deps, command.optsWithGlobals<GlobalOptions>());
    const id = await idOf(client, key);
    await client.revokeToken(id);
    deps.stdout.write(`${printable(key)} revoked\n`);
  });
}

interface AuditFlags {
  readonly actor?: string;
  readonly action?: string;
  readonly tenant?: string;
  readonly since?: string;
  readonly until?: string;
  readonly outcome?: "allowed" | "denied" | "failed";
  readonly limit: string;
  readonly all?: boolean;
}

function addAudit(program: Command, deps: CliDeps): void {
  const command = program
    .command("audit")
    .description("Show who wrote what, and who was refused; newest first, for an admin")
    .option("--actor <name>", "only what this one did")
    .option("--action <operation>", "only this operation, such as applyTenant")
    .option("--tenant <tenant>", "only requests that named this tenant")
    .option("--since <time>", "not before: a time like 2026-01-31T00:00:00Z, or an age like 2h or 7d")
    .option("--until <time>", "not after: the same")
    .addOption(new Option("--outcome <outcome>", "only these").choices(["allowed", "denied", "failed"]))
    .option("--limit <count>", "how many at most, up to 500", "50")
    .option("--all", "all that match; with -o ndjson they are printed as they come")
    .addHelpText(
      "after",
      example(
        "audit --since 1h",
        "audit --outcome denied --actor ci",
        "audit --all -o ndjson > audit.ndjson",
      ),
    );
  command.action(async () => {
    const options = command.optsWithGlobals<GlobalOptions & AuditFlags>();
    const { actor, action, tenant, outcome } = options;
    const limit = parseWhole("--limit", options.limit, 1, PAGE);
    const params: AuditParams = {
      actor,
      action,
      tenant,
      outcome,
      since: timeOf("--since", options.since),
      until: timeOf("--until", options.until),
      limit: options.all === true ? PAGE : limit,
    };
    const client = clientOf(deps, options);
    const entries: AuditEntry[] = [];
    let next: string | null = null;
    do {
      const page = await client.listAudit({ ...params, ...(next === null ? {} : { page_token: next }) });
      if (options.output === "ndjson") for (const entry of page.entries) deps.stdout.write(toJsonLine(entry));
      else entries.push(...page.entries);
      next = page.next_page_token;
    } while (options.all === true && next !== null);
    if (options.output !== "ndjson")
      print(deps, options.output, { entries, next_page_token: next }, () => auditTable(entries, deps));
  });
}

/** RFC 3339, from a time or from an age. Throws UsageError. */
function timeOf(option: string, text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  if (/^\d+(?:\.\d+)?[a-zµ]/.test(text)) return new Date(Date.now() - parseAge(option, text)).toISOString();
  const at = Date.parse(text);
  if (Number.isNaN(at))
    throw new UsageError(`${option} wants a time like 2026-01-31T00:00:00Z or an age like 2h, got "${text}"`);
  return new Date(at).toISOString();
}

function auditTable(entries: readonly AuditEntry[], deps: CliDeps): string {
  const rows = entries.map((entry) => [
    entry.at,
    entry.actor,
    entry.role ?? "-",
    entry.action,
    entry.tenant ?? "-",
    entry.outcome,
    `${entry.status}${entry.code === null ? "" : ` ${entry.code}`}`,
    entry.request_id,
  ]);
  const columns = ["TIME", "ACTOR", "ROLE", "ACTION", "TENANT", "OUTCOME", "STATUS", "REQUEST"];
  return toTable(columns, rows, { width: deps.stdout.columns });
}
