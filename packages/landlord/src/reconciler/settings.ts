import type { DecideSettings } from "../domain/decide.ts";
import type { ComputeLimits } from "../store/store.ts";

export interface ReconcilerSettings extends DecideSettings {
  /** Unique for each process; shown as the holder of a lease. */
  readonly leaseOwner: string;
  /** At least three times `effectTimeoutMs`, so that a pass ends before its lease. */
  readonly leaseDurationMs: number;
  /** Limit of one call to the engine. */
  readonly effectTimeoutMs: number;
  /** Tenants worked on at once by this process. */
  readonly workers: number;
  /** How often due tenants are looked for when nothing wakes the loop. */
  readonly reconciliationIntervalMs: number;
  /** How long after its ledger row was written a job may still start. */
  readonly startTimeoutMs: number;
  readonly shutdownTimeoutMs: number;
  /** How long a pass waits for the end of a job that it has invoked before it gives the tenant back. */
  readonly completionWaitMs: number;
  readonly tombstoneRetentionMs: number;
  /** The workflow provider of new operations; null for the default. */
  readonly workflowProvider: string | null;
  /** Between two looks at the compute of a settled tenant, if the rate allows; spread by a fifth either way. */
  readonly resyncIntervalMs: number;
  /** Looks a second of all servers together, whatever the size of the fleet; 0 for none. */
  readonly resyncRate: number;
  /** Unfinished operations of all servers together. */
  readonly maxInFlight: number;
  /** Repairs of drifted compute in flight, for each compute provider. */
  readonly repairsInFlight: number;
  /** After so long a wait, a lane with nothing in flight goes before the others. */
  readonly lanePatienceMs: number;
  readonly computeLimits: Readonly<Record<string, ComputeLimits>>;
  /** Told to workers, for engine configurations and progress. */
  readonly apiBaseUrl: string;
}
