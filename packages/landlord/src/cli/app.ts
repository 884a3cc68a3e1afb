/** The command line: one program, its commands, its exit codes. */
import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { messageOf } from "../domain/errors.ts";
import { example, type Report } from "./command.ts";
import { hasColour, DEFAULT_API_URL, type CliDeps } from "./context.ts";
import { EXIT_CODES, exitCodeOf, renderFailure } from "./failure.ts";
import { parseOutputFormat, type OutputFormat } from "./output.ts";
import { addProcessCommands } from "./process-commands.ts";
import { PROCESS_COMMANDS } from "./processes.ts";

export type { CliDeps, RunOptions } from "./context.ts";

const EXIT_CODE_HELP = `
Exit codes: 0 ok, 1 failure, 2 wrong usage or configuration, also a tenant's, 3 not found, 4 conflict, 5 server unreachable,
6 wait timed out, 7 tenant failed, 8 diff failed.
`;

/** The whole command line as a commander program, for documentation and completion; `runCli` runs it. */
export async function buildCli(deps: CliDeps): Promise<Command> {
  return (await assemble(undefined, deps)).program;
}

async function assemble(
  command: string | undefined,
  deps: CliDeps,
): Promise<{ readonly program: Command; readonly exitCode: () => number }> {
  let exitCode: number = EXIT_CODES.ok;
  const program = new Command("landlord")
    .description("Give every tenant its own compute, and keep it as it should be")
    .version(deps.version ?? "0.0.0")
    .option(
      "--server <url>",
      `URL of the API (default: LANDLORD_API_URL, the current context, ${DEFAULT_API_URL})`,
    )
    .addOption(new Option("--api-url <url>", "the same as --server").conflicts("server"))
    .option("--token <token>", "key of the API (default: LANDLORD_API_TOKEN, then the context's)")
    .option("--context <name>", "context to take URL and key from; see `landlord context list`")
    .addOption(
      new Option("-o, --output <format>", "table, wide, json, yaml, ndjson, name or jsonpath=EXPR")
        .argParser(outputFormat)
        .default("table"),
    )
    .option("--no-color", "no colour; so does the variable NO_COLOR")
    .exitOverride()
    .configureOutput({
      writeOut: (text) => deps.stdout.write(text),
      writeErr: (text) => deps.stderr.write(text),
      getOutHelpWidth: () => deps.stdout.columns ?? 100,
      getErrHelpWidth: () => deps.stderr.columns ?? 100,
    })
    .configureHelp({ showGlobalOptions: true })
    .showHelpAfterError("hint: run the command with --help to see how it is used")
    .addHelpText(
      "after",
      EXIT_CODE_HELP + example("dev", `create --tenant-name acme --config @acme.yaml --wait`),
    );
  const report: Report = (code) => {
    exitCode = code;
  };
  addProcessCommands(program, deps, report);
  // Each process of ours loads this: it gets by without the commands of clients.
  if (command === undefined || !PROCESS_COMMANDS.includes(command)) {
    const { addClientCommands } = await import("./client-commands.ts");
    addClientCommands(program, deps, report);
  }
  return { program, exitCode: () => exitCode };
}

function outputFormat(text: string): OutputFormat {
  try {
    return parseOutputFormat(text);
  } catch (error) {
    throw new InvalidArgumentError(`${messageOf(error)}.`);
  }
}

/**
 * Runs one command. `argv` holds the words after the program's name. Answers the exit code and never throws;
 * failures are printed to standard error.
 */
export async function runCli(argv: readonly string[], deps: CliDeps): Promise<number> {
  // Before anything is parsed: what is wrong with the words is told without colour too.
  const env = argv.includes("--no-color") ? { ...deps.env, NO_COLOR: "1" } : deps.env;
  const { program, exitCode } = await assemble(argv[0], { ...deps, env });
  try {
    await program.parseAsync([...argv], { from: "user" });
    return exitCode();
  } catch (error) {
    // Commander has printed its own message already; asking for help or the version is no mistake.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_CODES.ok : EXIT_CODES.usage;
    deps.stderr.write(renderFailure(error, hasColour({ ...deps, env })));
    return exitCodeOf(error);
  }
}
