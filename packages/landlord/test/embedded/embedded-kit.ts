import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterEach } from "vitest";

const cleanups: (() => Promise<unknown> | void)[] = [];

/** Runs what tests left to be undone, newest first. */
export function cleanUpAfterEach(): void {
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  });
}

export function atEnd(cleanup: () => Promise<unknown> | void): void {
  cleanups.push(cleanup);
}

/** A folder that other users may pass, so that root's PostgreSQL can live in it. */
export function newFolder(mode = 0o755): string {
  const folder = mkdtempSync(join(tmpdir(), "landlord-embedded-"));
  chmodSync(folder, mode);
  // An initdb whose supervisor was killed may still be writing.
  atEnd(() => rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 }));
  return folder;
}

export interface Said {
  readonly messages: string[];
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export function newLog(): Said {
  const messages: string[] = [];
  return {
    messages,
    info: (_, message) => messages.push(message),
    warn: (_, message) => messages.push(message),
  };
}

const supervisorFile = fileURLToPath(new URL("./supervisor.ts", import.meta.url));

/** Starts a part in a process of its own and answers what it printed. */
export function startSupervisor(
  kind: "postgres" | "restate",
  dataDir: string,
): { child: ChildProcess; started: Promise<{ pid: number }> } {
  const child = spawn(process.execPath, ["--import", "tsx", supervisorFile, kind, dataDir], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  atEnd(() => void child.kill("SIGKILL"));
  const started = new Promise<{ pid: number }>((resolve, reject) => {
    let text = "";
    child.stdout.on("data", (chunk: Buffer) => {
      text += chunk.toString();
      if (text.endsWith("\n")) resolve(JSON.parse(text) as { pid: number });
    });
    child.once("exit", () => reject(new Error("the supervisor ended")));
  });
  return { child, started };
}

export async function until(
  what: string,
  look: () => boolean | Promise<boolean>,
  deadlineMs = 20_000,
): Promise<void> {
  const deadline = performance.now() + deadlineMs;
  while (!(await look())) {
    if (performance.now() > deadline) throw new Error(`not within ${deadlineMs} ms: ${what}`);
    await delay(20);
  }
}
