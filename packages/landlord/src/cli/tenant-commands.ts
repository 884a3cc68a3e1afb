/** The commands that write one tenant's configuration. */
import type { Command } from "commander";
import { collect, example, withTenant, withWait } from "./command.ts";
import { clientOf, type CliDeps, type GlobalOptions } from "./context.ts";
import { finish, type WaitFlags } from "./finish.ts";
import {
  parseConfigArgument,
  parsePairs,
  parseTenant,
  parseTimeout,
  UsageError,
  type TenantReference,
} from "./input.ts";

export function addTenantCommands(program: Command, deps: CliDeps): void {
  addCreate(program, deps);
  addSet(program, deps);
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
