/**
 * LocalStack's interpreter of Step Functions as a process of the test's own, without containers. It keeps its state in
 * memory only: `restart` is an engine that lost all its data. What it does not cover, and what is mended in it:
 * docs/decisions/0015.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, openSync, closeSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { eventually } from "../eventually.ts";

export interface StepFunctionsEmulator {
  readonly endpoint: string;
  /** Of the process that runs now. */
  pid(): number;
  /** SIGKILL, and resolves when it is gone. */
  kill(): Promise<void>;
  /** Kills it and starts it again at the same endpoint, empty. */
  restart(): Promise<void>;
  /** Ends it and removes its folder. */
  stop(): Promise<void>;
}

const VENV_PYTHON = resolve(
  import.meta.dirname,
  "../../../../../.cache/test-engines/step-functions/bin/python",
);
const PROGRAM = join(import.meta.dirname, "step-functions-emulator.py");
const START_TIMEOUT_MS = 60_000;
const LOG_TAIL_CHARACTERS = 2_000;

/** The interpreter with the emulator in it; null where scripts/test-engines did not install it. */
export function findStepFunctionsEmulator(): { readonly python: string } | null {
  const python = process.env["LANDLORD_TEST_STEP_FUNCTIONS_PYTHON"] ?? VENV_PYTHON;
  return existsSync(python) ? { python } : null;
}

/** @throws Error when it is not installed or does not start */
export async function startStepFunctionsEmulator(): Promise<StepFunctionsEmulator> {
  const found = findStepFunctionsEmulator();
  if (found === null) {
    throw new Error("The Step Functions emulator is not installed: run scripts/test-engines/install.sh.");
  }
  const folder = await mkdtemp(join(tmpdir(), "landlord-step-functions-"));
  const port = await freePort();
  const endpoint = `http://127.0.0.1:${port}`;
  let child = await start(found.python, folder, port, endpoint);

  async function kill(): Promise<void> {
    const dying = child;
    if (dying.exitCode !== null || dying.signalCode !== null) return;
    const gone = new Promise((ended) => dying.once("exit", ended));
    dying.kill("SIGKILL");
    await gone;
  }

  return {
    endpoint,
    pid: () => child.pid ?? 0,
    kill,
    async restart() {
      await kill();
      child = await start(found.python, folder, port, endpoint);
    },
    async stop() {
      await kill();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function start(python: string, folder: string, port: number, endpoint: string): Promise<ChildProcess> {
  const logFile = join(folder, "emulator.log");
  const log = openSync(logFile, "a");
  const child = spawn(python, [PROGRAM], {
    cwd: folder,
    stdio: ["ignore", log, log],
    env: {
      PATH: process.env["PATH"] ?? "",
      HOME: folder,
      TMPDIR: folder,
      GATEWAY_LISTEN: `127.0.0.1:${port}`,
      FILESYSTEM_ROOT: folder,
      LOCALSTACK_VOLUME_DIR: join(folder, "volume"),
      SERVICES: "stepfunctions",
      STRICT_SERVICE_LOADING: "1",
      EAGER_SERVICE_LOADING: "1",
      // Nothing is downloaded, reported or resolved elsewhere.
      DISABLE_EVENTS: "1",
      SKIP_SSL_CERT_DOWNLOAD: "1",
      DNS_ADDRESS: "0",
      LS_LOG: "warning",
    },
  });
  closeSync(log);
  // A test process that ends takes its emulator along.
  const killWithParent = (): void => void child.kill("SIGKILL");
  process.once("exit", killWithParent);
  child.once("exit", () => process.off("exit", killWithParent));
  await eventually(
    async () => {
      if (child.exitCode !== null) throw new Error(tail(logFile));
      return (await fetch(`${endpoint}/_localstack/health`)).ok;
    },
    { what: "the Step Functions emulator starts", timeoutMs: START_TIMEOUT_MS, everyMs: 100 },
  );
  return child;
}

function tail(logFile: string): string {
  return readFileSync(logFile, "utf8").slice(-LOG_TAIL_CHARACTERS);
}

export function freePort(): Promise<number> {
  return new Promise((free, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => free(port));
    });
  });
}
