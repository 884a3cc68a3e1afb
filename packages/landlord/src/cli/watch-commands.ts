/** The commands that wait for what happens. */
import type { TenantEvent } from "@landlord/client";
import { Option, type Command } from "commander";
import { example, withTenants } from "./command.ts";
import { clientOf, hasOutputColour, print, type CliDeps, type GlobalOptions } from "./context.ts";
import { waitForAll, type Awaited, type WaitGoal } from "./finish.ts";
import { parseTenants, parseTimeout, UsageError, type TenantReference } from "./input.ts";
import { printable, toJsonLine, toYaml } from "./output.ts";
import { paintStatus } from "./tenant-view.ts";

export function addWatchCommands(program: Command, deps: CliDeps): void {
  addWatch(program, deps);
  addWait(program, deps);
}

/** One transition for people: time, tenant, from, to, and why. */
export function eventLine(event: TenantEvent, deps: CliDeps): string {
  const to = paintStatus(printable(event.to_status ?? "removed"), hasOutputColour(deps));
  const from = event.from_status === null ? "" : `${event.from_status} → `;
  const message = event.message === "" ? "" : `: ${event.message}`;
  const head = printable(`${event.at}  ${event.tenant_name}  ${from}`);
  return `${head}${to}  ${printable(`generation ${event.generation}, ${event.reason} by ${event.actor}${message}`)}\n`;
}

interface WatchFlags {
  readonly selector?: string;
  readonly after?: string;
}

function addWatch(program: Command, deps: CliDeps): void {
  const command = program
    .command("watch")
    .description("Print every status change as it happens, until Ctrl-C")
    .argument("[tenant]", "only this tenant's: its uuid or name")
    .option("-l, --selector <selector>", "only tenants with these labels: env=prod,tier!=free")
    .option("--after <token>", "what came after this event first; oldest: everything that is kept")
    .addHelpText(
      "after",
      example("watch", "watch acme --after oldest", "watch -l env=prod -o json | jq .to_status"),
    );
  command.action(async (tenant: string | undefined) => {
    const options = command.optsWithGlobals<GlobalOptions & WatchFlags>();
    const { output, selector, after } = options;
    if (output === "name" || typeof output === "object")
      throw new UsageError("watch prints table, wide, json, ndjson or yaml");
    const client = clientOf(deps, options);
    const events = client.watch({
      tenant,
      selector,
      after,
      signal: deps.signal,
      onInterrupted: (error, retryInMs) => {
        const reason = error === null ? "the server ended the connection" : error.message;
        const pause = `again in ${(retryInMs / 1_000).toFixed(1)} s`;
        deps.stderr.write(`${printable(reason)}: ${pause}\n`);
      },
    });
    for await (const event of events) {
      if (output === "json" || output === "ndjson") deps.stdout.write(toJsonLine(event));
      else deps.stdout.write(output === "yaml" ? `---\n${toYaml(event)}` : eventLine(event, deps));
    }
  });
}

interface WaitOptions extends GlobalOptions, TenantReference {
  readonly for: WaitGoal;
  readonly timeout: string;
  readonly selector?: string;
}

function addWait(program: Command, deps: CliDeps): void {
  const command = withTenants(
    program
      .command("wait")
      .description("Return once tenants are ready, archived or deleted; a failed one ends the wait"),
  )
    .addOption(
      new Option("--for <state>", "what to wait for")
        .choices(["ready", "archived", "deleted"])
        .makeOptionMandatory(),
    )
    .option("--timeout <duration>", "give up after this time", "5m")
    .addHelpText(
      "after",
      example("wait acme --for=ready --timeout 2m", "wait --selector batch=7 --for=deleted"),
    );
  command.action(async (positional: readonly string[]) => {
    const options = command.optsWithGlobals<WaitOptions>();
    const names = parseTenants(positional, options);
    const timeoutMs = parseTimeout(options.timeout);
    const client = clientOf(deps, options);
    const selected: Awaited[] = names.map((name) => ({ id: name, name }));
    if (options.selector !== undefined) {
      const filter = { selector: options.selector, include_deleted: true, limit: 500 };
      for await (const { id, name } of client.listAllTenants(filter)) selected.push({ id, name });
    }
    const lasts = await waitForAll(deps, client, selected, { goal: options.for, timeoutMs });
    const tenants = lasts.map((tenant, index) => ({
      ...(tenant ?? { id: selected[index]?.id, name: selected[index]?.name }),
      ...(options.for === "deleted" ? { status: "deleted" } : {}),
    }));
    // Standard error had a line for each of them already.
    if (options.output !== "table") print(deps, options.output, { tenants }, () => "");
  });
}
