/** The commands that show the fleet and who works for it. */
import type { Summary, Worker, WorkflowProvider } from "@landlord/client";
import type { Command } from "commander";
import { example } from "./command.ts";
import { clientOf, hasOutputColour, print, type CliDeps, type GlobalOptions } from "./context.ts";
import { ageOf, paint, printable, toTable } from "./output.ts";

export function addStatusCommands(program: Command, deps: CliDeps): void {
  const status = program
    .command("status")
    .description("Show the fleet at a glance: tenants by status and reason, engines, workers")
    .addHelpText("after", example("status", "status -o json"));
  status.action(async () => {
    const options = status.optsWithGlobals<GlobalOptions>();
    const client = clientOf(deps, options);
    const [summary, engines, workers] = await Promise.all([
      client.getSummary(),
      client.listWorkflowProviders(),
      client.listWorkers(),
    ]);
    print(deps, options.output, { summary, engines, workers }, () =>
      [summaryText(summary, deps), engineText(engines, deps), workerText(workers, deps)].join("\n"),
    );
  });
  const workers = program
    .command("workers")
    .description("Show the workers: what they serve and when they were last heard of")
    .addHelpText("after", example("workers", "workers -o json"));
  workers.action(async () => {
    const options = workers.optsWithGlobals<GlobalOptions>();
    const found = await clientOf(deps, options).listWorkers();
    print(deps, options.output, found, () => workerText(found, deps));
  });
}

function summaryText(summary: Summary, deps: CliDeps): string {
  const now = Date.parse(summary.at);
  const rows = (counts: Summary["by_status"]): string[][] =>
    Object.entries(counts).map(([name, { count, oldest_at: oldest }]) => [
      name,
      String(count),
      ageOf(oldest, now),
    ]);
  const { total, paused, operations_in_flight: inFlight } = summary;
  const table = (column: string, counts: Summary["by_status"]): string =>
    toTable([column, "TENANTS", "OLDEST"], rows(counts), { width: deps.stdout.columns });
  const head = `${total === 1 ? "1 tenant" : `${total} tenants`}, ${paused} paused, ${inFlight} operations in flight\n`;
  if (total === 0) return head;
  const tables = [table("STATUS", summary.by_status)];
  // A reason is what tenants wait for: a fleet at rest has none.
  if (Object.keys(summary.by_reason).length > 0) tables.push(table("REASON", summary.by_reason));
  return [head, ...tables].join("\n");
}

function engineText(engines: readonly WorkflowProvider[], deps: CliDeps): string {
  const rows = engines.map((engine) => [
    engine.name + (engine.default ? " (default)" : ""),
    engine.reachable ? "reachable" : `unreachable since ${engine.unreachable_since ?? "the start"}`,
    engine.error ?? "",
  ]);
  return toTable(["ENGINE", "STATE", "ERROR"], rows, { width: deps.stdout.columns, paint: painter(deps) });
}

function painter(deps: CliDeps): (column: string, cell: string) => string {
  const colour = hasOutputColour(deps);
  return (column, cell) => {
    if (column !== "STATE") return cell;
    const state = cell.trimEnd();
    return paint(cell, state === "reachable" || state === "live" ? "green" : "red", colour);
  };
}

function workerText(workers: readonly Worker[], deps: CliDeps): string {
  if (workers.length === 0) {
    return (
      printable("No worker has reported: start one with `landlord worker`, and give it worker.api_url.") +
      "\n"
    );
  }
  const now = Date.now();
  const rows = workers.map((worker) => [
    worker.id,
    worker.live ? "live" : "silent",
    worker.engine,
    worker.compute_providers.join(","),
    worker.version,
    `${ageOf(worker.last_seen_at, now)} ago`,
    worker.last_error ?? (worker.registered_at === null ? "not registered with its engine" : ""),
  ]);
  const columns = ["WORKER", "STATE", "ENGINE", "PROVIDERS", "VERSION", "SEEN", "ERROR"];
  return toTable(columns, rows, { width: deps.stdout.columns, paint: painter(deps) });
}
