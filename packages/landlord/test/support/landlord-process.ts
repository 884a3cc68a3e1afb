/** `landlord serve` and `landlord worker` as real processes that a test may stop, continue and kill. */
import { fork, type ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const MAIN = fileURLToPath(new URL("../../src/start/main.ts", import.meta.url));
const TSX = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;
const OUTPUT_LIMIT = 200;

export interface LandlordProcess {
  readonly pid: number;
  readonly url: string;
  /** Newest lines of its log. */
  log(): string;
  signal(name: NodeJS.Signals): void;
  /** SIGKILL, and waits for the end. */
  kill(): Promise<void>;
  /** SIGTERM, and waits for the end. */
  stop(): Promise<number | null>;
  /** Resolves with the exit code, null after a signal. */
  readonly exited: Promise<number | null>;
  readonly child: ChildProcess;
}

/** Starts a command and waits until it reports that it is ready. Its environment is only what is given here, settings as LANDLORD_ variables. */
export async function startLandlord(
  command: "serve" | "worker" | "migrate",
  settings: Readonly<Record<string, unknown>>,
  environment: Readonly<Record<string, string>> = {},
  onOutput: (chunk: Buffer) => void = () => undefined,
): Promise<LandlordProcess> {
  const started = spawnLandlord(command, settings, environment);
  for (const stream of [started.child.stdout, started.child.stderr]) stream?.on("data", onOutput);
  const url = await started.ready;
  const { child } = started;
  const ended = started.exited;
  return {
    pid: child.pid ?? 0,
    url,
    log: () => started.log(),
    signal: (name) => void child.kill(name),
    async kill() {
      child.kill("SIGKILL");
      await ended;
    },
    async stop() {
      child.kill("SIGTERM");
      return ended;
    },
    exited: ended,
    child,
  };
}

/** Starts a command without waiting. `ready` rejects when it ends before. */
export function spawnLandlord(
  command: "serve" | "worker" | "migrate",
  settings: Readonly<Record<string, unknown>>,
  environment: Readonly<Record<string, string>> = {},
): {
  readonly child: ChildProcess;
  readonly ready: Promise<string>;
  log(): string;
  readonly exited: Promise<number | null>;
} {
  const env = Object.fromEntries(
    Object.entries(settings).map(([key, value]) => [
      `LANDLORD_${key.toUpperCase().replaceAll(".", "__")}`,
      typeof value === "string" ? value : JSON.stringify(value),
    ]),
  );
  const child = fork(MAIN, [command], {
    execArgv: ["--conditions=source", "--import", TSX],
    env: { PATH: process.env["PATH"], LANDLORD_LOG__FORMAT: "json", ...environment, ...env },
    stdio: ["ignore", "pipe", "pipe", "ipc"],
    cwd: "/",
  });
  const output: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on("data", (chunk: Buffer) => {
      output.push(chunk.toString());
      if (output.length > OUTPUT_LIMIT) output.shift();
    });
  }
  const log = (): string => output.join("");
  const exited = new Promise<number | null>((resolve) => child.once("exit", (code) => resolve(code)));
  const ready = new Promise<string>((resolve, reject) => {
    child.on("message", (message) => resolve((message as { url: string }).url));
    void exited.then((code) => reject(new Error(`landlord ${command} ended with ${code}: ${log()}`)));
  });
  // A test may not wait for it.
  ready.catch(() => undefined);
  return { child, ready, log, exited };
}
