import type { Migration } from "kysely";
import { initial } from "./0001-initial.ts";
import { accessEventsWorkers } from "./0003-access-events-workers.ts";
import { driftSweepFairness } from "./0002-drift-sweep-fairness.ts";
import { leaseHolder } from "./0004-lease-holder.ts";

/**
 * Every migration, oldest first. The number before the first dash is the schema version that it brings.
 * Migrations only expand (new tables, columns with defaults, indexes) until no supported binary needs the old shape:
 * binary N must run on schema N+1.
 */
export const MIGRATIONS: Readonly<Record<string, Migration>> = {
  "0001-initial": initial,
  "0002-drift-sweep-fairness": driftSweepFairness,
  "0003-access-events-workers": accessEventsWorkers,
  "0004-lease-holder": leaseHolder,
};
