/** How a process lives and ends: phased stop, bounded, and a second signal ends it at once. */
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { environment } from "../config/environment.ts";
import { messageOf } from "../domain/errors.ts";
import type { Logger } from "../telemetry/logger.ts";
import {
  SUPERVISED_VARIABLE,
  type ReadyMessage,
  type SupervisedPart,
  type SupervisorMessage,
} from "./supervision.ts";

// Not by way of `process.stdout`: to ask it for its descriptor would open it.
const STDOUT = 1;
const STDERR = 2;

/** 128 + SIGINT, as shells report it. */
const INTERRUPTED_EXIT_CODE = 130;

/** Longer than any orderly phase of a server or worker takes by its own limits. */
const PHASE_LIMIT_MS = 40_000;
const EXIT_GRACE_MS = 2_000;
const SAME_SIGNAL_MS = 500;

export interface StopPhase {
  readonly name: string;
  /** 40 s when not given. */
  readonly limitMs?: number;
  run(): Promise<void>;
}

/**
 * Resolves at the first SIGTERM or SIGINT, or when the parent that supervises us is gone (its IPC channel closes).
 * A second signal exits at once.
 */
export function untilAskedToStop(logger: Logger): {
  readonly signal: AbortSignal;
  readonly asked: Promise<string>;
} {
  const controller = new AbortController();
  const asked = new Promise<string>((resolve) => {
    let askedAtMs = 0;
    const ask = (reason: string) => (): void => {
      if (controller.signal.aborted) {
        // One Ctrl-C or group kill may arrive twice, by the group and by a launcher that passes it on.
        if (reason === "parent" || performance.now() - askedAtMs < SAME_SIGNAL_MS) return;
        logger.warn({ reason }, "second signal: exiting at once");
        process.exit(INTERRUPTED_EXIT_CODE);
      }
      askedAtMs = performance.now();
      logger.info({ reason }, "stopping");
      controller.abort();
      resolve(reason);
    };
    process.on("SIGTERM", ask("SIGTERM"));
    process.on("SIGINT", ask("SIGINT"));
    process.on("disconnect", ask("parent"));
    // A supervisor that died while this process was booting closed the channel before anybody listened.
    if (environment()[SUPERVISED_VARIABLE] !== undefined && !process.connected) ask("parent")();
  });
  return { signal: controller.signal, asked };
}

/**
 * Runs the phases in order. One that fails, or does not end within its limit, is logged, and the next one runs all
 * the same: a database that went silent must not keep a server from stopping.
 */
export async function stopInPhases(phases: readonly StopPhase[], logger: Logger): Promise<void> {
  for (const phase of phases) {
    const limitMs = phase.limitMs ?? PHASE_LIMIT_MS;
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`did not end within ${limitMs} ms`)), limitMs);
    });
    try {
      await Promise.race([phase.run(), limit]);
    } catch (error) {
      logger.warn({ phase: phase.name, error: messageOf(error) }, "stop phase failed");
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Exits even when something that was left behind (a socket to a silent peer) would keep the process alive. */
export function exitSoon(exitCode: number): void {
  setTimeout(() => process.exit(exitCode), EXIT_GRACE_MS).unref();
}

/** False for a process whose environment and command line say everything. */
export function isSupervised(): boolean {
  return environment()[SUPERVISED_VARIABLE] !== undefined;
}

/** Waits until the part can be used; at most until the signal aborts. */
export type UntilUp = (part: SupervisedPart, signal: AbortSignal) => Promise<void>;

/** For a process that is started after everything that it uses, or that can wait for it by itself. */
export const withoutWaiting: UntilUp = () => Promise.resolve();

export interface Orders {
  /** The command line. */
  readonly words: readonly string[];
  /** For what this process writes; see writeTo. */
  readonly logFile: string;
  readonly untilUp: UntilUp;
}

/**
 * Waits for the orders of a supervisor: their settings become part of the environment. Ends the process when the
 * supervisor is gone.
 */
export async function receiveOrders(): Promise<Orders> {
  const ups = {
    database: new AbortController(),
    engine: new AbortController(),
    api: new AbortController(),
  };
  const received = new Promise<SupervisorMessage & { readonly kind: "orders" }>((resolve) => {
    process.on("message", (message: SupervisorMessage) => {
      if (message.kind === "orders") resolve(message);
      else ups[message.part].abort();
    });
  });
  const end = (): void => process.exit(INTERRUPTED_EXIT_CODE);
  if (!process.connected) end();
  process.once("disconnect", end);
  const { words, settings, logFile } = await received;
  process.off("disconnect", end);
  Object.assign(environment(), settings);
  return { words, logFile, untilUp: (part, signal) => aborted(AbortSignal.any([ups[part].signal, signal])) };
}

/**
 * Also what Node and its native parts say of a crash: so the descriptors themselves are exchanged. Only while no file is
 * being opened anywhere else: the loader of modules does it on other threads, and would get the descriptor that was freed.
 */
export function writeTo(file: string): void {
  for (const descriptor of [STDOUT, STDERR]) {
    closeSync(descriptor);
    // A file gets the lowest descriptor that is free (POSIX, open).
    const opened = openSync(file, "a", 0o600);
    if (opened !== descriptor) throw new Error(`${file} was opened as ${opened}, not as ${descriptor}`);
  }
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await once(signal, "abort");
}

/** Tells a supervising parent that this process does its work; without one, nothing happens. */
export function reportReady(facts: Readonly<Record<string, unknown>>): void {
  process.send?.({ kind: "ready", ...facts } satisfies ReadyMessage);
}
