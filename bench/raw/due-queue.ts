/**
 * The raw limit of a due queue: a narrow table with the two indexes that it needs, claims and releases written by hand, over
 * bare pg. A claim takes due rows, leases them, and reads the tenant of each; a release gives a batch back behind its fence.
 */
import pg from "pg";

export interface RawClaim {
  readonly tenant_id: string;
  readonly lease_token: string;
  readonly wake_seq: string;
  /** And the whole row of the tenant. */
  readonly [column: string]: unknown;
}

export interface RawQueue {
  /** Takes in tenants that it does not know yet, settled. */
  fill(): Promise<void>;
  /** Makes so many of them due, or a look at so many, chosen at random. */
  makeDue(count: number): Promise<void>;
  makeLooksDue(count: number): Promise<void>;
  claimDue(limit: number): Promise<readonly RawClaim[]>;
  claimLooks(limit: number): Promise<readonly RawClaim[]>;
  release(claims: readonly RawClaim[], nextLookMs: number): Promise<void>;
  close(): Promise<void>;
}

const LEASE_MS = 30_000;

const CREATE = `
  CREATE TABLE IF NOT EXISTS raw_work (
    tenant_id uuid PRIMARY KEY,
    next_reconcile_at timestamptz,
    resync_at timestamptz,
    lease_until timestamptz,
    lease_owner text,
    lease_token bigint NOT NULL DEFAULT 0,
    wake_seq bigint NOT NULL DEFAULT 0
  ) WITH (fillfactor = 70);
  CREATE INDEX IF NOT EXISTS raw_work_due ON raw_work (next_reconcile_at) WHERE next_reconcile_at IS NOT NULL;
  CREATE INDEX IF NOT EXISTS raw_work_looks ON raw_work (resync_at) WHERE resync_at IS NOT NULL`;

const FILL = "INSERT INTO raw_work (tenant_id) SELECT id FROM tenants ON CONFLICT DO NOTHING";

const claimOf = (due: string): string => `
  WITH due AS MATERIALIZED (
    SELECT tenant_id FROM raw_work WHERE ${due} LIMIT $1 FOR UPDATE SKIP LOCKED
  ), claimed AS (
    UPDATE raw_work w SET lease_owner = $2, lease_until = now() + $3 * interval '1 millisecond',
      lease_token = w.lease_token + 1
    FROM due WHERE w.tenant_id = due.tenant_id
    RETURNING w.tenant_id, w.lease_token, w.wake_seq
  )
  SELECT c.tenant_id, c.lease_token, c.wake_seq, t.*
  FROM claimed c JOIN tenants t ON t.id = c.tenant_id`;

const CLAIM_DUE = claimOf(
  "next_reconcile_at <= now() AND (lease_until IS NULL OR lease_until <= now()) ORDER BY next_reconcile_at",
);
const CLAIM_LOOKS = claimOf(
  "resync_at <= now() AND next_reconcile_at IS NULL AND (lease_until IS NULL OR lease_until <= now()) ORDER BY resync_at",
);

const RELEASE = `
  UPDATE raw_work w SET lease_owner = NULL, lease_until = NULL,
    next_reconcile_at = CASE WHEN w.wake_seq = c.wake_seq THEN NULL ELSE now() END,
    resync_at = now() + $4 * interval '1 millisecond'
  FROM unnest($1::uuid[], $2::bigint[], $3::bigint[]) AS c(tenant_id, lease_token, wake_seq)
  WHERE w.tenant_id = c.tenant_id AND w.lease_token = c.lease_token AND w.lease_owner = $5`;

const MAKE_DUE = `
  UPDATE raw_work SET next_reconcile_at = now() - random() * interval '10 seconds', resync_at = NULL
  WHERE tenant_id IN (SELECT tenant_id FROM raw_work ORDER BY random() LIMIT $1)`;
const FORGET_LOOKS = "UPDATE raw_work SET resync_at = NULL WHERE resync_at IS NOT NULL";
const MAKE_LOOKS_DUE = `
  UPDATE raw_work SET resync_at = now() - random() * interval '10 seconds'
  WHERE tenant_id IN (SELECT tenant_id FROM raw_work ORDER BY random() LIMIT $1)`;

/** @param url of a database with a table of tenants */
export async function openRawQueue(url: string): Promise<RawQueue> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(CREATE);
  const { rows } = await client.query<{ owner: string }>("SELECT gen_random_uuid() AS owner");
  const owner = rows[0]?.owner ?? "";
  // Prepared: whoever writes it by hand names the three statements that matter.
  const claim = async (name: string, text: string, limit: number): Promise<readonly RawClaim[]> =>
    (await client.query<RawClaim>({ name, text, values: [limit, owner, LEASE_MS] })).rows;
  const tidy = (): Promise<unknown> => client.query("VACUUM (ANALYZE) raw_work");
  return {
    async fill() {
      await client.query(FILL);
      await tidy();
    },
    async makeDue(count) {
      await client.query(MAKE_DUE, [count]);
      await tidy();
    },
    async makeLooksDue(count) {
      await client.query(FORGET_LOOKS);
      await client.query(MAKE_LOOKS_DUE, [count]);
      await tidy();
    },
    claimDue: (limit) => claim("claim_due", CLAIM_DUE, limit),
    claimLooks: (limit) => claim("claim_looks", CLAIM_LOOKS, limit),
    async release(claims, nextLookMs) {
      const values = [
        claims.map((each) => each.tenant_id),
        claims.map((each) => each.lease_token),
        claims.map((each) => each.wake_seq),
        nextLookMs,
        owner,
      ];
      const { rowCount } = await client.query({ name: "release", text: RELEASE, values });
      if (rowCount !== claims.length) throw new Error(`${rowCount} of ${claims.length} claims were released`);
    },
    close: () => client.end(),
  };
}
