/**
 * What a user waits for, next to the raw limit of the parts underneath, measured in turn in one run.
 *
 *   npm run bench -- [--quick] [--only latency|fairness|api] [--json FILE]
 *
 * latency: POST → ready with the mock compute provider through real Restate, one at a time; raw: a bare Restate
 * workflow with the job's step count, called by a client of its own. fairness: bench/fairness.ts; api: bench/api.ts. Nothing here fails a
 * build by time.
 */
import { fork, spawn, type ChildProcess } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { setTimeout as delay } from "node:timers/promises";
import { measureApi } from "./api.ts";
import { measureFairness } from "./fairness.ts";
import { createAndWait, nextNumber, quantile, sample, type Figure, type System } from "./measure.ts";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
/** Journaled steps of a create whose compute is healthy at once: begin, apply. */
const JOB_STEPS = 2;
const GOAL_P50_RATIO = 1.7;
const GOAL_P99_RATIO = 2.5;

const isQuick = process.argv.includes("--quick");
const ROUNDS = isQuick ? 3 : 7;
const SAMPLES_PER_ROUND = isQuick ? 40 : 100;

async function startSystem(folder: string): Promise<System> {
  const config = join(folder, "bench.yaml");
  writeFileSync(config, "compute:\n  mock: {}\nworker:\n  progress: false\nlog:\n  level: warn\n");
  const child = spawn(
    process.execPath,
    [
      join(ROOT, "packages/landlord/bin/landlord.mjs"),
      "dev",
      "--port",
      "0",
      "--data-dir",
      join(folder, "data"),
      "--config-file",
      config,
    ],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  let output = "";
  child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
  while (!output.includes("Ready in")) {
    if (child.exitCode !== null) throw new Error(`landlord dev ended: ${output}`);
    await delay(50);
  }
  const ports = JSON.parse(readFileSync(join(folder, "data/restate/ports.json"), "utf8")) as {
    ingress: number;
    admin: number;
  };
  return {
    apiUrl: /Ready in .*: (http\S+)/.exec(output)?.[1] ?? "",
    ingressUrl: `http://127.0.0.1:${ports.ingress}`,
    adminUrl: `http://127.0.0.1:${ports.admin}`,
    stop: () =>
      new Promise((resolve) => {
        child.once("exit", () => resolve());
        child.kill("SIGTERM");
      }),
  };
}

async function startRawWorker(adminUrl: string): Promise<ChildProcess> {
  const worker = fork(join(ROOT, "bench/raw-restate-worker.ts"), {
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  const port = await new Promise<number>((resolve) =>
    worker.once("message", (message) => resolve((message as { port: number }).port)),
  );
  const answer = await fetch(`${adminUrl}/deployments`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ uri: `http://127.0.0.1:${port}`, force: false }),
  });
  if (!answer.ok) throw new Error(`the raw worker was not registered: ${await answer.text()}`);
  return worker;
}

async function rawSample(system: System): Promise<number> {
  const startedMs = performance.now();
  const answer = await fetch(`${system.ingressUrl}/RawBench/raw-${process.pid}-${nextNumber()}/run`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: String(JOB_STEPS),
  });
  if ((await answer.text()) !== '"done"') throw new Error(`the raw workflow answered ${answer.status}`);
  return performance.now() - startedMs;
}

function isWanted(name: string): boolean {
  return !process.argv.includes("--only") || process.argv[process.argv.indexOf("--only") + 1] === name;
}

async function measureLatency(system: System): Promise<Figure[]> {
  await sample(30, () => rawSample(system));
  await sample(30, () => createAndWait(system));
  const all = { raw: [] as number[], landlord: [] as number[] };
  const ratios: Record<"p50" | "p99", number[]> = { p50: [], p99: [] };
  for (let round = 1; round <= ROUNDS; round++) {
    process.stderr.write(`latency: round ${round} of ${ROUNDS}\n`);
    const raw = await sample(SAMPLES_PER_ROUND, () => rawSample(system));
    const landlord = await sample(SAMPLES_PER_ROUND, () => createAndWait(system));
    all.raw.push(...raw);
    all.landlord.push(...landlord);
    ratios.p50.push(quantile(landlord, 0.5) / quantile(raw, 0.5));
    ratios.p99.push(quantile(landlord, 0.99) / quantile(raw, 0.99));
  }
  all.raw.sort((a, b) => a - b);
  all.landlord.sort((a, b) => a - b);
  const figure = (name: "p50" | "p99", q: number, goalRatio: number): Figure => {
    const sorted = [...ratios[name]].sort((a, b) => a - b);
    const ratio = quantile(sorted, 0.5);
    return {
      id: `latency-${name}`,
      value: quantile(all.landlord, q),
      unit: "ms",
      raw: quantile(all.raw, q),
      ratio,
      goal: `<= ${goalRatio} x raw`,
      met: (sorted.at(-1) ?? Number.NaN) <= goalRatio,
      spread: [sorted[0] ?? Number.NaN, sorted.at(-1) ?? Number.NaN],
    };
  };
  return [figure("p50", 0.5, GOAL_P50_RATIO), figure("p99", 0.99, GOAL_P99_RATIO)];
}

function printTable(figures: readonly Figure[]): void {
  const rows = figures.map((figure) => [
    figure.id,
    `${figure.value.toFixed(1)} ${figure.unit}`,
    `${figure.raw.toFixed(1)} ${figure.unit}`,
    `${figure.ratio.toFixed(2)} x  (${figure.spread.map((each) => each.toFixed(2)).join(" – ")})`,
    figure.goal,
    figure.met ? "met" : "not met",
  ]);
  const table = [["FIGURE", "LANDLORD", "RAW", "RATIO (ROUNDS)", "GOAL", ""], ...rows];
  const widths =
    table[0]?.map((_, column) => Math.max(...table.map((row) => row[column]?.length ?? 0))) ?? [];
  for (const row of table)
    process.stdout.write(
      `${row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd()}\n`,
    );
}

const folder = mkdtempSync(join(tmpdir(), "landlord-bench-"));
chmodSync(folder, 0o711);
try {
  const figures = [
    ...(isWanted("latency") || isWanted("fairness") ? await measureSystem() : []),
    ...(isWanted("api")
      ? await measureApi({ rounds: isQuick ? 3 : 7, requests: isQuick ? 4_000 : 10_000 })
      : []),
  ];
  printTable(figures);
  const file = process.argv[process.argv.indexOf("--json") + 1];
  if (process.argv.includes("--json") && file !== undefined) {
    const machine = { cpus: cpus().length, model: cpus()[0]?.model ?? "unknown" };
    writeFileSync(
      file,
      `${JSON.stringify({ figures, machine, versions: { node: process.version } }, null, 2)}\n`,
    );
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}

async function measureSystem(): Promise<Figure[]> {
  process.stderr.write("starting PostgreSQL, Restate, server, worker and a raw worker\n");
  const system = await startSystem(folder);
  const rawWorker = await startRawWorker(system.adminUrl);
  try {
    return [
      ...(isWanted("latency") ? await measureLatency(system) : []),
      ...(isWanted("fairness")
        ? await measureFairness(system, { rounds: isQuick ? 2 : 5, idleSamples: SAMPLES_PER_ROUND })
        : []),
    ];
  } finally {
    rawWorker.kill();
    await system.stop();
  }
}
