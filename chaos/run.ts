/**
 * Chaos on real parts, for some minutes.
 *
 *   npm run chaos -- [--minutes N] [--seed S] [--report FILE] [--keep]
 *
 * Exit code 0: nothing lost, doubled, orphaned or stuck. 1 otherwise, with the logs kept. docs/chaos.md says more.
 */
import { randomInt } from "node:crypto";
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { endInterrupted, untilInterrupted } from "./interrupt.ts";
import { isClean, runChaos, type ChaosReport } from "./chaos.ts";

const SETTLE_WITHIN_MS = 120_000;
const SHOWN = 20;

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "1" },
    seed: { type: "string" },
    users: { type: "string", default: "6" },
    report: { type: "string" },
    keep: { type: "boolean", default: false },
  },
});
const minutes = positive("minutes", values.minutes);
const seed = values.seed === undefined ? randomInt(1, 2 ** 31) : positive("seed", values.seed);
const startedMs = performance.now();

function positive(name: string, text: string): number {
  const value = Number(text);
  if (Number.isFinite(value) && value > 0) return value;
  process.stderr.write(`error: --${name} must be a number above 0, not "${text}"\n`);
  process.exit(2);
}

function say(line: string): void {
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1).padStart(6);
  process.stdout.write(`${seconds} s  ${line}\n`);
}

function summarise(report: ChaosReport): void {
  const { recovery } = report;
  say(`${report.operations} operations: ${JSON.stringify(report.outcomes)}`);
  say(
    `${report.kills} kills: ${JSON.stringify(report.kills_by_kind)}; all faults: ${JSON.stringify(report.faults)}`,
  );
  say(
    `recovery (ms): first success p50 ${recovery.first_success.p50_ms}, p99 ${recovery.first_success.p99_ms}, max ${recovery.first_success.max_ms}; ` +
      `affected operations p50 ${recovery.affected_finished.p50_ms}, p99 ${recovery.affected_finished.p99_ms}, max ${recovery.affected_finished.max_ms}; ` +
      `all settled ${report.settled_after_ms} after the last fault`,
  );
  for (const { fault, ended_at: at, first_success_ms: ms } of recovery.slowest)
    say(`slow: ${ms} ms after ${fault} (${at})`);
  for (const kind of ["lost", "duplicated", "orphaned", "stuck", "broken"] as const) {
    for (const problem of report[kind].slice(0, SHOWN)) say(`${kind}: ${problem}`);
  }
  const counts = (["lost", "duplicated", "orphaned", "stuck", "broken"] as const).map(
    (kind) => `${report[kind].length} ${kind}`,
  );
  say(
    `${isClean(report) ? "ok" : "FAILED"}: seed ${report.seed}, ${report.operations} operations, ${report.kills} kills, ${counts.join(", ")}${report.logs === null ? "" : `; logs in ${report.logs}`}`,
  );
}

const signal = untilInterrupted();
const report = await runChaos({
  signal,
  minutes,
  seed,
  users: positive("users", values.users),
  namesPerUser: 5,
  settleWithinMs: SETTLE_WITHIN_MS,
  keepLogs: values.keep,
  say,
}).catch((error: unknown) => endInterrupted(signal, error));
summarise(report);
if (values.report !== undefined) writeFileSync(values.report, `${JSON.stringify(report, null, 2)}\n`);
process.exit(isClean(report) ? 0 : 1);
