/**
 * MiniStack's ECS as a process of the test's own: its services run real containers on the daemon that it is given. It
 * keeps its state when it is ended by SIGTERM, and forgets it with a SIGKILL. What it does not cover: docs/decisions/0016.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { eventually } from "../eventually.ts";
import { askDocker } from "./docker-daemon.ts";
import { freePort } from "./step-functions-emulator.ts";

export interface EcsEmulator {
  readonly endpoint: string;
  /** Of the process that runs now. */
  pid(): number;
  /** SIGKILL, and resolves when it is gone. Containers go on. */
  kill(): Promise<void>;
  /**
   * Starts it again at the same endpoint. `clean` ends it by SIGTERM first: open calls are cut, the state is kept and
   * tasks are started again. Otherwise it has lost all, and what ran is removed.
   */
  restart(options: { readonly clean: boolean }): Promise<void>;
  /** Ends it, removes its containers and its folder. */
  stop(): Promise<void>;
}

const VENV_PYTHON = resolve(import.meta.dirname, "../../../../../.cache/test-engines/ecs/bin/python");
const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 30_000;
const LOG_TAIL_CHARACTERS = 2_000;

const ECS_REGION = "us-east-1";
export const ECS_CLUSTER_ARN = `arn:aws:ecs:${ECS_REGION}:000000000000:cluster/landlord-test`;

/** What each emulator starts with: revision 1 of each family, and 2 of `web` with the other test image. */
export type TestFamily = "web" | "ends" | "no-image";

export function taskDefinitionArn(family: TestFamily, revision = 1): string {
  return `arn:aws:ecs:${ECS_REGION}:000000000000:task-definition/landlord-test-${family}:${revision}`;
}

/** A registry that refuses at once: the emulator asks it before it takes the image that is there. */
const REGISTRY = "127.0.0.1:1";

/** The interpreter with the emulator in it; null where scripts/test-engines did not install it. */
export function findEcsEmulator(): { readonly python: string } | null {
  const python = process.env["LANDLORD_TEST_ECS_PYTHON"] ?? VENV_PYTHON;
  return existsSync(python) ? { python } : null;
}

export interface EcsEmulatorOptions {
  /** Has the images of `loadTestImage`. */
  readonly dockerHost: string;
  /** Where it listens, for workers that do not share the host's loopback. */
  readonly address?: string;
}

/** @throws Error when it is not installed or does not start */
export async function startEcsEmulator(options: EcsEmulatorOptions): Promise<EcsEmulator> {
  const found = findEcsEmulator();
  if (found === null)
    throw new Error("The ECS emulator is not installed: run scripts/test-engines/install.sh.");
  const { python } = found;
  const { dockerHost, address = "127.0.0.1" } = options;
  const folder = await mkdtemp(join(tmpdir(), "landlord-ecs-"));
  const endpoint = `http://${address}:${await freePort()}`;
  for (const tag of ["1", "2"]) {
    const path = `/images/landlord-test:${tag}/tag?repo=${encodeURIComponent(`${REGISTRY}/landlord-test`)}&tag=${tag}`;
    const { status, body } = await askDocker(dockerHost, "POST", path);
    if (status !== 201) throw new Error(`image not tagged: ${status} ${body}`);
  }
  let child = await start({ python, folder, endpoint, dockerHost });
  await prepare(endpoint);

  async function end(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    const dying = child;
    if (dying.exitCode !== null || dying.signalCode !== null) return;
    const gone = new Promise((ended) => dying.once("exit", ended));
    dying.kill(signal);
    const forced = setTimeout(() => dying.kill("SIGKILL"), STOP_TIMEOUT_MS);
    await gone;
    clearTimeout(forced);
  }

  return {
    endpoint,
    pid: () => child.pid ?? 0,
    kill: () => end("SIGKILL"),
    async restart({ clean }) {
      await end(clean ? "SIGTERM" : "SIGKILL");
      if (!clean) await rm(join(folder, "state"), { recursive: true, force: true });
      child = await start({ python, folder, endpoint, dockerHost });
      if (!clean) await prepare(endpoint);
    },
    async stop() {
      await end("SIGTERM");
      await rm(folder, { recursive: true, force: true });
    },
  };
}

interface Launch {
  readonly python: string;
  readonly folder: string;
  readonly endpoint: string;
  readonly dockerHost: string;
}

async function start({ python, folder, endpoint, dockerHost }: Launch): Promise<ChildProcess> {
  const logFile = join(folder, "emulator.log");
  const log = openSync(logFile, "a");
  const child = spawn(python, ["-m", "ministack"], {
    cwd: folder,
    stdio: ["ignore", log, log],
    env: {
      PATH: process.env["PATH"] ?? "",
      HOME: folder,
      TMPDIR: folder,
      DOCKER_HOST: dockerHost,
      BIND_HOST: new URL(endpoint).hostname,
      GATEWAY_PORT: new URL(endpoint).port,
      SERVICES: "ecs",
      PERSIST_STATE: "1",
      STATE_DIR: join(folder, "state"),
      LOG_LEVEL: "WARNING",
    },
  });
  closeSync(log);
  // A test process that ends takes its emulator along.
  const killWithParent = (): void => void child.kill("SIGKILL");
  process.once("exit", killWithParent);
  child.once("exit", () => process.off("exit", killWithParent));
  await eventually(async () => child.exitCode !== null || (await fetch(`${endpoint}/_ministack/health`)).ok, {
    what: "the ECS emulator starts",
    timeoutMs: START_TIMEOUT_MS,
    everyMs: 50,
  });
  if (child.exitCode !== null) {
    throw new Error(`the ECS emulator ended: ${readFileSync(logFile, "utf8").slice(-LOG_TAIL_CHARACTERS)}`);
  }
  return child;
}

async function prepare(endpoint: string): Promise<void> {
  await askEcs(endpoint, "CreateCluster", { clusterName: ECS_CLUSTER_ARN.split("/")[1] });
  const register = (family: TestFamily, container: Readonly<Record<string, unknown>>): Promise<unknown> =>
    askEcs(endpoint, "RegisterTaskDefinition", {
      family: `landlord-test-${family}`,
      containerDefinitions: [{ name: "app", memory: 64, versionConsistency: "disabled", ...container }],
    });
  await register("web", { image: `${REGISTRY}/landlord-test:1` });
  await register("web", { image: `${REGISTRY}/landlord-test:2` });
  await register("ends", { image: `${REGISTRY}/landlord-test:1`, command: ["sh", "-c", "exit 7"] });
  await register("no-image", { image: `${REGISTRY}/landlord-none:1` });
}

/**
 * One plain request to ECS's API: what tests do behind the provider's back, and what they look at.
 *
 * @throws Error with what ECS answered, when it refuses
 */
export async function askEcs<Answer>(endpoint: string, action: string, body: object): Promise<Answer> {
  const response = await fetch(endpoint, {
    method: "POST",
    headers: {
      "content-type": "application/x-amz-json-1.1",
      "x-amz-target": `AmazonEC2ContainerServiceV20141113.${action}`,
      authorization: `AWS4-HMAC-SHA256 Credential=test/20260101/${ECS_REGION}/ecs/aws4_request, SignedHeaders=host, Signature=0`,
    },
    body: JSON.stringify(body),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${action}: ${response.status} ${text}`);
  return JSON.parse(text) as Answer;
}
