/** `import`: many tenants from a CSV file, in one go that can be broken off and taken up again. */
import type { LandlordClient } from "@landlord/client";
import type { Command } from "commander";
import { appendFileSync, closeSync, existsSync, openSync, readFileSync } from "node:fs";
import path from "node:path";
import { LandlordError, messageOf } from "../domain/errors.ts";
import { isJsonObject } from "../domain/json.ts";
import { planDocuments } from "./apply-commands.ts";
import { confirm, CONCURRENCY_LIMIT, DEFAULT_CONCURRENCY, example, inParallel, withWait } from "./command.ts";
import { clientOf, print, type CliDeps, type GlobalOptions } from "./context.ts";
import { startCount, waitForAll, type Awaited, type WaitFlags } from "./finish.ts";
import { readRows, type ImportRow } from "./import-rows.ts";
import { parseTimeout, parseWhole, UsageError } from "./input.ts";
import { printable, toJsonLine } from "./output.ts";

const PROBLEMS_SHOWN = 100;

interface ImportFlags extends GlobalOptions, WaitFlags {
  readonly template: string;
  readonly report?: string;
  readonly plan: boolean;
  readonly yes?: boolean;
  readonly dryRun?: boolean;
  readonly concurrency: string;
}

/** A line of the report. */
interface Outcome {
  readonly row: number;
  readonly line: string;
  readonly name: string;
  readonly hash: string;
  readonly outcome: "applied" | "failed";
  readonly at: string;
  readonly id?: string;
  readonly generation?: number;
  readonly code?: string;
  readonly error?: string;
}

export function addImportCommand(program: Command, deps: CliDeps): void {
  const command = program
    .command("import")
    .description("Apply a tenant for each row of a CSV file; a run that was broken off is taken up again")
    .argument("<csv>", "the file; its first line names the columns")
    .requiredOption("--template <file>", "a tenant in YAML or JSON with ${column} where a cell goes")
    .option(
      "--report <file>",
      "one line of JSON for each row; rows that went well before are skipped (default: CSV.import.ndjson)",
    )
    .option("--no-plan", "do not have the server check every row first; for when no worker is there")
    .option("--dry-run", "only check every row")
    .option("-y, --yes", "do not ask")
    .option("--concurrency <count>", `calls at once, up to ${CONCURRENCY_LIMIT}`, DEFAULT_CONCURRENCY);
  withWait(command, "ready").addHelpText(
    "after",
    example(
      "import tenants.csv --template tenant.yaml",
      "import tenants.csv --template tenant.yaml --report run-1.ndjson --yes",
    ),
  );
  command.action(async (csv: string) => run(deps, csv, command.optsWithGlobals<ImportFlags>()));
}

async function run(deps: CliDeps, csv: string, options: ImportFlags): Promise<void> {
  const timeoutMs = parseTimeout(options.timeout);
  const limit = parseWhole("--concurrency", options.concurrency, 1, CONCURRENCY_LIMIT);
  const cwd = deps.cwd ?? process.cwd();
  const { rows, problems } = readRows(readInput(csv, cwd), readInput(options.template, cwd));
  if (problems.length > 0) throw invalidRows(problems);
  const report = path.resolve(cwd, options.report ?? `${csv}.import.ndjson`);
  const done = succeeded(report);
  const due = rows.filter(({ document, hash }) => done.get(document.name)?.hash !== hash);
  const skipped = rows.length - due.length;
  const client = clientOf(deps, options);
  if (options.plan)
    await planDocuments(
      client,
      due.map(({ document }) => document),
      { limit, plan: true },
    );
  const went = skipped === 0 ? "" : `, ${skipped} went well before`;
  deps.stderr.write(`${rows.length} rows are valid${went}; ${due.length} to apply\n`);
  if (options.dryRun === true) return;
  if (due.length > 0) await confirm(deps, `Apply ${due.length} tenants?`, options.yes);
  const outcomes = await applyRows(deps, client, due, { report, limit });
  const failed = outcomes.filter(({ outcome }) => outcome === "failed");
  print(
    deps,
    options.output,
    { outcomes, skipped },
    () =>
      `${outcomes.length - failed.length} applied, ${failed.length} failed, ${skipped} skipped; report: ${printable(report)}\n`,
  );
  if (failed.length > 0) throw failedRows(failed);
  if (options.wait !== true) return;
  // Also those of a run before, which may have been broken off while it waited.
  const tenants = rows.map(({ document: { name } }): Awaited => {
    const { id = name, generation } = outcomes.find((each) => each.name === name) ?? done.get(name) ?? {};
    return { id, name, generation };
  });
  await waitForAll(deps, client, tenants, { goal: "ready", timeoutMs });
}

