/**
 * API keys. Looked up by the hash of the secret, so no comparison can be timed: whoever does not know the secret does
 * not know what its hash begins with. Answers are kept for seconds, hits and misses apart, so that guessing cannot
 * push out those who belong here; a revoked key therefore ends within `CACHE_MS` on every server.
 */
import type { Role } from "../domain/principal.ts";
import { messageOf } from "../domain/errors.ts";
import { parseSelector } from "../domain/selector.ts";
import type { Logger } from "../telemetry/logger.ts";
import { UnauthenticatedError } from "./errors.ts";
import type { Identity } from "./identity.ts";
import { hashSecret } from "./secret.ts";

export interface Key {
  readonly id: string;
  readonly name: string;
  readonly role: Role;
  readonly scope: string | null;
  readonly expiresAt: Date | null;
}

interface FoundKey {
  readonly token: Key;
  /** Of the secret that was asked for; zero or less: expired. Null: never. */
  readonly expiresInMs: number | null;
}

/** Where keys are kept. */
export interface KeyStore {
  findToken(params: { readonly secretHash: Uint8Array }): Promise<FoundKey | null>;
  /** Answers those that were never used before. */
  touchTokens(params: { readonly ids: readonly string[] }): Promise<readonly string[]>;
}

export interface KeyVerifier {
  /**
   * @throws UnauthenticatedError for a secret that no key has, or whose time is over
   * @throws UnavailableError when the store does not answer
   */
  verify(secret: string): Promise<Identity>;
  /** True for a secret that was good when it was last looked up. */
  wasGood(secret: string): boolean;
  /** Writes what is left of the times of use. */
  stop(): Promise<void>;
}

export interface KeyVerifierOptions {
  readonly keys: KeyStore;
  /** A key was used for the first time since it was made. */
  readonly onFirstUse: (key: Key) => void;
  readonly logger: Logger;
  readonly nowMs: () => number;
}

const CACHE_MS = 5_000;
const CACHE_LIMIT = 10_000;
const TOUCH_INTERVAL_MS = 60_000;
const FLUSH_MS = 1_000;
/** The database takes this many at once; more wait for the next turn. */
const TOUCH_BATCH = 1_000;

interface Entry {
  readonly found: FoundKey | null;
  readonly readAtMs: number;
}

export function createKeyVerifier({ keys, onFirstUse, logger, nowMs }: KeyVerifierOptions): KeyVerifier {
  const hits = new Map<string, Entry>();
  const misses = new Map<string, Entry>();
  const reading = new Map<string, Promise<Entry>>();
  /** By key id: when its use was last noted. */
  const touched = new Map<string, number>();
  const toTouch = new Map<string, Key>();
  let flushTimer: NodeJS.Timeout | null = null;
  let flushing: Promise<void> = Promise.resolve();

  function cached(hash: string): Entry | null {
    const entry = hits.get(hash) ?? misses.get(hash);
    return entry !== undefined && nowMs() - entry.readAtMs < CACHE_MS ? entry : null;
  }

  function keep(hash: string, entry: Entry): Entry {
    hits.delete(hash);
    misses.delete(hash);
    const cache = entry.found === null ? misses : hits;
    cache.set(hash, entry);
    dropOldest(cache);
    return entry;
  }

  /** Requests that come together with the same secret share one read. */
  async function read(secret: string, hash: string): Promise<Entry> {
    const running = reading.get(hash);
    if (running !== undefined) return running;
    const readAtMs = nowMs();
    const promise = keys
      .findToken({ secretHash: hashSecret(secret) })
      .then((found) => keep(hash, { found, readAtMs }))
      .finally(() => reading.delete(hash));
    reading.set(hash, promise);
    return promise;
  }

  function noteUse(key: Key): void {
    const last = touched.get(key.id);
    if (last !== undefined && nowMs() - last < TOUCH_INTERVAL_MS) return;
    if (toTouch.size >= TOUCH_BATCH) return;
    touched.delete(key.id);
    touched.set(key.id, nowMs());
    dropOldest(touched);
    toTouch.set(key.id, key);
    flushTimer ??= setTimeout(() => {
      flushing = flush();
    }, FLUSH_MS).unref();
  }

  async function flush(): Promise<void> {
    flushTimer = null;
    const batch = [...toTouch.values()];
    toTouch.clear();
    if (batch.length === 0) return;
    try {
      const first = new Set(await keys.touchTokens({ ids: batch.map(({ id }) => id) }));
      for (const key of batch) if (first.has(key.id)) onFirstUse(key);
    } catch (error) {
      // The next use after the interval notes it again.
      logger.debug({ error: messageOf(error) }, "last use of keys not noted");
    }
  }

  async function verify(secret: string): Promise<Identity> {
    const hash = hashSecret(secret).toString("base64url");
    const { found, readAtMs } = cached(hash) ?? (await read(secret, hash));
    if (found === null)
      throw UnauthenticatedError.refused("no key has this secret; it may have been revoked");
    const { token, expiresInMs } = found;
    if (expiresInMs !== null && nowMs() - readAtMs >= expiresInMs) throw UnauthenticatedError.expired();
    noteUse(token);
    return {
      principal: {
        name: token.name,
        role: token.role,
        scope: token.scope === null ? null : parseSelector(token.scope),
      },
      method: "key",
      expiresAt: expiresInMs === null ? null : new Date(Date.now() + expiresInMs - (nowMs() - readAtMs)),
      stillValid: () => verify(secret).then(isValid, isNotRefused),
    };
  }

  return {
    verify,
    wasGood: (secret) => hits.has(hashSecret(secret).toString("base64url")),
    async stop() {
      if (flushTimer !== null) clearTimeout(flushTimer);
      await flushing;
      await flush();
    },
  };
}

const isValid = (): boolean => true;

/** A store that does not answer says nothing about a key: whoever is in stays until it is known better. */
const isNotRefused = (error: unknown): boolean => !(error instanceof UnauthenticatedError);

function dropOldest(cache: Map<string, unknown>): void {
  if (cache.size <= CACHE_LIMIT) return;
  const oldest = cache.keys().next();
  if (oldest.done !== true) cache.delete(oldest.value);
}
