import { ConnectionError, LandlordApiError, TenantFailedError, WaitTimeoutError } from "./errors.ts";
import { sleep, type Transport } from "./transport.ts";
import type { Tenant } from "./types.ts";

const POLL_FIRST_MS = 100;
const POLL_MAX_MS = 1000;
const POLL_GROWTH = 1.5;
/** How long the server is asked to hold an answer back: what is between here and there cuts idle connections. */
const HOLD_MS = 20_000;
/** The same when each change is to be reported, and not only the last. */
const HOLD_WITH_CHANGES_MS = 1_000;

export interface WaitOptions {
  readonly for: "ready" | "archived" | "deleted";
  readonly timeoutMs: number;
  /** The generation that must have been reached; without it, any. */
  readonly generation?: number | undefined;
  /** Called with the tenant as it is first seen and whenever it changed. */
  readonly onChange?: ((tenant: Tenant) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Waits until the tenant is what was asked for; answers it as last seen, or null when it was gone already. The server
 * holds its answers back meanwhile; one that is too old to know how is polled.
 * A server that is away for a while is waited for. Throws TenantFailedError, WaitTimeoutError, LandlordApiError
 * (a refusal, or 404 unless waiting for `deleted`), and ConnectionError when no answer ever came.
 */
export async function waitFor(
  transport: Transport,
  idOrName: string,
  options: WaitOptions,
): Promise<Tenant | null> {
  const deadline = Date.now() + options.timeoutMs;
  let last: Tenant | null = null;
  let lastError: Error | undefined;
  const holdLimitMs = options.onChange === undefined ? HOLD_MS : HOLD_WITH_CHANGES_MS;
  for (let pause = POLL_FIRST_MS; ; pause = Math.min(pause * POLL_GROWTH, POLL_MAX_MS)) {
    const isFirst = last === null;
    // The first answer comes at once: whether there is such a tenant, and how it is. So does one after a failure: a
    // server that may not hold any more answers back still answers.
    const mayHold = !isFirst && lastError === undefined;
    const holdMs = mayHold ? Math.min(Math.floor(deadline - Date.now()), holdLimitMs) : 0;
    const askedAt = Date.now();
    try {
      // By uuid once it is known: a name may be given to another tenant after a delete.
      const path = `/v1/tenants/${encodeURIComponent(last?.id ?? idOrName)}`;
      const tenant: Tenant = await transport({
        method: "GET",
        path,
        ...(holdMs > 0 ? { query: { wait: options.for, timeout: `${holdMs}ms` }, heldBackMs: holdMs } : {}),
        retries: 0,
        signal: options.signal,
      });
      lastError = undefined;
      if (JSON.stringify(tenant) !== JSON.stringify(last)) options.onChange?.(tenant);
      last = tenant;
      if (isReached(tenant, options)) return tenant;
      if (tenant.status === "failed" && tenant.generation >= (options.generation ?? 0)) {
        throw new TenantFailedError(tenant);
      }
    } catch (error) {
      if (error instanceof LandlordApiError && error.status === 404 && options.for === "deleted") return last;
      if (!isTransient(error)) throw error;
      lastError = error;
    }
    const left = deadline - Date.now();
    if (left <= 0) {
      if (last === null && lastError !== undefined) throw lastError;
      throw new WaitTimeoutError(last?.name ?? idOrName, options.for, options.timeoutMs, last, lastError);
    }
    const wasHeldBack = holdMs > 0 && Date.now() - askedAt >= holdMs;
    const askAgain = lastError === undefined && (isFirst || wasHeldBack);
    if (!askAgain) await sleep(Math.min(pause, left), options.signal);
  }
}

function isReached(tenant: Tenant, options: WaitOptions): boolean {
  if (options.for === "deleted") return false;
  return tenant.status === options.for && tenant.observed_generation >= (options.generation ?? 0);
}

function isTransient(error: unknown): error is Error {
  return error instanceof ConnectionError || (error instanceof LandlordApiError && error.status >= 500);
}
