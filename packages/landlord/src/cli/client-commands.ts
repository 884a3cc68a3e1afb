/** Every command that is a client of the API, and what helps with them. Processes are started without loading these. */
import type { Command } from "commander";
import { addAccessCommands } from "./access-commands.ts";
import { addApplyCommand } from "./apply-commands.ts";
import { addContextCommands } from "./context-commands.ts";
import { addCompletionCommand } from "./completion.ts";
import { addDoctorCommand } from "./doctor-command.ts";
import { addFleetCommands } from "./fleet-commands.ts";
import { addImportCommand } from "./import-command.ts";
import { addInspectCommands } from "./inspect-commands.ts";
import { addListCommands } from "./list-commands.ts";
import { addLogsCommand } from "./logs-command.ts";
import { addPlanCommands } from "./plan-commands.ts";
import { addStatusCommands } from "./status-commands.ts";
import { addTenantCommands } from "./tenant-commands.ts";
import { addVerbCommands } from "./verb-commands.ts";
import { addWatchCommands } from "./watch-commands.ts";
import type { Report } from "./command.ts";
import type { CliDeps } from "./context.ts";

/** Adds the commands; `report` takes the exit code of those that have more than one good end. */
export function addClientCommands(program: Command, deps: CliDeps, report: Report): void {
  addApplyCommand(program, deps);
  addPlanCommands(program, deps, report);
  addImportCommand(program, deps);
  addListCommands(program, deps);
  addTenantCommands(program, deps);
  addVerbCommands(program, deps);
  addWatchCommands(program, deps);
  addInspectCommands(program, deps);
  addLogsCommand(program, deps);
  addStatusCommands(program, deps);
  addFleetCommands(program, deps);
  addContextCommands(program, deps);
  addAccessCommands(program, deps);
  addDoctorCommand(program, deps, report);
  addCompletionCommand(program, deps);
}
