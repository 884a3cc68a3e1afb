import { sql, type Kysely, type Migration } from "kysely";

/** What selection by labels, events, pauses, tokens, the audit log and workers need. The release before runs on it. */
export const accessEventsWorkers: Migration = {
  async up(db: Kysely<never>): Promise<void> {
    for (const statement of STATEMENTS) await sql.raw(statement).execute(db);
  },
};

const STATEMENTS: readonly string[] = [
  `ALTER TABLE tenants ADD COLUMN paused_by text`,
  `CREATE INDEX tenants_by_labels ON tenants USING gin (labels jsonb_path_ops)`,
  `CREATE INDEX tenants_by_name_prefix ON tenants (name text_pattern_ops)`,

  // As they were with the transition: who may see it is decided by them, also after the tenant is gone.
  `ALTER TABLE transitions ADD COLUMN labels jsonb NOT NULL DEFAULT '{}'`,
  `UPDATE transitions x SET labels = t.labels FROM tenants t WHERE t.id = x.tenant_id`,

  // A secret is kept as its SHA-256 only: keys are random, so a fast hash is as good as a slow one.
  `CREATE TABLE tokens (
     id uuid PRIMARY KEY,
     name text NOT NULL UNIQUE,
     role text NOT NULL CHECK (role IN ('viewer','operator','admin','worker')),
     scope text,
     secret_hash bytea NOT NULL UNIQUE,
     -- After a rotation the secret before is good until then.
     previous_secret_hash bytea UNIQUE,
     previous_expires_at timestamptz,
     created_by text NOT NULL,
     created_at timestamptz NOT NULL DEFAULT now(),
     expires_at timestamptz,
     last_used_at timestamptz
   )`,

  `CREATE TABLE audit (
     id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
     at timestamptz NOT NULL DEFAULT now(),
     actor text NOT NULL,
     role text,
     action text NOT NULL,
     outcome text NOT NULL CHECK (outcome IN ('allowed','denied','failed')),
     status integer NOT NULL,
     code text,
     tenant text,
     request_id text NOT NULL,
     remote_address text,
     detail jsonb NOT NULL DEFAULT '{}'
   )`,
  `CREATE INDEX audit_by_time ON audit (at)`,
  `CREATE INDEX audit_by_actor ON audit (actor, id DESC)`,
  `CREATE INDEX audit_by_tenant ON audit (tenant, id DESC)`,

  `CREATE TABLE workers (
     id text PRIMARY KEY,
     engine text NOT NULL,
     workflows jsonb NOT NULL,
     compute_providers jsonb NOT NULL,
     scopes jsonb NOT NULL,
     version text NOT NULL,
     started_at timestamptz NOT NULL,
     registered_at timestamptz,
     last_error text,
     last_seen_at timestamptz NOT NULL DEFAULT now()
   )`,
  `CREATE INDEX workers_by_age ON workers (last_seen_at)`,
];
