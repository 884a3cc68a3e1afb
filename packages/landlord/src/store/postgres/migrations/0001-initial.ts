import { sql, type Kysely, type Migration } from "kysely";

/** Everything of the first release. */
export const initial: Migration = {
  async up(db: Kysely<never>): Promise<void> {
    for (const statement of STATEMENTS) await sql.raw(statement).execute(db);
  },
};

const STATEMENTS: readonly string[] = [
  `CREATE TABLE instance (
     id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
     only_row boolean NOT NULL DEFAULT true UNIQUE CHECK (only_row),
     created_at timestamptz NOT NULL DEFAULT now()
   )`,
  `INSERT INTO instance DEFAULT VALUES`,

  `CREATE TABLE tenants (
     id uuid PRIMARY KEY,
     name text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9-]{1,255}$'),
     status text NOT NULL CHECK (status IN
       ('requested','provisioning','ready','updating','archiving','archived','deleting','failed')),
     status_message text NOT NULL,
     intent text NOT NULL CHECK (intent IN ('present','archived','deleted')),
     compute_provider text NOT NULL,
     desired_config jsonb NOT NULL,
     config_hash text NOT NULL,
     generation bigint NOT NULL CHECK (generation >= 1),
     generation_at timestamptz NOT NULL DEFAULT now(),
     observed_generation bigint NOT NULL CHECK (observed_generation <= generation),
     observed_config jsonb,
     observed_resource_ids jsonb NOT NULL,
     endpoints jsonb NOT NULL,
     health text NOT NULL,
     scopes jsonb NOT NULL,
     paused boolean NOT NULL,
     attempts integer NOT NULL,
     next_attempt_at timestamptz,
     last_error jsonb,
     workflow_execution_id text,
     workflow_sub_state text,
     workflow_retry_count integer,
     conditions jsonb NOT NULL,
     labels jsonb NOT NULL,
     annotations jsonb NOT NULL,
     version bigint NOT NULL,
     revision bigint NOT NULL,
     created_at timestamptz NOT NULL DEFAULT now(),
     updated_at timestamptz NOT NULL DEFAULT now()
   )`,
  // Status filters and the stable order of list pages.
  `CREATE INDEX tenants_by_status ON tenants (status, created_at, id)`,
  `CREATE INDEX tenants_by_age ON tenants (created_at, id)`,

  `CREATE TABLE generations (
     tenant_id uuid NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
     generation bigint NOT NULL,
     intent text NOT NULL,
     compute_provider text NOT NULL,
     desired_config jsonb NOT NULL,
     config_hash text NOT NULL,
     actor text NOT NULL,
     request_id text,
     created_at timestamptz NOT NULL DEFAULT now(),
     PRIMARY KEY (tenant_id, generation)
   )`,

  // No foreign keys to tenants: the ledger and the history survive them.
  `CREATE TABLE operations (
     id uuid PRIMARY KEY,
     tenant_id uuid NOT NULL,
     tenant_name text NOT NULL,
     kind text NOT NULL CHECK (kind IN ('create','update','delete')),
     generation bigint NOT NULL,
     config_hash text NOT NULL,
     execution_id text NOT NULL UNIQUE,
     execution_handle text,
     workflow_provider text NOT NULL,
     workflow_name text NOT NULL,
     request jsonb,
     start_before timestamptz NOT NULL,
     invoked_at timestamptz,
     stop_phase text,
     stop_requested_at timestamptz,
     stop_reason text,
     sub_state text,
     retry_count integer NOT NULL DEFAULT 0,
     outcome text,
     error jsonb,
     created_at timestamptz NOT NULL DEFAULT now(),
     finished_at timestamptz
   )`,
  `CREATE UNIQUE INDEX operations_one_unfinished ON operations (tenant_id) WHERE finished_at IS NULL`,
  `CREATE INDEX operations_by_tenant ON operations (tenant_id, created_at DESC)`,
  `CREATE INDEX operations_by_name ON operations (tenant_name, created_at DESC)`,
  `CREATE INDEX operations_by_end ON operations (finished_at) WHERE finished_at IS NOT NULL`,

  `CREATE TABLE operation_events (
     id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
     operation_id uuid NOT NULL REFERENCES operations (id) ON DELETE CASCADE,
     phase text NOT NULL,
     message text NOT NULL,
     at timestamptz NOT NULL DEFAULT now()
   )`,
  `CREATE INDEX operation_events_by_operation ON operation_events (operation_id, id)`,

  `CREATE TABLE transitions (
     id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
     position bigint UNIQUE,
     tenant_id uuid NOT NULL,
     tenant_name text NOT NULL,
     from_status text,
     to_status text,
     reason text NOT NULL,
     message text NOT NULL,
     generation bigint NOT NULL,
     actor text NOT NULL,
     request_id text,
     operation_id uuid,
     at timestamptz NOT NULL DEFAULT now()
   )`,
  `CREATE INDEX transitions_by_tenant ON transitions (tenant_id, id DESC)`,
  `CREATE INDEX transitions_by_name ON transitions (tenant_name, id DESC)`,
  `CREATE INDEX transitions_unsequenced ON transitions (id) WHERE position IS NULL`,
  `CREATE INDEX transitions_by_time ON transitions (at)`,

  // Narrow and hot: due time and lease are separate columns, so that a writer never touches a lease.
  `CREATE TABLE tenant_work (
     tenant_id uuid PRIMARY KEY,
     owner text NOT NULL DEFAULT '',
     lane smallint NOT NULL DEFAULT 0 CHECK (lane BETWEEN 0 AND 2),
     next_reconcile_at timestamptz,
     lease_until timestamptz,
     lease_owner text,
     lease_token bigint NOT NULL DEFAULT 0,
     wake_seq bigint NOT NULL DEFAULT 0,
     failures integer NOT NULL DEFAULT 0
   ) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02)`,
  `CREATE INDEX tenant_work_due ON tenant_work (lane, next_reconcile_at) WHERE next_reconcile_at IS NOT NULL`,

  `CREATE TABLE tombstones (
     tenant_id uuid PRIMARY KEY,
     name text NOT NULL,
     generation bigint NOT NULL,
     compute_provider text NOT NULL,
     scopes jsonb NOT NULL,
     created_at timestamptz NOT NULL DEFAULT now(),
     expires_at timestamptz NOT NULL
   )`,
  `CREATE INDEX tombstones_by_expiry ON tombstones (expires_at)`,

  `CREATE TABLE breakers (
     key text PRIMARY KEY,
     state text NOT NULL CHECK (state IN ('closed','open')),
     failures integer NOT NULL DEFAULT 0,
     opened_at timestamptz,
     next_probe_at timestamptz,
     last_error text,
     updated_at timestamptz NOT NULL DEFAULT now()
   )`,

  `CREATE TABLE idempotency_keys (
     key text PRIMARY KEY,
     request_hash text NOT NULL,
     tenant jsonb NOT NULL,
     created_at timestamptz NOT NULL DEFAULT now(),
     expires_at timestamptz NOT NULL
   )`,
  `CREATE INDEX idempotency_keys_by_expiry ON idempotency_keys (expires_at)`,
];