function readInput(file: string, cwd: string): { readonly file: string; readonly text: string } {
  try {
    return { file, text: readFileSync(path.resolve(cwd, file), "utf8") };
  } catch (error) {
    throw new UsageError(`cannot read ${file}`, { details: [messageOf(error)], cause: error });
  }
}

function invalidRows(problems: readonly string[]): UsageError {
  const more = problems.length - PROBLEMS_SHOWN;
  return new UsageError("not every row is valid; nothing was sent", {
    details: [...problems.slice(0, PROBLEMS_SHOWN), ...(more > 0 ? [`and ${more} more`] : [])],
  });
}

function failedRows(failed: readonly Outcome[]): LandlordError {
  const more = failed.length - PROBLEMS_SHOWN;
  return new LandlordError("rows_failed", `${failed.length} rows failed; run it again to try only them`, {
    details: [
      ...failed.slice(0, PROBLEMS_SHOWN).map(({ line, name, error }) => `${line}: ${name}: ${error ?? ""}`),
      ...(more > 0 ? [`and ${more} more`] : []),
    ],
  });
}

/** The rows that went well in the runs before, by name. The last line may have been cut off by a crash. */
function succeeded(report: string): ReadonlyMap<string, Outcome> {
  const found = new Map<string, Outcome>();
  if (!existsSync(report)) return found;
  for (const text of readFileSync(report, "utf8").split("\n")) {
    let line: unknown;
    try {
      line = JSON.parse(text);
    } catch {
      continue;
    }
    if (!isJsonObject(line) || typeof line["name"] !== "string") continue;
    const outcome = line as unknown as Outcome;
    if (outcome.outcome === "applied") found.set(outcome.name, outcome);
    else found.delete(outcome.name);
  }
  return found;
}

/** A row is in the report as soon as the server has it: what is missing there after a crash is applied again. */
async function applyRows(
  deps: CliDeps,
  client: LandlordClient,
  rows: readonly ImportRow[],
  { report, limit }: { readonly report: string; readonly limit: number },
): Promise<readonly Outcome[]> {
  if (rows.length === 0) return [];
  const progress = startCount(deps, rows.length, "applied");
  const file = openReport(report);
  try {
    return await inParallel(rows, limit, async ({ row, document, hash }) => {
      const { name, source, body } = document;
      const facts = { row, line: source, name, hash };
      let outcome: Outcome;
      try {
        const { id, generation } = await client.applyTenant(name, body, { priority: "bulk" });
        outcome = { ...facts, outcome: "applied", at: new Date().toISOString(), id, generation };
      } catch (error) {
        const code =
          typeof error === "object" && error !== null && "code" in error ? String(error.code) : "unknown";
        outcome = {
          ...facts,
          outcome: "failed",
          at: new Date().toISOString(),
          code,
          error: messageOf(error),
        };
      }
      appendFileSync(file, toJsonLine(outcome));
      progress.done(`${source}: ${name} ${outcome.outcome}`);
      return outcome;
    });
  } finally {
    progress.stop();
    closeSync(file);
  }
}

function openReport(report: string): number {
  try {
    // A line that a crash has cut off must not swallow the next one.
    const isTorn = existsSync(report) && !/(?:^|\n)$/.test(readFileSync(report, "utf8"));
    const file = openSync(report, "a", 0o600);
    if (isTorn) appendFileSync(file, "\n");
    return file;
  } catch (error) {
    throw new UsageError(`cannot write the report ${report}: nothing was sent`, {
      details: [messageOf(error)],
      cause: error,
    });
  }
}
