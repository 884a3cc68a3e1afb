/** The commands about servers and who one is to them. */
import { createClient, type Identity } from "@landlord/client";
import type { Command } from "commander";
import { CONTEXT_NAME, contextsFile, readContexts, writeContexts } from "../config/contexts.ts";
import { example } from "./command.ts";
import { clientOf, connectionOf, print, type CliDeps, type GlobalOptions } from "./context.ts";
import { UsageError } from "./input.ts";
import { printable, toTable } from "./output.ts";

export function addContextCommands(program: Command, deps: CliDeps): void {
  addLogin(program, deps);
  addLogout(program, deps);
  addWhoami(program, deps);
  const group = program.command("context").description("Manage the servers that you work with");
  addContextList(group, deps);
  addContextUse(group, deps);
  addContextShow(group, deps);
  addContextDelete(group, deps);
}

function addLogin(program: Command, deps: CliDeps): void {
  const command = program
    .command("login")
    .description("Try a server and a key, and keep both as the current context")
    .argument("<url>", "URL of the API")
    .option("--token-stdin", "read the key from standard input")
    .option("--name <context>", "name of the context; the server's host by default")
    .addHelpText(
      "after",
      example(
        "login https://landlord.example --token-stdin < key.txt",
        "login http://127.0.0.1:8081 --name local",
      ),
    );
  command.action(async (url: string) => {
    const options = command.optsWithGlobals<
      GlobalOptions & { readonly tokenStdin?: boolean; readonly name?: string }
    >();
    if (options.tokenStdin === true && options.token !== undefined)
      throw new UsageError("give the key once: --token or --token-stdin");
    if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol))
      throw new UsageError(`"${url}" is no URL: write one like https://landlord.example`);
    const server = url.replace(/\/+$/, "").replace(/\/v1$/, "");
    const name = options.name ?? new URL(server).host.replace(/[^A-Za-z0-9._-]/g, "-");
    if (!CONTEXT_NAME.test(name))
      throw new UsageError(`"${name}" is no name of a context: use a-z, 0-9, . _ -`);
    const read = options.tokenStdin === true ? (await deps.input.readAll()).trim() : undefined;
    if (read === "") throw new UsageError("standard input held no key");
    const token = read ?? options.token ?? (deps.env["LANDLORD_API_TOKEN"] || undefined);
    const identity = await createClient({ baseUrl: server, ...(token ? { token } : {}) }).getIdentity();
    const { contexts } = readContexts(deps.env);
    const context = { server, ...(token ? { token } : {}) };
    writeContexts(deps.env, { current: name, contexts: { ...contexts, [name]: context } });
    print(
      deps,
      options.output,
      { context: name, server, identity },
      () => printable(`Logged in at ${server} as ${identityText(identity)}; context ${name}`) + "\n",
    );
  });
}

function identityText({ name, role, scope, expires_at: expires }: Identity): string {
  const within = scope === null ? "" : `, only tenants with ${scope}`;
  return `${name}, ${role}${within}${expires === null ? "" : `, until ${expires}`}`;
}

function addLogout(program: Command, deps: CliDeps): void {
  const command = program
    .command("logout")
    .description("Forget the key of a context; the key itself stays good until it is revoked")
    .addHelpText("after", example("logout", "logout --context prod"));
  command.action(() => {
    const options = command.optsWithGlobals<GlobalOptions>();
    const all = readContexts(deps.env);
    const name = options.context ?? all.current;
    const context = name === null ? undefined : all.contexts[name];
    if (name === null || context === undefined) throw new UsageError("there is no context to log out of");
    writeContexts(deps.env, { ...all, contexts: { ...all.contexts, [name]: { server: context.server } } });
    deps.stdout.write(printable(`Forgot the key of ${name}`) + "\n");
  });
}

function addWhoami(program: Command, deps: CliDeps): void {
  const command = program
    .command("whoami")
    .description("Show who you are to the API, and where it is")
    .addHelpText("after", example("whoami", "whoami -o jsonpath={.role}"));
  command.action(async () => {
    const options = command.optsWithGlobals<GlobalOptions>();
    const { server, context } = connectionOf(deps, options);
    const identity = await clientOf(deps, options).getIdentity();
    print(deps, options.output, { ...identity, server, context }, () =>
      [
        identityText(identity),
        `by ${identity.authenticated_by.replace("_", " ")} at ${server}${context === null ? "" : `, context ${context}`}`,
      ]
        .map((line) => `${printable(line)}\n`)
        .join(""),
    );
  });
}

function addContextList(group: Command, deps: CliDeps): void {
  const command = group
    .command("list")
    .description("List contexts; * marks the current one")
    .addHelpText("after", example("context list", "context list -o name"));
  command.action(() => {
    const options = command.optsWithGlobals<GlobalOptions>();
    const { current, contexts } = readContexts(deps.env);
    const list = Object.entries(contexts).map(([name, { server, token }]) => ({
      name,
      server,
      has_token: token !== undefined,
      current: name === current,
    }));
    print(deps, options.output, list, () =>
      toTable(
        ["CURRENT", "NAME", "SERVER", "KEY"],
        list.map((each) => [
          each.current ? "*" : "",
          each.name,
          each.server,
          each.has_token ? "kept" : "none",
        ]),
        { width: deps.stdout.columns },
      ),
    );
  });
}

function addContextUse(group: Command, deps: CliDeps): void {
  const command = group
    .command("use")
    .description("Make a context the current one")
    .argument("<name>", "name of the context")
    .addHelpText("after", example("context use prod"));
  command.action((name: string) => {
    const { contexts } = readContexts(deps.env);
    requireContext(contexts, name);
    writeContexts(deps.env, { current: name, contexts });
    deps.stdout.write(`Now at ${printable(contexts[name]?.server ?? "")}, context ${name}\n`);
  });
}

function requireContext(contexts: Readonly<Record<string, unknown>>, name: string): void {
  if (Object.hasOwn(contexts, name)) return;
  const known = Object.keys(contexts).join(", ") || "none";
  throw new UsageError(`there is no context "${name}"; there are: ${known}`);
}

function addContextShow(group: Command, deps: CliDeps): void {
  const command = group
    .command("show")
    .description("Show which server the commands go to, and why")
    .addHelpText("after", example("context show", "context show -o json"));
  command.action(() => {
    const options = command.optsWithGlobals<GlobalOptions>();
    const { server, context, token } = connectionOf(deps, options);
    const shown = { context, server, has_token: token !== undefined, file: contextsFile(deps.env) };
    print(deps, options.output, shown, () =>
      [
        `Context: ${context ?? "none"}`,
        `Server:  ${server}`,
        `Key:     ${token === undefined ? "none" : "yes"}`,
        `File:    ${shown.file}`,
      ]
        .map((line) => `${printable(line)}\n`)
        .join(""),
    );
  });
}

function addContextDelete(group: Command, deps: CliDeps): void {
  const command = group
    .command("delete")
    .description("Forget a context")
    .argument("<name>", "name of the context")
    .addHelpText("after", example("context delete old"));
  command.action((name: string) => {
    const { current, contexts } = readContexts(deps.env);
    requireContext(contexts, name);
    const { [name]: _, ...others } = contexts;
    writeContexts(deps.env, { current: current === name ? null : current, contexts: others });
    deps.stdout.write(`Forgot context ${name}\n`);
  });
}
