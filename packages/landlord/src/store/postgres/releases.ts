/**
 * Commits that give a lease back and change nothing else: what every look ends with that finds compute as it should be.
 * They are most of what an idle fleet does, so they have a statement of their own that touches the queue alone.
 */
import { sql, type Kysely } from "kysely";
import type { Commit, CommitOutcome } from "../store.ts";
import { compiledOnce } from "./compiled.ts";
import type { Database } from "./database.ts";

type Release = Commit & { readonly release: NonNullable<Commit["release"]> };

export function isRelease(commit: Commit): commit is Release {
  return (
    commit.release !== null &&
    commit.tenant === null &&
    commit.newOperation === null &&
    commit.operationUpdate === null &&
    commit.transition === null &&
    commit.remove === null &&
    commit.restart === null &&
    !commit.generationRaised
  );
}

/** What the statements of commits answer of each that was still held. */
export interface OutcomeRow {
  readonly tenant_id: string;
  readonly lease_token: number;
  readonly is_current: boolean;
}

/** In the order of the commits. */
export function outcomesOf(
  commits: readonly Commit[],
  rows: readonly OutcomeRow[],
): readonly CommitOutcome[] {
  const found = new Map(rows.map((row) => [`${row.tenant_id}/${row.lease_token}`, row.is_current]));
  return commits.map(({ tenantId, leaseToken }) => {
    const isCurrent = found.get(`${tenantId}/${leaseToken}`);
    if (isCurrent === undefined) return "lost";
    return isCurrent ? "committed" : "outdated";
  });
}

/**
 * Means for these what a commit means for all. `held` locks the work rows that are still ours, in id order. A client's
 * write raises the tenant's revision and `wake_seq` in one transaction, so where `wake_seq` is as it was claimed, the
 * snapshot's revision is the newest; where it moved, the tenant itself is locked to find out who moved it.
 */
export async function releaseAll(
  db: Kysely<Database>,
  releases: readonly Release[],
): Promise<readonly CommitOutcome[]> {
  if (releases.length === 0) return [];
  return outcomesOf(releases, (await giveBack(db, releases)).rows);
}

const giveBack = compiledOnce<readonly Release[], OutcomeRow>(
  (value) => sql`
    WITH input AS MATERIALIZED (
      SELECT * FROM unnest(
        ${value((releases) => arrayOf(releases.map(({ tenantId }) => tenantId)))}::uuid[],
        ${value((releases) => releases.map(({ leaseOwner }) => leaseOwner))}::text[],
        ${value((releases) => arrayOf(releases.map(({ leaseToken }) => leaseToken)))}::bigint[],
        ${value((releases) => arrayOf(releases.map(({ wakeSeq }) => wakeSeq)))}::bigint[],
        ${value((releases) => arrayOf(releases.map(({ revision }) => revision)))}::bigint[],
        ${value((releases) => arrayOf(releases.map(({ release }) => release.dueInMs)))}::float8[],
        ${value((releases) => arrayOf(releases.map(({ release }) => release.resyncInMs)))}::float8[],
        ${value((releases) => arrayOf(releases.map(({ release }) => release.keepsEarlierLook ?? false)))}::boolean[]
      ) AS i(tenant_id, lease_owner, lease_token, wake_seq, revision, due_in_ms, resync_in_ms, keeps_look)
    ), held AS MATERIALIZED (
      SELECT w.tenant_id, w.wake_seq AS wake_seq_now, i.lease_token, i.wake_seq, i.revision, i.due_in_ms, i.resync_in_ms, i.keeps_look
      FROM input i JOIN tenant_work w ON w.tenant_id = i.tenant_id
      WHERE w.lease_token = i.lease_token AND w.lease_holder = i.lease_owner
      ORDER BY w.tenant_id FOR UPDATE OF w
    ), moved AS MATERIALIZED (
      SELECT t.id FROM tenants t JOIN held h ON t.id = h.tenant_id
      WHERE h.wake_seq_now <> h.wake_seq AND t.revision = h.revision
      ORDER BY t.id FOR UPDATE OF t
    )
    UPDATE tenant_work w SET
      lease_holder = NULL,
      lease_until = NULL,
      next_reconcile_at = CASE
        WHEN t.id IS NULL OR i.wake_seq_now <> i.wake_seq THEN now()
        ELSE now() + i.due_in_ms * interval '1 millisecond' END,
      resync_at = CASE
        WHEN t.id IS NULL OR (i.keeps_look AND w.resync_at <= now() + i.resync_in_ms * interval '1 millisecond')
          THEN w.resync_at
        ELSE now() + i.resync_in_ms * interval '1 millisecond' END
    FROM held i LEFT JOIN tenants t ON t.id = i.tenant_id AND t.revision = i.revision
      AND (i.wake_seq_now = i.wake_seq OR EXISTS (SELECT FROM moved m WHERE m.id = t.id))
    WHERE w.tenant_id = i.tenant_id
    RETURNING w.tenant_id, w.lease_token, t.id IS NOT NULL AS is_current`,
);

/** Of what needs no quotes, as PostgreSQL reads it; the driver would look for quotes in every element. */
function arrayOf(values: readonly (number | boolean | string | null)[]): string {
  return `{${values.map((value) => value ?? "NULL").join(",")}}`;
}
