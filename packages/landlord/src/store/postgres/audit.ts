/** The audit log. */
import { sql, type Kysely } from "kysely";
import type { JsonObject } from "../../domain/json.ts";
import type { Role } from "../../domain/principal.ts";
import type { AccessStore, AuditOutcome } from "../access-store.ts";
import { guarded, type Database } from "./database.ts";

interface AuditRow {
  id: number;
  at: Date;
  actor: string;
  role: Role | null;
  action: string;
  outcome: AuditOutcome;
  status: number;
  code: string | null;
  tenant: string | null;
  request_id: string;
  remote_address: string | null;
  detail: JsonObject;
}

const COLLECT_BATCH = 5_000;

export function createAuditStore(
  db: Kysely<Database>,
): Pick<AccessStore, "appendAudit" | "listAudit" | "collectAudit"> {
  return {
    appendAudit: ({ entries }) =>
      guarded(async () => {
        const rows = entries.map((entry) => ({
          at: entry.at.toISOString(),
          actor: entry.actor,
          role: entry.role,
          action: entry.action,
          outcome: entry.outcome,
          status: entry.status,
          code: entry.code,
          tenant: entry.tenant,
          request_id: entry.requestId,
          remote_address: entry.remoteAddress,
          detail: entry.detail,
        }));
        await sql`
          INSERT INTO audit (at, actor, role, action, outcome, status, code, tenant, request_id, remote_address, detail)
          SELECT * FROM jsonb_to_recordset(${JSON.stringify(rows)}::jsonb)
            AS r(at timestamptz, actor text, role text, action text, outcome text, status integer, code text,
              tenant text, request_id text, remote_address text, detail jsonb)`.execute(db);
      }),
    listAudit: (filter) =>
      guarded(async () => {
        const conditions = [
          filter.actor === null ? null : sql`actor = ${filter.actor}`,
          filter.action === null ? null : sql`action = ${filter.action}`,
          filter.outcome === null ? null : sql`outcome = ${filter.outcome}`,
          filter.tenant === null ? null : sql`tenant = ${filter.tenant}`,
          filter.since === null ? null : sql`at >= ${filter.since}`,
          filter.until === null ? null : sql`at < ${filter.until}`,
          filter.beforeId === null ? null : sql`id < ${filter.beforeId}`,
        ].filter((condition) => condition !== null);
        const where = conditions.length === 0 ? sql`` : sql`WHERE ${sql.join(conditions, sql` AND `)}`;
        const result = await sql<AuditRow>`
          SELECT * FROM audit ${where} ORDER BY id DESC LIMIT ${filter.limit}`.execute(db);
        return result.rows.map((row) => ({
          id: row.id,
          at: row.at,
          actor: row.actor,
          role: row.role,
          action: row.action,
          outcome: row.outcome,
          status: row.status,
          code: row.code,
          tenant: row.tenant,
          requestId: row.request_id,
          remoteAddress: row.remote_address,
          detail: row.detail,
        }));
      }),
    collectAudit: ({ retentionMs }) =>
      guarded(async () => {
        const result = await sql`
          DELETE FROM audit WHERE id IN (
            SELECT id FROM audit WHERE at < now() - ${retentionMs} * interval '1 millisecond' LIMIT ${COLLECT_BATCH})`.execute(
          db,
        );
        return Number(result.numAffectedRows ?? 0);
      }),
  };
}
