/** The commands that are about all tenants at once. */
import type { Sweep } from "@landlord/client";
import type { Command } from "commander";
import { setTimeout as delay } from "node:timers/promises";
import { LandlordError } from "../domain/errors.ts";
import { example } from "./command.ts";
import { clientOf, print, type CliDeps, type GlobalOptions } from "./context.ts";
import { toTable } from "./output.ts";

const POLL_MS = 250;
const SWEEP_TIMEOUT_MS = 120_000;

export function addFleetCommands(program: Command, deps: CliDeps): void {
  const command = program
    .command("sweep")
    .description(
      "Compare what compute providers run with what tenants there are, and show what belongs to none",
    )
    .option("--remove", "also remove what belongs to no tenant, once it was seen for controller.orphan_grace")
    .addHelpText("after", example("sweep", "sweep --remove", "sweep -o json"));
  command.action(async () => {
    const options = command.optsWithGlobals<GlobalOptions & { readonly remove?: boolean }>();
    const client = clientOf(deps, options);
    const { requested_at } = await client.requestSweep({ removeOrphans: options.remove });
    const sweep = await finished(() => client.getSweep(), requested_at ?? "");
    print(deps, options.output, sweep, () => described(sweep, deps));
  });
}

async function finished(read: () => Promise<Sweep>, requestedAt: string): Promise<Sweep> {
  const deadlineMs = performance.now() + SWEEP_TIMEOUT_MS;
  for (;;) {
    const sweep = await read();
    if (sweep.finished_at !== null && sweep.finished_at > requestedAt) return sweep;
    if (performance.now() > deadlineMs) {
      throw new LandlordError(
        "sweep_timeout",
        `No server finished the sweep within ${SWEEP_TIMEOUT_MS / 1_000} s. Does one run with controller.enabled, and does a worker answer it? \`GET /v1/sweep\` shows what comes of it.`,
      );
    }
    await delay(POLL_MS);
  }
}

function described({ report, orphans }: Sweep, deps: CliDeps): string {
  if (report === null) return "The sweep left no report.\n";
  const seen = `${report.resources} resources of this instance, ${report.orphans} of them of no tenant`;
  const done = [
    ...(report.adopted > 0 ? [`${report.adopted} are being removed`] : []),
    ...(report.rechecked > 0 ? [`${report.rechecked} tenants are looked at again`] : []),
  ];
  const lines = [[seen, ...done].join("; ") + "."];
  for (const { compute_provider, scope, error } of report.unseen)
    lines.push(`Not seen: ${compute_provider}${scope === null ? "" : ` in ${scope}`}: ${error}`);
  for (const { compute_provider, tenant_id, scope } of report.strays)
    lines.push(`In another scope: tenant ${tenant_id} has resources of ${compute_provider} in ${scope}.`);
  const table =
    orphans.length === 0
      ? ""
      : toTable(
          ["PROVIDER", "TENANT", "GENERATION", "FIRST SEEN", "SCOPE"],
          orphans.map((orphan) => [
            orphan.compute_provider,
            orphan.tenant_id,
            orphan.generation === null ? "-" : String(orphan.generation),
            orphan.first_seen_at,
            orphan.scope,
          ]),
          { width: deps.stdout.columns },
        );
  return `${lines.join("\n")}\n${table}`;
}
