/** The commands that start processes, and the one that shows their configuration. */
import { Option, type Command } from "commander";
import { parse as parseYaml } from "yaml";
import { loadConfig, type FlagSetting, type LoadedConfig, type LoadOptions } from "../config/load.ts";
import { printConfig } from "../config/print.ts";
import { collect, example, type Report } from "./command.ts";
import { print, type CliDeps, type GlobalOptions, type RunOptions } from "./context.ts";
import { UsageError } from "./input.ts";

export interface ProcessFlags {
  readonly configFile?: string;
  readonly set: string[];
  readonly port?: string;
  readonly dataDir?: string;
}

/** Adds the commands; `report` takes the exit code of a process that ended. */
export function addProcessCommands(program: Command, deps: CliDeps, report: Report): void {
  const addProcess = (
    name: string,
    description: string,
    run: (options: RunOptions) => Promise<number>,
  ): Command => {
    const command = withConfiguration(program.command(name).description(description));
    return command.action(async () => report(await run(runOptionsOf(command.opts<ProcessFlags>()))));
  };
  addProcess(
    "dev",
    "Run everything on this machine: PostgreSQL, Restate, server and worker, with data under one folder",
    deps.runDev,
  )
    .option("--port <port>", "port of the API (http.port)")
    .option("--data-dir <folder>", "folder for all data (data_dir)")
    .addHelpText("after", example("dev", "dev --port 9000 --data-dir /tmp/landlord"));
  addProcess("serve", "Run the server: API and reconciler", deps.runServe).addHelpText(
    "after",
    example("serve --config-file /etc/landlord/landlord.yaml"),
  );
  addProcess("worker", "Run a worker: it executes jobs and needs no database", deps.runWorker).addHelpText(
    "after",
    example("worker --config-file worker.yaml"),
  );
  addProcess("migrate", "Bring the database schema up to date", deps.runMigrate).addHelpText(
    "after",
    example("migrate --config-file /etc/landlord/landlord.yaml"),
  );
  addConfig(program, deps);
}

export function withConfiguration(command: Command): Command {
  return command
    .option("--config-file <file>", "configuration file (default: LANDLORD_CONFIG, then the usual places)")
    .option("--set <key=value>", "one setting, for example log.level=debug; may be repeated", collect, []);
}

export function runOptionsOf(options: ProcessFlags): RunOptions {
  const flags: FlagSetting[] = options.set.map((pair) => {
    const split = pair.indexOf("=");
    if (split < 1) throw new UsageError(`--set wants key=value, got "${pair}"`);
    return { key: pair.slice(0, split), value: pair.slice(split + 1), flag: "--set" };
  });
  if (options.port !== undefined) flags.push({ key: "http.port", value: options.port, flag: "--port" });
  if (options.dataDir !== undefined)
    flags.push({ key: "data_dir", value: options.dataDir, flag: "--data-dir" });
  return { ...(options.configFile === undefined ? {} : { configFile: options.configFile }), flags };
}

export const ROLES = ["cli", "server", "worker", "dev", "migrate"] as const;
export type RoleName = (typeof ROLES)[number];

function addConfig(program: Command, deps: CliDeps): void {
  const config = program.command("config").description("Look at the configuration");
  const command = withConfiguration(config.command("print"))
    .description("Print the configuration in force with the source of each value; secrets are hidden")
    .addOption(new Option("--role <role>", "whose configuration").choices(ROLES).default("cli"))
    .addHelpText(
      "after",
      example("config print", "config print --role worker --config-file worker.yaml", "config print -o json"),
    );
  command.action(async () => {
    const options = command.optsWithGlobals<GlobalOptions & ProcessFlags & { readonly role: RoleName }>();
    const { role, ...flags } = options;
    const sources = {
      ...runOptionsOf(flags),
      env: deps.env,
      ...(deps.cwd === undefined ? {} : { cwd: deps.cwd }),
    };
    const { computeSchemas, workflowSchemas } = await deps.configSchemas(sources);
    const load: Omit<LoadOptions, "role"> = { ...sources, computeSchemas, workflowSchemas };
    const loaded: LoadedConfig =
      role === "worker" ? loadConfig({ ...load, role }) : loadConfig({ ...load, role });
    if (loaded.file !== null) deps.stderr.write(`configuration file: ${loaded.file}\n`);
    const text = printConfig(loaded);
    if (options.output === "table" || options.output === "yaml") deps.stdout.write(text);
    else print(deps, options.output, parseYaml(text), () => text);
  });
}
