/** How a process lives and ends: phased stop, bounded, and a second signal ends it at once. */
import { messageOf } from "../domain/errors.ts";
import type { Logger } from "../telemetry/logger.ts";

/** 128 + SIGINT, as shells report it. */
const INTERRUPTED_EXIT_CODE = 130;

export interface StopPhase {
  readonly name: string;
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
    const ask = (reason: string) => (): void => {
      if (controller.signal.aborted) {
        if (reason === "parent") return;
        logger.warn({ reason }, "second signal: exiting at once");
        process.exit(INTERRUPTED_EXIT_CODE);
      }
      logger.info({ reason }, "stopping");
      controller.abort();
      resolve(reason);
    };
    process.on("SIGTERM", ask("SIGTERM"));
    process.on("SIGINT", ask("SIGINT"));
    if (process.channel !== undefined) process.on("disconnect", ask("parent"));
  });
  return { signal: controller.signal, asked };
}

/** Runs the phases in order. One that fails is logged, and the next one runs all the same. */
export async function stopInPhases(phases: readonly StopPhase[], logger: Logger): Promise<void> {
  for (const phase of phases) {
    try {
      await phase.run();
    } catch (error) {
      logger.warn({ phase: phase.name, error: messageOf(error) }, "stop phase failed");
    }
  }
}

/** Tells a supervising parent that this process does its work; without one, nothing happens. */
export function reportReady(facts: Readonly<Record<string, unknown>>): void {
  process.send?.({ kind: "ready", ...facts });
}
