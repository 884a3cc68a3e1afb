/**
 * Starts processes of `landlord dev` before anything is known of their work: while the supervisor loads its program and
 * its configuration, they load theirs. Imports next to nothing: it is done before anything is loaded.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { passedOn } from "../../config/passed-on.ts";
import { SUPERVISED_VARIABLE } from "../supervision.ts";

const STDERR = 2;

export type ChildCommand = "serve" | "worker";

/** Processes that nobody has taken over yet. */
export type StartedAhead = Partial<Record<ChildCommand, ChildProcess>>;

/**
 * The server, where this command line will want one; nobody has to take it over. Not the worker as well: the three would
 * be in each other's way, and what everything waits for is the supervisor.
 *
 * @param words of the command line
 */
export function startServerAhead(main: string, words: readonly string[]): StartedAhead {
  const isWanted = words[0] === "dev" && !words.some((word) => word === "--help" || word === "-h");
  return isWanted ? { serve: startAhead(main, "serve") } : {};
}

/** Does not keep this process alive, and ends with it. Until it has its orders, what it says goes to our standard error. */
export function startAhead(main: string, command: ChildCommand): ChildProcess {
  const child = spawn(process.execPath, [...process.execArgv, main, command], {
    env: { ...passedOn(), [SUPERVISED_VARIABLE]: "1" },
    stdio: ["ignore", STDERR, STDERR, "ipc"],
    // Its own group: Ctrl-C of the terminal reaches the supervisor only, which stops things in order.
    detached: true,
  });
  // One that could not be started has no pid; whoever takes it over sees that.
  child.on("error", () => undefined);
  child.unref();
  child.channel?.unref();
  return child;
}
