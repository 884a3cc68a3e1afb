import type { Tenant } from "./types.ts";

/** The base of every error of this client: a stable `code` to branch on. */
export class LandlordClientError extends Error {
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

/** The API refused or failed. */
export class LandlordApiError extends LandlordClientError {
  /** HTTP status. */
  readonly status: number;
  /** One sentence for each problem; may be empty. */
  readonly details: readonly string[];
  /** What to look for in the server's log; null when the answer did not come from Landlord. */
  readonly requestId: string | null;
  /** When it is worth another try, in milliseconds; null when the API did not say. At most 10 s. */
  readonly retryAfterMs: number | null;

  constructor(
    code: string,
    message: string,
    options: {
      status: number;
      details?: readonly string[];
      requestId?: string | null;
      retryAfterMs?: number | null;
    },
  ) {
    super(code, message);
    this.status = options.status;
    this.details = options.details ?? [];
    this.requestId = options.requestId ?? null;
    this.retryAfterMs = options.retryAfterMs ?? null;
  }
}

/**
 * What follows the token is not kept any more, or the token is of another database. Watch without one, and list the
 * tenants again once that watch is open.
 */
export class WatchExpiredError extends LandlordApiError {}

/** No answer: the server does not run, the address is wrong, or the time was up (code `timeout`). */
export class ConnectionError extends LandlordClientError {
  readonly url: string;

  constructor(code: "unreachable" | "timeout", url: string, reason: string, cause: unknown) {
    const what = code === "timeout" ? `No answer from Landlord at ${url}` : `Cannot reach Landlord at ${url}`;
    super(code, `${what}: ${reason}. Check that the server runs and that the address is right.`, { cause });
    this.url = url;
  }
}

/** The tenant's desired state was rejected while something waited for it. */
export class TenantFailedError extends LandlordClientError {
  readonly tenant: Tenant;

  constructor(tenant: Tenant) {
    const reason = tenant.workflow_error_message || tenant.status_message || "no reason was given";
    super("tenant_failed", `Tenant ${tenant.name} failed: ${reason}`);
    this.tenant = tenant;
  }
}

/** The tenant did not get there in time; it goes on trying. */
export class WaitTimeoutError extends LandlordClientError {
  /** As it was last seen; null when it never was. */
  readonly tenant: Tenant | null;

  constructor(name: string, goal: string, timeoutMs: number, tenant: Tenant | null, cause?: unknown) {
    const state =
      tenant === null
        ? ""
        : `; it is ${tenant.status}${tenant.status_message && `: ${tenant.status_message}`}`;
    super(
      "wait_timeout",
      `Tenant ${name} was not ${goal} within ${Math.round(timeoutMs / 100) / 10} s${state}`,
      cause === undefined ? undefined : { cause },
    );
    this.tenant = tenant;
  }
}
