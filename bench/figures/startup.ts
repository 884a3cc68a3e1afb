/**
 * `landlord dev` to ready, in an empty folder and in one that it was stopped in before, next to initdb, PostgreSQL and
 * restate-server spawned at the same time and nothing else. What these take when Restate ticks as often as Landlord's does
 * is told as a detail. It runs the compiled package, which is what users install; in a checkout the program runs from its
 * sources, and compiles them at every start.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { join } from "node:path";
import type { Bench, Benchmark } from "../kit/bench.ts";
import { median, pairedFigure, type Figure, type Round } from "../kit/figure.ts";
import { startBare } from "../raw/startup.ts";

export const startup: Benchmark = {
  id: "startup",
  about: "landlord dev to ready, cold and warm",
  run: measureStartup,
};

/** What Landlord's embedded Restate is given beyond its own defaults, and makes its start shorter. */
const TUNING = { RESTATE_GOSSIP_TICK_INTERVAL: "10ms" };

async function measureStartup(bench: Bench): Promise<readonly Figure[]> {
  const program = await bench.program();
  const rounds = bench.isQuick ? 2 : 30;
  const cold: Round[] = [];
  const warm: Round[] = [];
  const tuned: Awaited<ReturnType<typeof coldAndWarm>>[] = [];
  for (let round = 0; round < rounds; round++) {
    const bare = await coldAndWarm(bench.folder(), startBare);
    const landlord = await coldAndWarm(bench.folder(), (folder) => startLandlord(program, folder));
    tuned.push(await coldAndWarm(bench.folder(), (folder) => startBare(folder, TUNING)));
    cold.push({ raw: bare.coldMs, landlord: landlord.coldMs });
    warm.push({ raw: bare.warmMs, landlord: landlord.warmMs });
  }
  const settings = { unit: "ms", goal: { kind: "at-most", bound: 2 } } as const;
  return [
    pairedFigure(
      {
        id: "startup-cold",
        ...settings,
        details: { raw_at_our_tick_ms: median(tuned.map(({ coldMs }) => coldMs)) },
      },
      cold,
    ),
    pairedFigure(
      {
        id: "startup-warm",
        ...settings,
        details: { raw_at_our_tick_ms: median(tuned.map(({ warmMs }) => warmMs)) },
      },
      warm,
    ),
  ];
}

interface Started {
  readonly readyMs: number;
  stop(): Promise<void>;
}

async function coldAndWarm(
  folder: string,
  start: (folder: string) => Promise<Started>,
): Promise<{ readonly coldMs: number; readonly warmMs: number }> {
  const cold = await start(folder);
  await cold.stop();
  const warm = await start(folder);
  await warm.stop();
  return { coldMs: cold.readyMs, warmMs: warm.readyMs };
}

/** Until it says over IPC that it is ready, which it does when it tells the user. */
async function startLandlord(program: string, folder: string): Promise<Started> {
  const startedMs = performance.now();
  const child = spawn(process.execPath, [program, "dev", "--data-dir", join(folder, "data"), "--port", "0"], {
    cwd: folder,
    stdio: ["ignore", "ignore", "pipe", "ipc"],
    // Nobody else's settings.
    env: { PATH: process.env["PATH"] ?? "", HOME: folder },
  });
  let said = "";
  child.stderr?.on("data", (text: Buffer) => (said += text.toString()));
  await new Promise<void>((resolve, reject) => {
    child.once("message", () => resolve());
    child.once("exit", (code) => reject(new Error(`landlord dev ended with ${code}:\n${said}`)));
  });
  return { readyMs: performance.now() - startedMs, stop: () => ended(child) };
}

function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    child.removeAllListeners("exit");
    if (child.exitCode !== null || child.signalCode !== null) return resolve();
    child.once("exit", () => resolve());
    child.kill("SIGTERM");
  });
}
