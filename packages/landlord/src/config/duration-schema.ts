import { z } from "zod";
import { parseDuration } from "./duration.ts";

/** Timers of Node hold 31 bits; a longer delay would fire at once. */
const TIMER_MAX_MS = 2_147_483_647;

/** A duration, written like "1h30m"; a number of milliseconds when it is parsed. */
export function duration(bounds: { readonly minMs?: number; readonly maxMs?: number } = {}) {
  const { minMs = 1, maxMs = TIMER_MAX_MS } = bounds;
  return z
    .string({ error: 'must be a duration such as "500ms", "10s" or "1h30m"' })
    .meta({ format: "duration" })
    .transform((text, context) => {
      const milliseconds = parseDuration(text.trim());
      if (milliseconds === null) {
        context.addIssue({ code: "custom", message: 'must be a duration such as "500ms", "10s" or "1h30m"' });
        return z.NEVER;
      }
      if (!Number.isInteger(milliseconds) || milliseconds < minMs || milliseconds > maxMs) {
        context.addIssue({
          code: "custom",
          message: `must be a whole number of milliseconds between ${minMs}ms and ${maxMs}ms`,
        });
        return z.NEVER;
      }
      return milliseconds;
    });
}

export const SECOND = 1000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
/** For spans that are compared with the database's clock and never become a timer. */
export const ANY_SPAN = { minMs: 0, maxMs: 100 * 365 * 24 * HOUR };
