/** Who is worked on next: due tenants under fair limits, and settled ones whose turn it is to be looked at. */
import { sql, type Kysely, type RawBuilder } from "kysely";
import { LANE_NAMES, LANES, type Lane } from "../../domain/tenant.ts";
import type { Claim, StartLimits, WorkStore } from "../store.ts";
import { compiledOnce, type Value } from "./compiled.ts";
import type { Database } from "./database.ts";
import { toDate, toOperation, toStoredTenant, type OperationRow, type TenantRow } from "./rows.ts";

/** Queues of one lane that a claim looks into; a queue is an owner's tenants of one compute provider. */
const QUEUES_LIMIT = 500;
/** Of all that may be in flight, lanes other than interactive use at most this share. */
const SHARE_OF_OTHER_LANES = 0.8;
/** Servers that claim at once choose alike; whoever comes second takes the next ones. */
const CHOICE_FACTOR = 2;
const RESYNC_CHORE = "resync";
const UNLIMITED = 1_000_000;

interface ClaimRow {
  tenant_id: string;
  lease_owner: string;
  lease_token: number;
  wake_seq: number;
  lane: number;
  now: Date;
  tenant: TenantRow;
  operation: OperationRow | null;
}

type ClaimDue = Parameters<WorkStore["claimDue"]>[0];
type ClaimResync = Parameters<WorkStore["claimResync"]>[0];

const isFree = sql`(lease_until IS NULL OR lease_until <= now())`;
const isStartable = sql`next_reconcile_at IS NOT NULL AND NOT in_flight`;
const inQueue = sql`lane = q.lane AND compute_provider = q.compute_provider AND owner = q.owner AND ${isStartable}`;

/**
 * Takes due tenants, lane by lane, and reads their facts in the same statement. In each lane those with an unfinished
 * operation come first: they free what the others wait for. The others are taken in turns of their owners, where an
 * owner's operations in flight count as turns that it has had.
 *
 * The facts may be older than the lock (they come from the statement's snapshot); the commit's check of `revision`
 * finds that out.
 */
export async function claimDue(db: Kysely<Database>, params: ClaimDue): Promise<readonly Claim[]> {
  const limited = rateLimits(params.starts);
  // A row for each limited provider has to be there before it can be locked.
  if (limited.length > 0) await ensureRates(db, limited);
  const { rows } = await dueClaim(db, params);
  return rows.map(toClaim);
}

const dueClaim = compiledOnce<ClaimDue, ClaimRow>(
  (value) => sql`
    WITH RECURSIVE ${sql.join(LANE_NAMES.map(queuesOf))},
    ${fairChoice(value)},
    ${sql.join(LANE_NAMES.map((name) => claimLane(name, value)))},
    spent AS (
      UPDATE start_rates r SET
        tokens = least(greatest(1, f.starts_per_second), r.tokens + extract(epoch FROM now() - r.refilled_at) * f.starts_per_second)
                 - (SELECT count(*) FROM tenant_work w WHERE w.compute_provider = r.compute_provider AND w.tenant_id = ANY(ARRAY(${startedIn()}))),
        refilled_at = now()
      FROM free f WHERE f.compute_provider = r.compute_provider AND f.starts_per_second IS NOT NULL
    ), claimed AS (
      UPDATE tenant_work w SET ${leased(value)}
      WHERE w.tenant_id = ANY(ARRAY(${sql.join(
        LANE_NAMES.map(
          (name) =>
            sql`SELECT tenant_id FROM ${sql.ref(`going_${name}`)} UNION ALL SELECT tenant_id FROM ${sql.ref(`started_${name}`)}`,
        ),
        sql` UNION ALL `,
      )}))
      RETURNING w.tenant_id, w.lease_holder AS lease_owner, w.lease_token, w.wake_seq, w.lane
    )
    ${claimedFacts}`,
);

/** Every queue of a lane, without a look at its tenants: each step skips to the next one in the index. */
function queuesOf(name: Lane): RawBuilder<unknown> {
  const lane = sql.lit(LANES[name]);
  const queues = sql.ref(`queues_${name}`);
  return sql`${queues} (compute_provider, owner, place) AS (
      (SELECT compute_provider, owner, 1 FROM tenant_work WHERE lane = ${lane} AND ${isStartable}
       ORDER BY compute_provider, owner LIMIT 1)
      UNION ALL
      SELECT following.compute_provider, following.owner, q.place + 1
      FROM ${queues} q CROSS JOIN LATERAL (
        SELECT w.compute_provider, w.owner FROM tenant_work w
        WHERE lane = ${lane} AND ${isStartable} AND (w.compute_provider, w.owner) > (q.compute_provider, q.owner)
        ORDER BY w.compute_provider, w.owner LIMIT 1) following
      WHERE q.place < ${sql.lit(QUEUES_LIMIT)})`;
}

