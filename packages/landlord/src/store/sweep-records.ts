/** What the sweep works on, and what it keeps. */
import type { JsonObject } from "../domain/json.ts";
import type { Tenant } from "../domain/tenant.ts";

/** Who owns a resource, as far as the database knows. */
export interface ResourceOwner {
  readonly tenantId: string;
  /** Null: no such tenant, or no more. */
  readonly tenant:
    | (Pick<Tenant, "name" | "status" | "generation" | "observedGeneration" | "intent"> & {
        readonly scopes: readonly string[];
      })
    | null;
  /** What a deleted tenant left, and how long ago; null for none. */
  readonly tombstone: { readonly name: string; readonly generation: number; readonly ageMs: number } | null;
}

/** Compute of this instance that belongs to no tenant. */
export interface Orphan {
  readonly computeProvider: string;
  readonly scope: string;
  readonly tenantId: string;
  readonly generation: number | null;
  readonly resourceIds: Readonly<Record<string, string>>;
}

export interface RecordedOrphan extends Orphan {
  readonly firstSeenAt: Date;
  readonly lastSeenAt: Date;
  /** By the database's clock. */
  readonly ageMs: number;
}

/** A chore that one server at a time does for the fleet. */
export interface Chore {
  readonly requestedAt: Date | null;
  readonly finishedAt: Date | null;
  /** What the last run found; null before the first. */
  readonly report: JsonObject | null;
}
