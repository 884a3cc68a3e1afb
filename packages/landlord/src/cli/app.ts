/** The command line: one program, its commands, its exit codes. */
import { Command, CommanderError, Option } from "commander";
import { hasColour, DEFAULT_API_URL, type CliDeps } from "./context.ts";
import { EXIT_CODES, exitCodeOf, renderFailure } from "./failure.ts";
import { addFleetCommands } from "./fleet-commands.ts";
import { addInspectCommands } from "./inspect-commands.ts";
import { OUTPUT_FORMATS } from "./output.ts";
import { addProcessCommands } from "./process-commands.ts";
import { addTenantCommands, example } from "./tenant-commands.ts";

export type { CliDeps, RunOptions } from "./context.ts";

const EXIT_CODE_HELP = `
Exit codes: 0 ok, 1 failure, 2 wrong usage or configuration, also a tenant's, 3 not found, 4 conflict, 5 server unreachable,
6 wait timed out, 7 tenant failed.
`;

function assemble(deps: CliDeps): { readonly program: Command; readonly exitCode: () => number } {
  let exitCode: number = EXIT_CODES.ok;
  const program = new Command("landlord")
    .description("Give every tenant its own compute, and keep it as it should be")
    .version(deps.version ?? "0.0.0")
    .option("--api-url <url>", `base URL of the API (default: LANDLORD_API_URL, then ${DEFAULT_API_URL})`)
    .addOption(new Option("-o, --output <format>", "output format").choices(OUTPUT_FORMATS).default("table"))
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
  addProcessCommands(program, deps, (code) => {
    exitCode = code;
  });
  addTenantCommands(program, deps);
  addInspectCommands(program, deps);
  addFleetCommands(program, deps);
  return { program, exitCode: () => exitCode };
}

/** The whole command line as a commander program, for documentation and completion; `runCli` runs it. */
export function buildCli(deps: CliDeps): Command {
  return assemble(deps).program;
}

/**
 * Runs one command. `argv` holds the words after the program's name. Answers the exit code and never throws;
 * failures are printed to standard error.
 */
export async function runCli(argv: readonly string[], deps: CliDeps): Promise<number> {
  const { program, exitCode } = assemble(deps);
  try {
    await program.parseAsync([...argv], { from: "user" });
    return exitCode();
  } catch (error) {
    // Commander has printed its own message already; asking for help or the version is no mistake.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT_CODES.ok : EXIT_CODES.usage;
    deps.stderr.write(renderFailure(error, hasColour(deps)));
    return exitCodeOf(error);
  }
}
