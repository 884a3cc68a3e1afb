/** Runs the launcher's script and understands its answer. */
import { spawn } from "node:child_process";
import { open } from "node:fs/promises";
import type { Readable } from "node:stream";
import { ComputeError } from "../provider.ts";
import { LAUNCHER_SCRIPT } from "./launcher-script.ts";
import type { TenantFiles } from "./tenant-files.ts";

/** The tools of the launcher and of workloads; the worker's own PATH is not passed on. */
export const FIXED_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/** How long the script waits for the tenant's lock, which is only ever held for some milliseconds. */
const LOCK_WAIT_SECONDS = 15;
/** How long the worker waits for the script; the script may still go on, and is fenced. */
const ANSWER_TIMEOUT_MS = 25_000;
const ANSWER_LIMIT_BYTES = 4096;

export type LauncherMode = "begin" | "launch" | "destroy" | "clean";

/** `done` for begin, destroy and clean; `launched` when the script became the workload, or died trying. */
export type LauncherAnswer =
  | { readonly kind: "done" | "launched" | "alive" | "leftovers" | "retry" }
  | { readonly kind: "stale"; readonly generation: number }
  | { readonly kind: "newer"; readonly generation: number };

export interface LauncherCall {
  readonly mode: LauncherMode;
  readonly files: TenantFiles;
  readonly generation: number;
  /** `-` where there is none. */
  readonly configHash: string;
  readonly launchId: string;
  /** Folders that hold one cgroup per launch; empty without cgroups. */
  readonly cgroupParents: readonly string[];
  /** Where `clean` moves what is left. */
  readonly trash: string;
}

/**
 * Runs the script, which goes on even if this process ends. Throws a retryable ComputeError `launcher_failed`
 * when it could not do its work.
 */
export async function runLauncher(call: LauncherCall): Promise<LauncherAnswer> {
  // Append mode, so that cutting the file does not leave a hole that the next write recreates.
  const log = call.mode === "launch" ? await open(call.files.logFile, "a", 0o600) : null;
  try {
    return parseAnswer(await answerOf(call, log?.fd ?? "ignore"));
  } finally {
    await log?.close();
  }
}

function launcherArguments(call: LauncherCall): string[] {
  const { mode, files, generation, configHash, launchId, trash, cgroupParents } = call;
  const fixed = [
    mode,
    files.tenantDir,
    String(generation),
    configHash,
    launchId,
    String(LOCK_WAIT_SECONDS),
    trash,
  ];
  return ["-c", LAUNCHER_SCRIPT, "landlord-launcher", ...fixed, ...cgroupParents];
}

function answerOf(call: LauncherCall, output: number | "ignore"): Promise<string> {
  return new Promise((resolve, reject) => {
    const fail = (what: string, cause?: unknown) =>
      reject(new ComputeError("launcher_failed", `${what} It is tried again.`, { retryable: true, cause }));
    const child = spawn("/bin/sh", launcherArguments(call), {
      cwd: call.files.tenantDir,
      env: { PATH: FIXED_PATH },
      // An own session: a signal to the worker's terminal or group must not reach workloads.
      detached: true,
      stdio: ["ignore", output, output, "pipe"],
    });
    child.unref();
    child.once("error", (cause) => {
      clearTimeout(timer);
      fail(`The launcher could not be started in ${call.files.tenantDir}.`, cause);
    });
    const pipe = child.stdio[3] as Readable;
    let text = "";
    const timer = setTimeout(() => {
      pipe.destroy();
      fail(`The launcher did not answer within ${ANSWER_TIMEOUT_MS} ms.`);
    }, ANSWER_TIMEOUT_MS);
    pipe.setEncoding("utf8");
    pipe.on("data", (chunk: string) => {
      if (text.length < ANSWER_LIMIT_BYTES) text += chunk;
    });
    pipe.once("error", () => undefined);
    // The end of the pipe, not of the process: the process is the workload now.
    pipe.once("close", () => {
      clearTimeout(timer);
      resolve(text.trim());
    });
  });
}

function parseAnswer(text: string): LauncherAnswer {
  const [word, argument] = text.split(" ");
  switch (word) {
    case "ok":
      return { kind: "done" };
    case "":
    case undefined:
      return { kind: "launched" };
    case "alive":
    case "leftovers":
    case "retry":
      return { kind: word };
    case "stale":
    case "newer":
      return { kind: word, generation: Number(argument) };
    case "busy":
      throw new ComputeError("launcher_busy", "Another worker holds the tenant's lock. It is tried again.", {
        retryable: true,
      });
    default:
      throw new ComputeError(
        "launcher_failed",
        `The launcher failed (${text.slice(0, 200)}). It is tried again.`,
        {
          retryable: true,
        },
      );
  }
}