/** `chosen`: who may start, in order; `place` counts within a lane. */
function fairChoice(value: Value<ClaimDue>): RawBuilder<unknown> {
  const laneLimit = sql`CASE q.lane ${sql.join(
    LANE_NAMES.map(
      (name) =>
        sql`WHEN ${sql.lit(LANES[name])} THEN ${value(({ limits }) => limits[name] * CHOICE_FACTOR)}::int`,
    ),
    sql` `,
  )} END`;
  const limited = value(({ starts }) => rateLimits(starts));
  const byProvider = value(({ starts }) => providerLimits(starts));
  const repairs = value(({ starts }) => starts.repairsInFlight);
  const patienceMs = value(({ starts }) => starts.patienceMs);
  const blocked = value(({ starts }) => [...starts.blockedComputeProviders]);
  const maxInFlight = value(({ starts }) => starts.maxInFlight);
  const maxOfOthers = value(({ starts }) =>
    Math.max(1, Math.floor(starts.maxInFlight * SHARE_OF_OTHER_LANES)),
  );
  return sql`
    queues AS MATERIALIZED (
      SELECT q.*, count(*) OVER (PARTITION BY q.lane) AS queues_in_lane FROM (${sql.join(
        LANE_NAMES.map(
          (name) =>
            sql`SELECT ${sql.lit(LANES[name])} AS lane, compute_provider, owner FROM ${sql.ref(`queues_${name}`)}`,
        ),
        sql` UNION ALL `,
      )}) q
    ), busy AS MATERIALIZED (
      SELECT compute_provider, owner, lane, sum(tenants)::int AS tenants FROM (
        SELECT compute_provider, owner, lane, count(*) AS tenants FROM tenant_work WHERE in_flight
        GROUP BY compute_provider, owner, lane
        UNION ALL
        -- Leased and due: claimed to start something. Claims take a queue from its front, so that is where they stand;
        -- an index of them would make every claim write every index of its rows.
        SELECT q.compute_provider, q.owner, q.lane, l.tenants FROM queues q CROSS JOIN LATERAL (
          SELECT count(*) AS tenants FROM tenant_work
          WHERE ${inQueue} AND lease_until > now() AND next_reconcile_at <= coalesce((
            SELECT next_reconcile_at FROM tenant_work WHERE ${inQueue} AND next_reconcile_at <= now() AND ${isFree}
            ORDER BY next_reconcile_at OFFSET 4 + (${laneLimit}) / q.queues_in_lane LIMIT 1), now())) l
        WHERE l.tenants > 0
      ) b GROUP BY compute_provider, owner, lane
    ), rates AS MATERIALIZED (
      SELECT compute_provider, tokens, refilled_at FROM start_rates
      WHERE compute_provider = ANY(${limited}::text[]) ORDER BY compute_provider FOR UPDATE
    ), free AS MATERIALIZED (
      SELECT p.compute_provider, l.starts_per_second,
        least(
          coalesce(l.max_in_flight, ${sql.lit(UNLIMITED)})
            - coalesce((SELECT sum(tenants) FROM busy b WHERE b.compute_provider = p.compute_provider), 0),
          CASE WHEN l.starts_per_second IS NULL THEN ${sql.lit(UNLIMITED)} ELSE floor(least(
            greatest(1, l.starts_per_second),
            coalesce((SELECT r.tokens + extract(epoch FROM now() - r.refilled_at) * l.starts_per_second
                      FROM rates r WHERE r.compute_provider = p.compute_provider), 0))) END
        ) AS starts,
        ${repairs}::int - coalesce((
          SELECT sum(tenants) FROM busy b
          WHERE b.compute_provider = p.compute_provider AND b.lane = ${sql.lit(LANES.repair)}), 0) AS repairs
      FROM (SELECT DISTINCT compute_provider FROM queues) p
      LEFT JOIN jsonb_to_recordset(${byProvider}::jsonb)
        AS l(compute_provider text, max_in_flight int, starts_per_second float8) USING (compute_provider)
      WHERE NOT p.compute_provider = ANY(${blocked}::text[])
    ), open_queues AS MATERIALIZED (
      SELECT q.lane, q.compute_provider, q.owner, count(*) OVER (PARTITION BY q.lane) AS queues_in_lane
      FROM queues q JOIN free f USING (compute_provider)
      WHERE f.starts > 0 AND (q.lane <> ${sql.lit(LANES.repair)} OR f.repairs > 0)
    ), waiting AS MATERIALIZED (
      SELECT q.lane, q.compute_provider, w.tenant_id, w.next_reconcile_at,
        row_number() OVER (PARTITION BY q.lane, q.owner ORDER BY w.next_reconcile_at)
          + coalesce((SELECT sum(tenants) FROM busy b WHERE b.owner = q.owner), 0) AS turn
      FROM open_queues q CROSS JOIN LATERAL (
        SELECT tenant_id, next_reconcile_at FROM tenant_work
        WHERE ${inQueue} AND next_reconcile_at <= now() AND ${isFree}
        ORDER BY next_reconcile_at
        -- Enough of each queue that a claim is filled, and not every queue whole.
        LIMIT 4 + (${laneLimit}) / q.queues_in_lane) w
    ), overdue AS MATERIALIZED (
      SELECT DISTINCT ON (compute_provider, lane) tenant_id FROM waiting w
      WHERE NOT EXISTS (SELECT FROM busy b WHERE b.compute_provider = w.compute_provider AND b.lane = w.lane)
        AND next_reconcile_at < now() - ${patienceMs} * interval '1 millisecond'
      ORDER BY compute_provider, lane, next_reconcile_at
    ), placed AS (
      SELECT w.lane, w.compute_provider, w.tenant_id, w.next_reconcile_at,
        CASE WHEN o.tenant_id IS NULL THEN w.lane ELSE -1 END AS rank,
        CASE WHEN o.tenant_id IS NULL THEN w.turn ELSE 0 END AS turn
      FROM waiting w LEFT JOIN overdue o USING (tenant_id)
    ), admitted AS (
      SELECT p.*, row_number() OVER (ORDER BY rank, turn, next_reconcile_at) AS place_in_all
      FROM (
        SELECT w.*,
          row_number() OVER (PARTITION BY compute_provider ORDER BY rank, turn, next_reconcile_at) AS place_at_provider,
          row_number() OVER (PARTITION BY compute_provider, lane ORDER BY turn, next_reconcile_at) AS place_of_repair
        FROM placed w) p
      JOIN free f USING (compute_provider)
      WHERE p.place_at_provider <= f.starts AND (p.lane <> ${sql.lit(LANES.repair)} OR p.place_of_repair <= f.repairs)
    ), chosen AS MATERIALIZED (
      SELECT lane, tenant_id, row_number() OVER (PARTITION BY lane ORDER BY turn, next_reconcile_at) AS place
      FROM admitted
      WHERE place_in_all <= CASE WHEN rank <= ${sql.lit(LANES.interactive)} THEN ${maxInFlight}::int ELSE ${maxOfOthers}::int END
                            - coalesce((SELECT sum(tenants) FROM busy), 0)
    )`;
}

