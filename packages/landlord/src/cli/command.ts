/** What the commands have in common: options, examples, questions, and work on many things at once. */
import type { Command } from "commander";
import { LandlordError } from "../domain/errors.ts";
import type { CliDeps } from "./context.ts";
import { UsageError } from "./input.ts";

/** Takes the exit code of a command that ended well and not with 0. */
export type Report = (exitCode: number) => void;

/** Calls that run at once, where a command does many. */
export const DEFAULT_CONCURRENCY = "8";
export const CONCURRENCY_LIMIT = 64;

/** Collects the values of an option that may be repeated. */
export function collect(value: string, before: readonly string[]): string[] {
  return [...before, value];
}

/** Adds the three ways to name a tenant. */
export function withTenant(command: Command): Command {
  return command
    .argument("[tenant]", "uuid or name of the tenant")
    .option("--tenant-name <name>", "name of the tenant")
    .option("--tenant-id <uuid>", "uuid of the tenant");
}

/** The same for commands that take several. */
export function withTenants(command: Command): Command {
  return command
    .argument("[tenants...]", "uuids or names of tenants")
    .option("--tenant-name <name>", "name of a tenant")
    .option("--tenant-id <uuid>", "uuid of a tenant")
    .option("-l, --selector <selector>", "all tenants with these labels: env=prod,tier!=free");
}

export function withWait(command: Command, goal: string): Command {
  return command
    .option("--wait", `return only once the tenant is ${goal}`)
    .option("--timeout <duration>", "with --wait: give up after this time", "5m");
}

export function example(...lines: readonly string[]): string {
  return `\n${lines.length === 1 ? "Example" : "Examples"}:\n${lines.map((line) => `  $ landlord ${line}\n`).join("")}`;
}

/** A person said no. */
export class DeclinedError extends LandlordError {
  constructor() {
    super("declined", "Nothing was changed.");
  }
}

/** Asks before something is changed. Without a terminal nobody can answer: `--yes` is needed there. */
export async function confirm(deps: CliDeps, question: string, yes: boolean | undefined): Promise<void> {
  if (yes === true) return;
  const answer = await ask(deps, `${question} [y/N] `, "--yes");
  if (!/^y(?:es)?$/i.test(answer)) throw new DeclinedError();
}

/** One line from the terminal; `instead` is what a script has to pass. */
export async function ask(deps: CliDeps, question: string, instead: string): Promise<string> {
  if (!deps.input.isTerminal)
    throw new UsageError(`nothing was changed: there is no terminal to ask on. Pass ${instead} to go on`);
  deps.stderr.write(question);
  return (await deps.input.readLine()).trim();
}

/** Runs `work` for every item, at most `limit` at once; the answers are in the order of the items. */
export async function inParallel<Item, Answer>(
  items: readonly Item[],
  limit: number,
  work: (item: Item, index: number) => Promise<Answer>,
): Promise<Answer[]> {
  const answers: Answer[] = [];
  let next = 0;
  const lane = async (): Promise<void> => {
    for (let index = next++; index < items.length; index = next++) {
      const item = items[index] as Item;
      answers[index] = await work(item, index);
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, lane));
  return answers;
}

export interface Failure {
  /** The name of a tenant, or where it stands in a file. */
  readonly what: string;
  readonly error: unknown;
}

/** Some of many things failed. */
export class SeveralFailures extends LandlordError {
  readonly failures: readonly Failure[];
  /** Null: the one that all of them have. */
  readonly exitCode: number | null;

  constructor(message: string, failures: readonly Failure[], exitCode: number | null = null) {
    super("several_failures", message);
    this.failures = failures;
    this.exitCode = exitCode;
  }
}

/** Throws when something failed: the error itself when there was one thing to do. */
export function throwFailures(failures: readonly Failure[], total: number, what: string): void {
  const [first] = failures;
  if (first === undefined) return;
  if (total === 1) throw first.error;
  throw new SeveralFailures(`${failures.length} of ${total} ${what}`, failures);
}
