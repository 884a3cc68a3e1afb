/** Keys of the system that this one replaces: accepted under their old name, or refused with their replacement. */

/** Old name to present name; both mean the same. */
export const KEY_ALIASES: ReadonlyMap<string, string> = new Map([
  ["workflow.restate.worker_landlord_api_url", "worker.api_url"],
  ["workflow.restate.worker_compute_cache_ttl", "worker.compute_cache_ttl"],
]);

const POOLING = "the pool closes idle connections by itself; use database.max_connections for its size";

/** Key (with everything below it) to what replaced it. */
export const DROPPED_KEYS: ReadonlyMap<string, string> = new Map([
  ["database.provider", "only PostgreSQL is supported: remove the key and set database.url"],
  [
    "database.sqlite",
    "only PostgreSQL is supported: set database.url, or use `landlord dev`, which brings one",
  ],
  ["database.min_connections", POOLING],
  ["database.max_conn_lifetime", POOLING],
  ["database.max_conn_idle_time", POOLING],
  ["http.tailscale_auth", "not supported: put an authenticating proxy in front, or listen on loopback"],
  [
    "workflow.restate.execution_mechanism",
    "no longer needed: remove the key, one workflow service runs everything",
  ],
  ["workflow.restate.service_name", "use workflow.restate.worker_namespace"],
  ["workflow.restate.auth_type", "use workflow.restate.auth_token, which is sent as a bearer token"],
  ["workflow.restate.api_key", "use workflow.restate.auth_token, which is sent as a bearer token"],
  [
    "workflow.restate.timeout",
    "use workflow.restate.request_timeout for one request, controller.operation_deadline for a whole operation",
  ],
  [
    "workflow.restate.retry_attempts",
    "retries never end by count: see controller.operation_deadline and on_deadline",
  ],
  ["workflow.restate.worker_compute_provider", "use compute.default_provider"],
  [
    "controller.max_retries",
    "retries never end by count: use controller.on_deadline (keep_retrying or fail)",
  ],
  ["workflow.temporal", "Temporal is not available yet in this version; use restate"],
]);

/** What replaced a key, or null for a key that was never dropped. */
export function replacementOf(dottedKey: string): string | null {
  for (const [dropped, replacement] of DROPPED_KEYS) {
    if (dottedKey === dropped || dottedKey.startsWith(`${dropped}.`)) return replacement;
  }
  return null;
}