/** `going_…` and `started_…`: the locked rows of a lane, together at most `limit`. */
function claimLane(name: Lane, value: Value<ClaimDue>): RawBuilder<unknown> {
  const limit = value(({ limits }) => limits[name]);
  const lane = sql.lit(LANES[name]);
  const going = sql.ref(`going_${name}`);
  const started = sql.ref(`started_${name}`);
  return sql`${going} AS MATERIALIZED (
      SELECT tenant_id FROM tenant_work
      WHERE lane = ${lane} AND in_flight AND next_reconcile_at <= now() AND ${isFree}
      ORDER BY next_reconcile_at LIMIT ${limit} FOR UPDATE SKIP LOCKED
    ), ${started} AS MATERIALIZED (
      SELECT w.tenant_id
      FROM (SELECT tenant_id, place FROM chosen WHERE lane = ${lane} ORDER BY place) c
      JOIN tenant_work w ON w.tenant_id = c.tenant_id
      WHERE w.lane = ${lane} AND ${isStartable} AND next_reconcile_at <= now() AND ${isFree}
      ORDER BY c.place
      LIMIT ${limit} - (SELECT count(*) FROM ${going}) FOR UPDATE OF w SKIP LOCKED
    )`;
}

function startedIn(): RawBuilder<unknown> {
  return sql.join(
    LANE_NAMES.map((name) => sql`SELECT tenant_id FROM ${sql.ref(`started_${name}`)}`),
    sql` UNION ALL `,
  );
}

