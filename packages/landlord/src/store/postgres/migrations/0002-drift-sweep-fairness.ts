import { sql, type Kysely, type Migration } from "kysely";

/** What drift, the orphan sweep and fair starts need. The release before runs on it, but starts without fairness. */
export const driftSweepFairness: Migration = {
  async up(db: Kysely<never>): Promise<void> {
    for (const statement of STATEMENTS) await sql.raw(statement).execute(db);
  },
};

const STATEMENTS: readonly string[] = [
  // in_flight: there is an unfinished operation. Kept here because claims must not join.
  `ALTER TABLE tenant_work
     ADD COLUMN compute_provider text NOT NULL DEFAULT '',
     ADD COLUMN in_flight boolean NOT NULL DEFAULT false,
     ADD COLUMN resync_at timestamptz`,
  `UPDATE tenant_work w SET
     compute_provider = t.compute_provider,
     in_flight = EXISTS (SELECT 1 FROM operations o WHERE o.tenant_id = w.tenant_id AND o.finished_at IS NULL),
     resync_at = CASE WHEN w.next_reconcile_at IS NULL AND t.status IN ('ready','archived','failed') THEN now() END
   FROM tenants t WHERE t.id = w.tenant_id`,

  // Who may start: one queue for each lane, provider and owner.
  `CREATE INDEX tenant_work_startable ON tenant_work (lane, compute_provider, owner, next_reconcile_at)
     WHERE next_reconcile_at IS NOT NULL AND NOT in_flight`,
  `CREATE INDEX tenant_work_going ON tenant_work (lane, next_reconcile_at) WHERE next_reconcile_at IS NOT NULL AND in_flight`,
  `CREATE INDEX tenant_work_busy ON tenant_work (compute_provider, owner, lane) WHERE in_flight OR lease_owner IS NOT NULL`,
  `CREATE INDEX tenant_work_resync ON tenant_work (resync_at) WHERE resync_at IS NOT NULL`,
  // Rows that the release before wrote: they are filled in by the collection of garbage.
  `CREATE INDEX tenant_work_unfilled ON tenant_work (tenant_id) WHERE compute_provider = ''`,
  `DROP INDEX tenant_work_due`,

  // Tokens of the compute providers whose starts are limited by rate.
  `CREATE TABLE start_rates (
     compute_provider text PRIMARY KEY,
     tokens double precision NOT NULL,
     refilled_at timestamptz NOT NULL DEFAULT now()
   )`,

  `CREATE TABLE chores (
     name text PRIMARY KEY,
     next_run_at timestamptz NOT NULL DEFAULT now(),
     requested_at timestamptz,
     taken_at timestamptz,
     options jsonb NOT NULL DEFAULT '{}',
     finished_at timestamptz,
     report jsonb
   )`,

  `CREATE TABLE orphans (
     compute_provider text NOT NULL,
     scope text NOT NULL,
     tenant_id uuid NOT NULL,
     generation bigint,
     resource_ids jsonb NOT NULL,
     first_seen_at timestamptz NOT NULL DEFAULT now(),
     last_seen_at timestamptz NOT NULL DEFAULT now(),
     PRIMARY KEY (compute_provider, scope, tenant_id)
   )`,
  `CREATE INDEX orphans_by_age ON orphans (first_seen_at)`,
];
