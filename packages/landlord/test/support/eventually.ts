import { setTimeout as delay } from "node:timers/promises";

/**
 * Repeats `look` until it returns something other than null, undefined or false. What it throws counts as "not yet",
 * and is the cause of the failure when the deadline passes.
 */
export async function eventually<T>(
  look: () => Promise<T | null | undefined | false> | T | null | undefined | false,
  options: { readonly what: string; readonly timeoutMs?: number; readonly everyMs?: number },
): Promise<T> {
  const deadlineMs = performance.now() + (options.timeoutMs ?? 20_000);
  let last: unknown;
  for (;;) {
    try {
      const found = await look();
      if (found !== null && found !== undefined && found !== false) return found;
      last = found;
    } catch (error) {
      last = error;
    }
    if (performance.now() >= deadlineMs) {
      throw new Error(`did not happen in time: ${options.what}`, { cause: last });
    }
    await delay(options.everyMs ?? 20);
  }
}
