/**
 * Who a process is. A pid alone is not enough: it is used again after the process ended, and after a reboot.
 * The pid, the start time that the kernel keeps (field 22 of /proc/PID/stat, in clock ticks since boot) and the
 * boot id together name one process for ever. Linux only: proc_pid_stat(5).
 */
import { readdirSync, readFileSync } from "node:fs";
import { readFile, rename, writeFile } from "node:fs/promises";
import { randomUUID } from "node:crypto";
import { z } from "zod";
import { LandlordError } from "../domain/errors.ts";

/** One process for ever. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks since boot, as the kernel prints them. */
  readonly startTime: string;
  readonly bootId: string;
}

/** What the kernel says of a process now. */
export interface ProcessStatus {
  readonly pid: number;
  /** One letter; `X` is dead, and so is `Z` unless other threads go on. */
  readonly state: string;
  readonly threads: number;
  readonly parent: number;
  readonly group: number;
  readonly session: number;
  readonly startTime: string;
}

/** The kernel's user-space clock ticks per second (USER_HZ), 100 on every architecture that Node runs on. */
const CLOCK_TICKS_PER_SECOND = 100;

const identitySchema = z.object({ pid: z.int().min(1), startTime: z.string(), bootId: z.string() });

let knownBootId: string | null = null;

/** The id of this boot of the machine. Throws `unsupported_platform` elsewhere than on Linux. */
export function bootId(): string {
  if (process.platform !== "linux") {
    throw new LandlordError(
      "unsupported_platform",
      `Supervising processes needs Linux's /proc, and this is ${process.platform}: run it on Linux, or use a remote database, engine and compute provider.`,
    );
  }
  knownBootId ??= readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  return knownBootId;
}

/** Parses /proc/PID/stat, or null when the text is none. */
export function parseProcessStat(text: string): ProcessStatus | null {
  // The command's name stands in parentheses and may itself hold spaces, parentheses and line feeds.
  const end = text.lastIndexOf(")");
  const fields = text.slice(end + 2).split(" ");
  const [state, parent, group, session] = fields;
  const threads = Number(fields[17]);
  const startTime = fields[19];
  if (end < 0 || state === undefined || startTime === undefined) return null;
  return {
    pid: Number.parseInt(text, 10),
    state,
    threads,
    parent: Number(parent),
    group: Number(group),
    session: Number(session),
    startTime,
  };
}

/** The kernel's word on a pid, or null when there is none. */
export function readProcessStatus(pid: number): ProcessStatus | null {
  try {
    return parseProcessStat(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return null;
  }
}

/** True for a process that still runs; a zombie does not. */
export function isRunning(status: ProcessStatus): boolean {
  // A process whose first thread has ended shows as a zombie while its other threads run and hold its sockets.
  if (status.state === "Z") return status.threads > 1;
  return status.state !== "X" && status.state !== "x";
}

/** Every process that the kernel shows. Costs one small read each. */
export function* allProcesses(): Generator<ProcessStatus> {
  for (const entry of readdirSync("/proc")) {
    if (!/^[0-9]+$/.test(entry)) continue;
    const status = readProcessStatus(Number(entry));
    if (status !== null) yield status;
  }
}

/** The identity of a running process, or null when there is none of that pid. */
export function identityOf(pid: number): ProcessIdentity | null {
  const status = readProcessStatus(pid);
  return status === null ? null : { pid, startTime: status.startTime, bootId: bootId() };
}

/** True when both name the same process. */
export function sameProcess(a: ProcessIdentity, b: ProcessIdentity): boolean {
  return a.pid === b.pid && a.startTime === b.startTime && a.bootId === b.bootId;
}

/** True while exactly this process runs; false for a zombie, and for another process that has the pid now. */
export function isAlive(identity: ProcessIdentity): boolean {
  if (identity.bootId !== bootId()) return false;
  const status = readProcessStatus(identity.pid);
  return status !== null && status.startTime === identity.startTime && isRunning(status);
}

/** How long ago the process started, in milliseconds; of no meaning once it ended. */
export function uptimeMs(identity: ProcessIdentity): number {
  const sinceBootSeconds = Number.parseFloat(readFileSync("/proc/uptime", "utf8"));
  return Math.max(0, (sinceBootSeconds - Number(identity.startTime) / CLOCK_TICKS_PER_SECOND) * 1000);
}

/** Writes the identity so that a reader sees all of it or nothing. */
export async function writeIdentity(file: string, identity: ProcessIdentity): Promise<void> {
  const draft = `${file}.${randomUUID()}`;
  await writeFile(draft, `${JSON.stringify(identity)}\n`, { mode: 0o600 });
  await rename(draft, file);
}

/** The identity that `writeIdentity` left, or null when there is none or it is not readable as one. */
export async function readIdentity(file: string): Promise<ProcessIdentity | null> {
  try {
    return identitySchema.parse(JSON.parse(await readFile(file, "utf8")));
  } catch {
    return null;
  }
}

/** Sends a signal to exactly this process; false when it is gone. Throws when not permitted. */
export function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals): boolean {
  if (!isAlive(identity)) return false;
  return sendSignal(identity.pid, signal);
}

/** `process.kill` that answers false for a process or group (negative) that is gone. */
export function sendSignal(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(pid, signal);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
    throw error;
  }
}
