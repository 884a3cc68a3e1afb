import { createClient, type LandlordClient } from "@landlord/client";
import type { z } from "zod";
import { readContexts, type Context } from "../config/contexts.ts";
import type { FlagSetting, LoadedConfig } from "../config/load.ts";
import { UsageError } from "./input.ts";
import {
  itemsOf,
  nameOf,
  printable,
  toJson,
  toJsonLine,
  toYaml,
  type Output,
  type OutputFormat,
} from "./output.ts";

/** What a process command was called with; goes into `loadConfig` as it is. */
export interface RunOptions {
  readonly configFile?: string;
  readonly flags: readonly FlagSetting[];
}

/** Where a configuration comes from, as far as it names packages. */
export interface SchemaSources extends RunOptions {
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
}

/** The blocks of compute providers and of workflow engines, by name. */
export interface ConfigSchemas {
  readonly computeSchemas: Readonly<Record<string, z.ZodType>>;
  readonly workflowSchemas: Readonly<Record<string, z.ZodType>>;
}

/** One thing that `doctor` looked at. */
export interface Finding {
  readonly check: string;
  /** `skipped`: what it depends on is not there. */
  readonly status: "ok" | "warning" | "problem" | "skipped";
  readonly message: string;
  /** What a person can do about it. */
  readonly mend?: string | undefined;
}

/** Where the command line reads what people type or pipe. */
export interface Input {
  /** Somebody can answer a question. */
  readonly isTerminal: boolean;
  /** The next line without its end; empty when there is none. */
  readLine(): Promise<string>;
  /** Everything until the end. */
  readAll(): Promise<string>;
}

/** What the composition root gives to the command line. */
export interface CliDeps {
  /** Each runs until its process is done and answers the exit code. */
  readonly runServe: (options: RunOptions) => Promise<number>;
  readonly runWorker: (options: RunOptions) => Promise<number>;
  readonly runDev: (options: RunOptions) => Promise<number>;
  readonly runMigrate: (options: RunOptions) => Promise<number>;
  /** The schemas of all providers, those of packages that these sources name included: for `config print`. */
  readonly configSchemas: (sources: SchemaSources) => Promise<ConfigSchemas>;
  /** Looks at this machine for a server: ports, database, engine, data folder. Never throws. */
  readonly examine: (loaded: LoadedConfig) => Promise<readonly Finding[]>;
  readonly input: Input;
  readonly stdout: Output;
  readonly stderr: Output;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** People are watching: live progress and colour. */
  readonly isTerminal: boolean;
  /** For relative paths; the process's own by default. */
  readonly cwd?: string;
  readonly version?: string;
  /** The process's own by default. */
  readonly nodeVersion?: string;
  /** Ends what goes on for ever: `watch`, `logs -f`. */
  readonly signal?: AbortSignal;
}

/** Options that every command has. */
export interface GlobalOptions {
  readonly server?: string;
  readonly apiUrl?: string;
  readonly token?: string;
  readonly context?: string;
  readonly output: OutputFormat;
}

export const DEFAULT_API_URL = "http://127.0.0.1:8081";

/** Where the API is and who one is to it: flags, then the environment, then the current context, then the default. */
export interface Connection {
  readonly server: string;
  readonly token: string | undefined;
  /** The context that the server is from; null for none. */
  readonly context: string | null;
}

/** Throws UsageError for a context that does not exist. */
export function connectionOf(deps: CliDeps, options: Omit<GlobalOptions, "output">): Connection {
  const flag = options.server ?? options.apiUrl;
  const envServer = deps.env["LANDLORD_API_URL"] || undefined;
  const envToken = deps.env["LANDLORD_API_TOKEN"] || undefined;
  if (options.context !== undefined) {
    const { server, token } = namedContext(deps, options.context);
    // Its token is for its server only.
    const own = flag === undefined || flag === server ? token : undefined;
    return { server: flag ?? server, token: options.token ?? own ?? envToken, context: options.context };
  }
  const elsewhere = flag ?? envServer;
  if (elsewhere !== undefined) return { server: elsewhere, token: options.token ?? envToken, context: null };
  const { current, contexts } = readContexts(deps.env);
  const context = current === null ? undefined : contexts[current];
  return {
    server: context?.server ?? DEFAULT_API_URL,
    token: options.token ?? envToken ?? context?.token,
    context: context === undefined ? null : current,
  };
}

function namedContext(deps: CliDeps, name: string): Context {
  const { contexts } = readContexts(deps.env);
  const context = Object.hasOwn(contexts, name) ? contexts[name] : undefined;
  if (context !== undefined) return context;
  const known = Object.keys(contexts);
  throw new UsageError(
    known.length === 0
      ? `there is no context "${name}", nor any other: make one with \`landlord login URL\``
      : `there is no context "${name}"; there are: ${known.join(", ")}`,
  );
}

export function clientOf(deps: CliDeps, options: Omit<GlobalOptions, "output">): LandlordClient {
  const { server, token } = connectionOf(deps, options);
  return createClient({ baseUrl: server, ...(token === undefined ? {} : { token }) });
}

/** https://no-color.org: any value that is not empty turns colour off; `--no-color` sets it. */
export function hasColour(deps: CliDeps): boolean {
  return deps.isTerminal && !deps.env["NO_COLOR"] && deps.env["TERM"] !== "dumb";
}

/** Colour for standard output, which may be a pipe even when people watch standard error. */
export function hasOutputColour(deps: CliDeps): boolean {
  return hasColour(deps) && deps.stdout.columns !== undefined;
}

/** Whether one line may be drawn again and again on standard error. */
export function isLive(deps: CliDeps): boolean {
  return deps.isTerminal && deps.env["TERM"] !== "dumb";
}

/** Prints data in the chosen format; `table` is what people get to see, with more columns when it is called with true. */
export function print(
  deps: CliDeps,
  format: OutputFormat,
  value: unknown,
  table: (wide: boolean) => string,
): void {
  switch (format) {
    case "json":
      deps.stdout.write(toJson(value));
      return;
    case "yaml":
      deps.stdout.write(toYaml(value));
      return;
    case "ndjson":
      for (const item of itemsOf(value)) deps.stdout.write(toJsonLine(item));
      return;
    case "name":
      for (const item of itemsOf(value)) deps.stdout.write(`${printable(nameOf(item))}\n`);
      return;
    case "table":
    case "wide":
      deps.stdout.write(table(format === "wide"));
      return;
    default: {
      const text = format.read(value).split("\n").map(printable).join("\n");
      deps.stdout.write(text.endsWith("\n") ? text : `${text}\n`);
    }
  }
}
