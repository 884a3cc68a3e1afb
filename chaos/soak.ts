/**
 * Whether a server's memory stays flat with many tenants.
 *
 *   npm run soak -- [--minutes N] [--tenants M] [--report FILE]
 *
 * Exit code 1 when heap or RSS grow by more than 1 MB a minute after minute two. docs/chaos.md says more.
 */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { endInterrupted, untilInterrupted } from "./interrupt.ts";
import { runSoak } from "./memory.ts";

const LIMIT_MB_PER_MINUTE = 1;
const WARM_UP_MS = 120_000;
const HEAP_EVERY_MS = 10_000;

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "10" },
    tenants: { type: "string", default: "50000" },
    report: { type: "string" },
  },
});
const minutes = Number(values.minutes);
const tenants = Number(values.tenants);
if (!(minutes * 60_000 > WARM_UP_MS) || !Number.isInteger(tenants) || tenants < 100) {
  process.stderr.write("error: --minutes must be above 2, and --tenants a whole number from 100\n");
  process.exit(2);
}
const signal = untilInterrupted();
const report = await runSoak({
  signal,
  minutes,
  tenants,
  warmUpMs: WARM_UP_MS,
  limitMbPerMinute: LIMIT_MB_PER_MINUTE,
  heapEveryMs: HEAP_EVERY_MS,
  say: (line) => process.stdout.write(`${line}\n`),
}).catch((error: unknown) => endInterrupted(signal, error));
if (values.report !== undefined) writeFileSync(values.report, `${JSON.stringify(report, null, 2)}\n`);
const shown = (slope: number | null): string => `${slope?.toFixed(3) ?? "no"} MB/min`;
process.stdout.write(
  `${report.is_flat ? "ok" : "FAILED"}: ${tenants} tenants, ${report.operations} operations, heap ${report.heap_mb.join(" → ")} MB (${shown(report.heap_slope_mb_per_minute)}), ` +
    `RSS ${report.rss_mb.join(" → ")} MB (${shown(report.rss_slope_mb_per_minute)}), limit ${LIMIT_MB_PER_MINUTE} MB/min\n`,
);
process.exit(report.is_flat && report.failed_requests === 0 ? 0 : 1);
