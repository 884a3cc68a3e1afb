/** The command line as people call it, and which of its commands were called. */
import { spawn } from "node:child_process";
import { LANDLORD, until } from "./dev.ts";

export interface Run {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface LiveRun {
  output(): string;
  /** Until standard output has this. */
  sees(text: string | RegExp): Promise<void>;
  /** Ends it and everything that it started, without a chance to tidy up. */
  kill(): Promise<void>;
  stop(): Promise<number | null>;
}

export interface Cli {
  /** `command` is the command's words, "token create"; `words` what it gets. */
  run(command: string, ...words: readonly string[]): Promise<Run>;
  /** The same with something on standard input. */
  pipe(input: string, command: string, ...words: readonly string[]): Promise<Run>;
  start(command: string, ...words: readonly string[]): LiveRun;
  /** All commands that were called so far. */
  readonly called: ReadonlySet<string>;
}

export function createCli(cwd: string, env: Readonly<Record<string, string>>): Cli {
  const called = new Set<string>();
  const launch = (command: string, words: readonly string[]) => {
    called.add(command);
    const own = Object.fromEntries(
      Object.entries(process.env).filter(([name]) => !name.startsWith("LANDLORD_")),
    );
    return spawn(process.execPath, [LANDLORD, ...command.split(" "), ...words], {
      cwd,
      env: { ...own, HOME: cwd, XDG_CONFIG_HOME: `${cwd}/config`, ...env },
      stdio: ["pipe", "pipe", "pipe"],
      // A group of its own: killing it reaches what it started.
      detached: true,
    });
  };
  const pipe = (input: string, command: string, ...words: readonly string[]): Promise<Run> =>
    new Promise((resolve, reject) => {
      const child = launch(command, words);
      const [out, err]: [string[], string[]] = [[], []];
      child.stdout.on("data", (chunk: Buffer) => out.push(chunk.toString()));
      child.stderr.on("data", (chunk: Buffer) => err.push(chunk.toString()));
      child.once("error", reject);
      child.once("close", (status) => resolve({ status, stdout: out.join(""), stderr: err.join("") }));
      child.stdin.end(input);
    });
  return {
    called,
    pipe,
    run: (command, ...words) => pipe("", command, ...words),
    start(command, ...words) {
      const child = launch(command, words);
      const out: string[] = [];
      child.stdout.on("data", (chunk: Buffer) => out.push(chunk.toString()));
      child.stderr.on("data", (chunk: Buffer) => out.push(chunk.toString()));
      child.stdin.end();
      const closed = new Promise<number | null>((resolve) => child.once("close", resolve));
      const signal = (name: NodeJS.Signals): void => {
        if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, name);
      };
      return {
        output: () => out.join(""),
        sees: (text) =>
          until(`${command} prints ${String(text)}`, 30_000, () => {
            const soFar = out.join("");
            return typeof text === "string" ? soFar.includes(text) : text.test(soFar);
          }).catch((error: unknown) => {
            throw new Error(`${command} printed: ${out.join("")}`, { cause: error });
          }),
        async kill() {
          signal("SIGKILL");
          await closed;
        },
        async stop() {
          // The launcher passes it on; a signal that comes twice means "at once".
          child.kill("SIGTERM");
          return closed;
        },
      };
    },
  };
}

/** Every command without commands beneath it, aliases too, from the program's own completion script for fish. */
export function leavesOf(fishScript: string): readonly string[] {
  const pairs = [...fishScript.matchAll(/__landlord_at \\'(.*?)\\'' -f -a '([^']+)'/g)];
  const paths = pairs.map(([, path = "", name = ""]) => `${path} ${name}`.trim());
  return paths.filter((path) => !paths.some((other) => other.startsWith(`${path} `)));
}
