import { setTimeout as delay } from "node:timers/promises";
import { messageOf } from "../domain/errors.ts";

/** Thrown by a look whose answer no further look can change. */
export class FinalError extends Error {}

/**
 * Repeats `look` until it no longer throws, and then returns what it returned. The last reason is part of the failure;
 * a FinalError ends the wait.
 */
export async function eventually<T>(
  look: () => Promise<T>,
  options: { readonly what: string; readonly timeoutMs: number; readonly everyMs?: number },
): Promise<T> {
  const deadlineMs = performance.now() + options.timeoutMs;
  for (;;) {
    try {
      return await look();
    } catch (error) {
      if (error instanceof FinalError) throw error;
      if (performance.now() >= deadlineMs) {
        throw new Error(
          `not within ${Math.round(options.timeoutMs / 1_000)} s: ${options.what}. The last look: ${messageOf(error)}`,
          { cause: error },
        );
      }
    }
    await delay(options.everyMs ?? 50);
  }
}

/** Runs `tasks`, at most `limit` at a time; throws the first failure once all have ended. */
export async function inParallel(limit: number, tasks: readonly (() => Promise<void>)[]): Promise<void> {
  const queue = [...tasks];
  const failures: unknown[] = [];
  const work = async (): Promise<void> => {
    for (let task = queue.shift(); task !== undefined; task = queue.shift()) {
      await task().catch((error: unknown) => failures.push(error));
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, tasks.length) }, work));
  if (failures.length > 0) throw failures[0];
}