function leased(value: Value<Pick<ClaimDue, "leaseOwner" | "leaseDurationMs">>): RawBuilder<unknown> {
  return sql`
        lease_holder = ${value(({ leaseOwner }) => leaseOwner)},
        -- Not null only where a server of the release before took the tenant.
        lease_owner = NULL,
        lease_until = now() + ${value(({ leaseDurationMs }) => leaseDurationMs)} * interval '1 millisecond',
        lease_token = w.lease_token + 1`;
}

const claimedFacts = sql`
    SELECT claimed.tenant_id, claimed.lease_owner, claimed.lease_token, claimed.wake_seq, claimed.lane, now() AS now,
           -- Not jsonb, which would be taken apart here and put together again.
           to_json(t) AS tenant, to_json(o) AS operation
    FROM claimed
    JOIN tenants t ON t.id = claimed.tenant_id
    LEFT JOIN operations o ON o.tenant_id = claimed.tenant_id AND o.finished_at IS NULL`;

function toClaim(row: ClaimRow): Claim {
  return {
    tenantId: row.tenant_id,
    leaseOwner: row.lease_owner,
    leaseToken: row.lease_token,
    wakeSeq: row.wake_seq,
    lane: LANE_NAMES[row.lane] ?? "interactive",
    stored: toStoredTenant(row.tenant),
    operation: row.operation === null ? null : toOperation(row.operation),
    request: row.operation === null ? null : row.operation.request,
    now: toDate(row.now),
  };
}

function providerLimits({ byComputeProvider }: StartLimits): string {
  return JSON.stringify(
    Object.entries(byComputeProvider).map(([name, { maxInFlight, startsPerSecond }]) => ({
      compute_provider: name,
      max_in_flight: maxInFlight,
      starts_per_second: startsPerSecond,
    })),
  );
}

function rateLimits(starts: StartLimits): string[] {
  return Object.entries(starts.byComputeProvider)
    .filter(([, { startsPerSecond }]) => startsPerSecond !== null)
    .map(([name]) => name);
}

async function ensureRates(db: Kysely<Database>, names: readonly string[]): Promise<void> {
  await sql`
    INSERT INTO start_rates (compute_provider, tokens)
    SELECT name, 1 FROM unnest(${[...names]}::text[]) AS name
    WHERE NOT EXISTS (SELECT 1 FROM start_rates r WHERE r.compute_provider = name)
    ON CONFLICT DO NOTHING`.execute(db);
}

/** The chore's row is the fleet's metronome: whoever moves it takes the batch, and nobody else before the next beat. */
export async function claimResync(db: Kysely<Database>, params: ClaimResync): Promise<readonly Claim[]> {
  const { rows } = await resyncClaim(db, params);
  return rows.map(toClaim);
}

const resyncClaim = compiledOnce<ClaimResync, ClaimRow>((value) => {
  const every = sql`${value(({ everyMs }) => everyMs)}::float8 * interval '1 millisecond'`;
  return sql`
    WITH beat AS MATERIALIZED (
      INSERT INTO chores (name, next_run_at) VALUES (${RESYNC_CHORE}, now() + ${every})
      ON CONFLICT (name) DO UPDATE SET next_run_at = now() + ${every}
      -- A clock that was set back must not silence the fleet until it has caught up.
      WHERE chores.next_run_at <= now() OR chores.next_run_at > now() + 2 * ${every}
      RETURNING name
    ), due AS MATERIALIZED (
      SELECT tenant_id FROM tenant_work
      WHERE EXISTS (SELECT 1 FROM beat) AND resync_at <= now() AND next_reconcile_at IS NULL AND ${isFree}
      ORDER BY resync_at LIMIT ${value(({ limit }) => limit)} FOR UPDATE SKIP LOCKED
    ), claimed AS (
      UPDATE tenant_work w SET ${leased(value)}
      WHERE w.tenant_id = ANY(ARRAY(SELECT tenant_id FROM due))
      RETURNING w.tenant_id, w.lease_holder AS lease_owner, w.lease_token, w.wake_seq, w.lane
    )
    ${claimedFacts}`;
});

/** Only for who is looked at now and then anyway: others are being worked on. */
export async function requestResync(db: Kysely<Database>, tenantIds: readonly string[]): Promise<void> {
  await sql`
    UPDATE tenant_work SET resync_at = least(resync_at, now())
    WHERE tenant_id IN (
      SELECT tenant_id FROM tenant_work WHERE tenant_id = ANY(${[...tenantIds]}::uuid[]) AND resync_at IS NOT NULL
      ORDER BY tenant_id FOR UPDATE)`.execute(db);
}
