/** Compute as a provider sees it now. */
import type { JsonObject } from "./json.ts";
import type { Endpoint, Health } from "./tenant.ts";

export interface Observation {
  /** `unknown`: this provider cannot see one of the scopes, or the provider did not answer. Never means absent. */
  readonly presence: "present" | "absent" | "unknown";
  /** Generation and hash of what serves, or null when nothing does. */
  readonly generation: number | null;
  readonly configHash: string | null;
  readonly health: Health;
  /** Why it is not healthy: for people. */
  readonly message: string | null;
  readonly config: JsonObject | null;
  readonly resourceIds: Readonly<Record<string, string>>;
  readonly endpoints: readonly Endpoint[];
  /** The host, daemon or cluster that was looked at. */
  readonly scope: string;
}
