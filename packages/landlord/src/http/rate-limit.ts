/** Token buckets, one for each key, of which there are at most `KEYS_LIMIT`: the least recently used is forgotten. */

export interface RateLimit {
  readonly requestsPerSecond: number;
  /** At least 1. */
  readonly burst: number;
}

export interface RateVerdict {
  readonly allowed: boolean;
  /** Whole requests that may come at once now. */
  readonly remaining: number;
  /** Until one more may come; 0 when one may come now. */
  readonly retryAfterSeconds: number;
  /** Until the bucket is full again. */
  readonly resetSeconds: number;
}

export interface RateLimiter {
  readonly limit: RateLimit;
  /** Takes one from the bucket if there is one. */
  take(key: string): RateVerdict;
}

interface Bucket {
  tokens: number;
  atMs: number;
}

const KEYS_LIMIT = 10_000;

export function createRateLimiter(limit: RateLimit, nowMs: () => number): RateLimiter {
  const buckets = new Map<string, Bucket>();
  const { requestsPerSecond, burst } = limit;

  function filled(key: string): Bucket {
    const now = nowMs();
    const { tokens, atMs } = buckets.get(key) ?? { tokens: burst, atMs: now };
    return { tokens: Math.min(burst, tokens + ((now - atMs) / 1_000) * requestsPerSecond), atMs: now };
  }

  return {
    limit,
    take(key) {
      const bucket = filled(key);
      const allowed = bucket.tokens >= 1;
      if (allowed) bucket.tokens -= 1;
      // Written anew: the order of a map is the order of use.
      buckets.delete(key);
      buckets.set(key, bucket);
      if (buckets.size > KEYS_LIMIT) {
        const oldest = buckets.keys().next();
        if (oldest.done !== true) buckets.delete(oldest.value);
      }
      return {
        allowed,
        remaining: Math.floor(bucket.tokens),
        retryAfterSeconds: allowed ? 0 : Math.ceil((1 - bucket.tokens) / requestsPerSecond),
        resetSeconds: Math.ceil((burst - bucket.tokens) / requestsPerSecond),
      };
    },
  };
}
