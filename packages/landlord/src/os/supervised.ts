/** Long-lived children that a supervisor may lose and find again: shared by the embedded database and engine. */
import type { ChildProcess } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { open, rename, rm, stat, type FileHandle } from "node:fs/promises";
import { randomInt } from "node:crypto";
import { createServer, type Server } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { LandlordError } from "../domain/errors.ts";
import { identityOf, isAlive, type ProcessIdentity, signalProcess } from "./process-identity.ts";

const POLL_MS = 10;
const WATCH_MS = 500;
const LOG_ROTATE_BYTES = 20 * 1024 * 1024;

/** Where supervisors say what they do; a pino logger is one. */
export interface SupervisorLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

/** How a process ended. Both null when it was not our child and nobody can know. */
export interface ExitInfo {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A running process, whether started or adopted. */
export interface SupervisedProcess {
  readonly identity: ProcessIdentity;
  readonly exited: Promise<ExitInfo>;
}

/** Watches a child that was just spawned. Throws `spawn_failed` when there is none. */
export async function superviseChild(child: ChildProcess, what: string): Promise<SupervisedProcess> {
  const exited = new Promise<ExitInfo>((resolve) => {
    child.once("exit", (code, signal) => resolve({ code, signal }));
  });
  await new Promise<void>((resolve, reject) => {
    child.once("spawn", resolve);
    child.once("error", (cause) =>
      reject(new LandlordError("spawn_failed", `${what} could not be started: ${cause.message}.`, { cause })),
    );
  });
  const identity = child.pid === undefined ? null : identityOf(child.pid);
  if (identity === null) {
    throw new LandlordError("spawn_failed", `${what} ended as soon as it was started: see its log.`);
  }
  return { identity, exited };
}

/** Watches a process that another supervisor started. The kernel tells only parents, so this asks. */
export function superviseAdopted(identity: ProcessIdentity): SupervisedProcess {
  const exited = new Promise<ExitInfo>((resolve) => {
    const timer = setInterval(() => {
      if (isAlive(identity)) return;
      clearInterval(timer);
      resolve({ code: null, signal: null });
    }, WATCH_MS);
    timer.unref();
  });
  return { identity, exited };
}

/** Waits until `look` is true; false after `deadlineMs`. */
export async function waitUntil(
  look: () => boolean | Promise<boolean>,
  deadlineMs: number,
): Promise<boolean> {
  const deadline = performance.now() + deadlineMs;
  for (;;) {
    if (await look()) return true;
    if (performance.now() >= deadline) return false;
    await delay(POLL_MS);
  }
}

/** Sends each signal in turn and waits for the end after each; true once the process is gone. */
export async function endProcess(
  identity: ProcessIdentity,
  steps: readonly { readonly signal: NodeJS.Signals; readonly waitMs: number }[],
): Promise<boolean> {
  for (const { signal, waitMs } of steps) {
    if (!signalProcess(identity, signal)) return true;
    if (await waitUntil(() => !isAlive(identity), waitMs)) return true;
  }
  return !isAlive(identity);
}

/** Opens a log in append mode, private to this user; one beyond 20 MiB is put aside as `<file>.1` before. */
export async function openLog(file: string): Promise<FileHandle> {
  const size = (await stat(file).catch(() => null))?.size ?? 0;
  if (size > LOG_ROTATE_BYTES) {
    await rm(`${file}.1`, { force: true });
    await rename(file, `${file}.1`);
  }
  return open(file, "a", 0o600);
}

/** The last lines of a log, for an error message. */
export async function logTail(file: string): Promise<string> {
  const handle = await open(file, "r").catch(() => null);
  if (handle === null) return "";
  try {
    const { size } = await handle.stat();
    const length = Math.min(size, 2000);
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, size - length);
    return buffer.subarray(0, bytesRead).toString("utf8").trim().split("\n").slice(-10).join("\n");
  } finally {
    await handle.close();
  }
}

/** True when nothing listens on this port of 127.0.0.1. */
export async function isPortFree(port: number): Promise<boolean> {
  const server = await hold(port);
  if (server === null) return false;
  await new Promise((done) => server.close(done));
  return true;
}

/**
 * Below the range from which the kernel takes ports for outgoing connections: a port that is free between now and its
 * use must not become the near end of some connection. Tenants of `process` compute have the range above.
 */
const PICK_MIN_PORT = 10_000;
const PICK_MAX_PORT = 19_999;
const PICK_ATTEMPTS = 200;

/** `count` different ports of 127.0.0.1 on which nothing listens now. Throws `no_free_port`. */
export async function pickFreePorts(count: number): Promise<readonly number[]> {
  const held = new Map<number, Server>();
  try {
    // All are held at once, so that they differ.
    for (let attempt = 0; held.size < count && attempt < count * PICK_ATTEMPTS; attempt += 1) {
      const port = randomInt(PICK_MIN_PORT, PICK_MAX_PORT + 1);
      const server = await hold(port);
      if (server !== null) held.set(port, server);
    }
  } finally {
    await Promise.all([...held.values()].map((server) => new Promise((done) => server.close(done))));
  }
  if (held.size === count) return [...held.keys()];
  throw new LandlordError(
    "no_free_port",
    `No free port was found on 127.0.0.1 between ${PICK_MIN_PORT} and ${PICK_MAX_PORT}: end what listens there.`,
  );
}

function hold(port: number): Promise<Server | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(null));
    server.listen({ host: "127.0.0.1", port, exclusive: true }, () => resolve(server));
  });
}

/** Every running process for which `matches` is true. What may not be read does not match. */
export function findProcesses(matches: (pid: number) => boolean): readonly ProcessIdentity[] {
  const found: ProcessIdentity[] = [];
  for (const entry of readdirSync("/proc")) {
    if (!/^[0-9]+$/.test(entry)) continue;
    const pid = Number(entry);
    try {
      // The cheaper question first: hardly any process is one of ours.
      if (!matches(pid)) continue;
      const identity = identityOf(pid);
      // Once more: the number may have been given to another process in between.
      if (identity !== null && matches(pid) && isAlive(identity)) found.push(identity);
    } catch {
      // It ended meanwhile, or belongs to somebody else.
    }
  }
  return found;
}

/** The working folder of a process. Throws when it may not be read. */
export function workingFolderOf(pid: number): string {
  return readlinkSync(`/proc/${pid}/cwd`);
}

/** The environment that a process was started with. Throws when it may not be read. */
export function environmentOf(pid: number): ReadonlyMap<string, string> {
  const entries = readFileSync(`/proc/${pid}/environ`, "utf8")
    .split("\0")
    .filter((entry) => entry.includes("="));
  return new Map(
    entries.map((entry) => [entry.slice(0, entry.indexOf("=")), entry.slice(entry.indexOf("=") + 1)]),
  );
}
