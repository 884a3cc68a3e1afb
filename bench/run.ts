/**
 * What a user waits for and what a fleet costs, each next to the raw limit of the parts underneath, measured in turn in one run.
 * It never fails a build by time: it prints the ratio. See docs/performance.md.
 */
import { writeFileSync } from "node:fs";
import { Command, Option } from "commander";
import { api } from "./figures/api.ts";
import { claims } from "./figures/claims.ts";
import { fairness } from "./figures/fairness.ts";
import { idle } from "./figures/idle.ts";
import { latency } from "./figures/latency.ts";
import { memory } from "./figures/memory.ts";
import { noop } from "./figures/noop.ts";
import { startup } from "./figures/startup.ts";
import { throughput } from "./figures/throughput.ts";
import { watch } from "./figures/watch.ts";
import { openBench, type Benchmark } from "./kit/bench.ts";
import type { Figure } from "./kit/figure.ts";
import { PROFILE_VARIABLE } from "./kit/parts.ts";
import { detailsOf, reportOf, tableOf } from "./kit/report.ts";
import { floor } from "./prototypes/floor.ts";

/**
 * In the order in which they run: what needs a quiet machine comes before what leaves servers with large databases, and what
 * needs a quiet engine before what leaves a backlog.
 */
const BENCHMARKS: readonly Benchmark[] = [
  startup,
  latency,
  fairness,
  throughput,
  watch,
  api,
  claims,
  noop,
  idle,
  memory,
];
/** Only when they are asked for. */
const PROTOTYPES: readonly Benchmark[] = [floor];

interface Options {
  readonly quick: boolean;
  readonly only: readonly string[];
  readonly json?: string;
  readonly profile?: string;
}

const command = new Command("npm run bench --")
  .description("Measures Landlord next to the raw limit of its parts.")
  .option("--quick", "at most three minutes: fewer samples, smaller fleets", false)
  .addOption(
    new Option("--only <names...>", "some of the figures")
      .choices([...BENCHMARKS, ...PROTOTYPES].map(({ id }) => id))
      .default([]),
  )
  .option("--json <file>", "write the report there as well")
  .option("--profile <folder>", "leave CPU profiles of server and worker there; the figures are worse for it")
  .addHelpText("after", `\nFigures:\n${linesOf(BENCHMARKS)}\n\nOnly when asked for:\n${linesOf(PROTOTYPES)}`);
command.parse();
const options = command.opts<Options>();
if (options.profile !== undefined) process.env[PROFILE_VARIABLE] = options.profile;
const startedMs = performance.now();
const bench = openBench({ isQuick: options.quick });
const figures: Figure[] = [];
try {
  for (const benchmark of chosen(options.only)) {
    const beganMs = performance.now();
    bench.say(`${benchmark.id}: ${benchmark.about}`);
    const measured = await benchmark.run(bench);
    figures.push(...measured);
    // Whoever waits for the rest, or ends it, has seen this.
    bench.say(tableOf(measured));
    bench.say(`${benchmark.id}: ${((performance.now() - beganMs) / 1_000).toFixed(1)} s`);
  }
} finally {
  await bench.end();
}
const report = reportOf(figures, { isQuick: options.quick, tookMs: performance.now() - startedMs });
process.stdout.write(`${tableOf(figures)}\n\n${detailsOf(figures)}\n`);
if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`);

function chosen(only: readonly string[]): readonly Benchmark[] {
  return only.length === 0
    ? BENCHMARKS
    : [...BENCHMARKS, ...PROTOTYPES].filter(({ id }) => only.includes(id));
}

function linesOf(benchmarks: readonly Benchmark[]): string {
  return benchmarks.map(({ id, about }) => `  ${id.padEnd(12)}${about}`).join("\n");
}
