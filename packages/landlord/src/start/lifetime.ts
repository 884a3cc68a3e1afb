/** How a process lives and ends: phased stop, bounded, and a second signal ends it at once. */
import { once } from "node:events";
import { environment } from "../config/environment.ts";
import { messageOf } from "../domain/errors.ts";
import type { Logger } from "../telemetry/logger.ts";

/** Set by a supervisor that wants its children to end with it. */
export const SUPERVISED_VARIABLE = "SUPERVISED_OVER_IPC";

/** Set by a supervisor that starts this process before it knows all settings, and sends them when it does. */
export const SETTINGS_FOLLOW_VARIABLE = "SETTINGS_OVER_IPC";

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

/** False for a process whose environment says everything. */
export function areSettingsToFollow(): boolean {
  return environment()[SETTINGS_FOLLOW_VARIABLE] !== undefined;
}

/** What a supervisor sends to a process that it started ahead. */
export type SupervisorMessage =
  | {
      readonly kind: "settings";
      /** Environment variables. */
      readonly settings: Readonly<Record<string, string>>;
    }
  /** From now on this can be used. */
  | { readonly kind: "up"; readonly part: SupervisedPart };

/** What processes of ours may be started before: the workflow engine, and the server's API. */
export type SupervisedPart = "engine" | "api";

/** Waits until the part can be used; at most until the signal aborts. */
export type UntilUp = (part: SupervisedPart, signal: AbortSignal) => Promise<void>;

/** For a process that is started after everything that it uses, or that can wait for it by itself. */
export const withoutWaiting: UntilUp = () => Promise.resolve();

/**
 * Waits for the settings of a supervisor, and puts them into the environment. Ends the process when it is gone. Answers
 * what waits until the supervisor says that a part is up.
 */
export async function receiveSettings(): Promise<UntilUp> {
  const ups = { engine: new AbortController(), api: new AbortController() };
  const settings = new Promise<Readonly<Record<string, string>>>((resolve) => {
    process.on("message", (message: SupervisorMessage) => {
      if (message.kind === "settings") resolve(message.settings);
      else ups[message.part].abort();
    });
  });
  const end = (): void => process.exit(INTERRUPTED_EXIT_CODE);
  if (!process.connected) end();
  process.once("disconnect", end);
  Object.assign(environment(), await settings);
  process.off("disconnect", end);
  return (part, signal) => aborted(AbortSignal.any([ups[part].signal, signal]));
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await once(signal, "abort");
}

/** Tells a supervising parent that this process does its work; without one, nothing happens. */
export function reportReady(facts: Readonly<Record<string, unknown>>): void {
  process.send?.({ kind: "ready", ...facts });
}
