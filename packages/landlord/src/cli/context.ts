import { createClient, type LandlordClient } from "@landlord/client";
import type { z } from "zod";
import type { FlagSetting } from "../config/load.ts";
import { toJson, toYaml, type Output, type OutputFormat } from "./output.ts";

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

/** What the composition root gives to the command line. */
export interface CliDeps {
  /** Each runs until its process is done and answers the exit code. */
  readonly runServe: (options: RunOptions) => Promise<number>;
  readonly runWorker: (options: RunOptions) => Promise<number>;
  readonly runDev: (options: RunOptions) => Promise<number>;
  readonly runMigrate: (options: RunOptions) => Promise<number>;
  /** The schemas of all providers, those of packages that these sources name included: for `config print`. */
  readonly configSchemas: (sources: SchemaSources) => Promise<ConfigSchemas>;
  readonly stdout: Output;
  readonly stderr: Output;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** People are watching: live progress and colour. */
  readonly isTerminal: boolean;
  /** For relative paths; the process's own by default. */
  readonly cwd?: string;
  readonly version?: string;
}

/** Options that every command has. */
export interface GlobalOptions {
  readonly apiUrl?: string;
  readonly output: OutputFormat;
}

export const DEFAULT_API_URL = "http://127.0.0.1:8081";

export function clientOf(deps: CliDeps, options: GlobalOptions): LandlordClient {
  const token = deps.env["LANDLORD_API_TOKEN"];
  return createClient({
    baseUrl: options.apiUrl ?? (deps.env["LANDLORD_API_URL"] || DEFAULT_API_URL),
    ...(token ? { token } : {}),
  });
}

/** https://no-color.org: any value that is not empty turns colour off. */
export function hasColour(deps: CliDeps): boolean {
  return deps.isTerminal && !deps.env["NO_COLOR"] && deps.env["TERM"] !== "dumb";
}

/** Colour for standard output, which may be a pipe even when people watch standard error. */
export function hasOutputColour(deps: CliDeps): boolean {
  return hasColour(deps) && deps.stdout.columns !== undefined;
}

/** Prints data in the chosen format; `table` is what people get to see. */
export function print(deps: CliDeps, format: OutputFormat, value: unknown, table: () => string): void {
  switch (format) {
    case "json":
      deps.stdout.write(toJson(value));
      return;
    case "yaml":
      deps.stdout.write(toYaml(value));
      return;
    case "table":
      deps.stdout.write(table());
  }
}
