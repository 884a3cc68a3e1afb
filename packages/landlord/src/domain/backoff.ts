/**
 * Exponential backoff with full-range jitter in its upper half: between half of and the whole of
 * `initialMs · 2^(attempt-1)`, never above `maxMs`.
 *
 * @param attempt the attempt that just failed, from 1
 * @param jitter uniform in [0, 1); given by the caller because this folder knows no randomness
 */
export function backoffMs(
  attempt: number,
  jitter: number,
  bounds: { readonly initialMs: number; readonly maxMs: number },
): number {
  const exponent = Math.min(Math.max(attempt, 1) - 1, 30);
  const ceilingMs = Math.min(bounds.initialMs * 2 ** exponent, bounds.maxMs);
  return Math.round(ceilingMs * (0.5 + jitter / 2));
}
