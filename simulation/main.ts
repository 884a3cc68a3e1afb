/** `npm run sim`: runs seeds and sums up, or repeats one seed with its trace. */
import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { joined, type BatchParams, type BatchResult, type Failure } from "./batch.ts";
import { INVARIANTS } from "./invariants.ts";
import { MENDED } from "./trace.ts";
import { summaryOf } from "./report.ts";

const USAGE = `npm run sim -- [--seeds N] [--start S] [--minutes M] [--processes P]
  runs N seeds from S on (1,000 from 1), or for M minutes; exit code 1 when an invariant is violated
npm run sim -- --seed S [--only f1,a2] [--trace] [--plant NAME]
  repeats one seed; --only leaves out the rest of its plan, --plant puts a bug in
`;

const { values } = parseArgs({
  options: {
    seeds: { type: "string" },
    start: { type: "string", default: "1" },
    minutes: { type: "string" },
    processes: { type: "string", default: "2" },
    seed: { type: "string" },
    only: { type: "string" },
    trace: { type: "boolean", default: false },
    plant: { type: "string" },
    help: { type: "boolean", default: false },
  },
});

/** More seeds than any number of minutes can use up. */
const UNLIMITED_SEEDS = 1_000_000_000;
const TRACE_TAIL_LINES = 60;
const REST_LINES = 12;
const PROGRESS_MS = 10_000;

const print = (line: string): void => void process.stdout.write(`${line}\n`);

async function runMany(): Promise<void> {
  const minutes = values.minutes === undefined ? null : Number(values.minutes);
  const seeds = wholeNumber("seeds", values.seeds ?? (minutes === null ? "1000" : String(UNLIMITED_SEEDS)));
  const processes = wholeNumber("processes", values.processes);
  const start = wholeNumber("start", values.start);
  const startedMs = performance.now();
  const progress = new Progress(startedMs);
  const results = await Promise.all(
    Array.from({ length: processes }, (_, index) =>
      inProcess(
        {
          start: start + index,
          step: processes,
          seeds: Math.ceil((seeds - index) / processes),
          minutes,
        },
        (done) => progress.tell(index, done),
      ),
    ),
  );
  const result = joined(results);
  for (const line of summaryOf(result, start, performance.now() - startedMs)) print(line);
  const [first] = result.failures;
  if (first === undefined) return;
  process.exitCode = 1;
  await explain(first);
}

/** A line to standard error now and then, for whoever waits. */
class Progress {
  readonly #startedMs: number;
  readonly #done = new Map<number, number>();
  #toldMs: number;

  constructor(startedMs: number) {
    this.#startedMs = startedMs;
    this.#toldMs = startedMs;
  }

  tell(batch: number, done: number): void {
    this.#done.set(batch, done);
    const nowMs = performance.now();
    if (nowMs - this.#toldMs < PROGRESS_MS) return;
    this.#toldMs = nowMs;
    const total = [...this.#done.values()].reduce((sum, count) => sum + count, 0);
    process.stderr.write(`${total} seeds in ${Math.round((nowMs - this.#startedMs) / 1_000)} s …\n`);
  }
}

function inProcess(params: BatchParams, onProgress: (done: number) => void): Promise<BatchResult> {
  return new Promise((resolve, reject) => {
    const child = fork(fileURLToPath(new URL("batch-process.ts", import.meta.url)), [JSON.stringify(params)]);
    let result: BatchResult | null = null;
    child.on("message", (message) => {
      if (typeof message === "number") onProgress(message);
      else result = message as BatchResult;
    });
    child.on("error", reject);
    child.on("exit", (code) => {
      if (result !== null) resolve(result);
      else reject(new Error(`a process of the simulation ended with ${String(code)} and without a result`));
    });
  });
}

/** The smallest run that fails like this one, and how to see it again. */
async function explain({ seed }: Failure): Promise<void> {
  const { runSeed } = await import("./run.ts");
  const { shrink } = await import("./shrink.ts");
  const shrunk = await shrink(await runSeed({ seed }));
  const again = await runSeed({ seed, only: shrunk.only, keepTrace: true });
  print(
    `\nseed ${seed}, shrunk in ${shrunk.runs} runs to ${shrunk.only.length} events: ${shrunk.only.join(", ")}`,
  );
  for (const line of tailOf(again.trace)) print(line);
  if (again.violation !== null) print(`${INVARIANTS[again.violation.invariant]}: ${again.violation.message}`);
  print(`\nrepeat it: npm run sim -- --seed ${seed} --only ${shrunk.only.join(",")} --trace`);
}

/** The last lines; of what came after everything was mended, where nothing much happens, only the first. */
function tailOf(trace: readonly string[]): readonly string[] {
  const mended = trace.findIndex((line) => line.includes(MENDED));
  const end = mended < 0 ? trace.length : mended + REST_LINES;
  return trace.slice(Math.max(0, end - TRACE_TAIL_LINES), end);
}

async function repeat(seed: number): Promise<void> {
  const { runSeed } = await import("./run.ts");
  const { findPlant } = await import("./planted/plants.ts");
  const result = await runSeed({
    seed,
    only: values.only?.split(",") ?? null,
    keepTrace: values.trace,
    plant: values.plant === undefined ? null : findPlant(values.plant),
  });
  for (const line of result.trace) print(line);
  const { violation } = result;
  print(
    `seed ${seed}: ${result.steps} steps, ${result.interleavings} interleavings, ${Math.round(result.virtualMs / 1_000)} s of virtual time, fingerprint ${result.fingerprint}`,
  );
  if (violation === null) return print("every invariant holds");
  process.exitCode = 1;
  print(
    `violated at ${(violation.atMs / 1_000).toFixed(3)} s: ${INVARIANTS[violation.invariant]}: ${violation.message}`,
  );
}

function wholeNumber(name: string, text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  process.stderr.write(`error: --${name} must be a whole number, not ${text}\n${USAGE}`);
  process.exit(2);
}

if (values.help) print(USAGE);
else if (values.seed !== undefined) await repeat(wholeNumber("seed", values.seed));
else await runMany();
