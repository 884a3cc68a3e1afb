/** Looks at the world after a run and says what is lost, doubled, orphaned or stuck, each by name. */
import { readFileSync } from "node:fs";
import type { TenantBody } from "../packages/landlord/src/contract/tenant.ts";
import { livingTenants, type LivingTenant } from "../packages/landlord/test/support/census.ts";
import type { SqlClient } from "../packages/landlord/test/support/sql.ts";
import { desiredOf, problemOf, TAG_VARIABLE, type Expectations } from "./expectation.ts";

export interface Findings {
  readonly lost: readonly string[];
  readonly duplicated: readonly string[];
  readonly orphaned: readonly string[];
  readonly stuck: readonly string[];
}

const PAGE = 500;

/** Every tenant that is left, archived ones too. */
export async function listTenants(apiUrl: string): Promise<readonly TenantBody[]> {
  const tenants: TenantBody[] = [];
  for (;;) {
    const answer = await fetch(
      `${apiUrl}/v1/tenants?include_deleted=true&limit=${PAGE}&offset=${tenants.length}`,
    );
    const page = (await answer.json()) as { readonly tenants: readonly TenantBody[] };
    tenants.push(...page.tenants);
    if (page.tenants.length < PAGE) return tenants;
  }
}

/** A tenant that nothing moves any more; a failed one is not where its users want it. */
export function isSettled(tenant: TenantBody): boolean {
  const isEnd = tenant.status === "ready" || tenant.status === "archived";
  return isEnd && tenant.observed_generation === tenant.generation;
}

/** Tenants against what their users were answered. */
export function findLost(expectations: Expectations, tenants: readonly TenantBody[]): readonly string[] {
  const found = new Map(tenants.map((tenant) => [tenant.id, tenant]));
  const known = [...expectations.tenants.values()].flatMap(
    (record) => problemOf(record, found.get(record.id) ?? null, expectations.byName(record.name)) ?? [],
  );
  const unknown = tenants
    .filter(({ id }) => !expectations.tenants.has(id))
    .filter(
      (tenant) =>
        !expectations.sentCreates.some(
          ({ name, tag }) => name === tenant.name && tag === desiredOf(tenant).tag,
        ),
    )
    .map(({ id, name }) => `${name} (${id}) is there, and nobody created it`);
  return [...known, ...unknown];
}

/** Processes on this machine against tenants: exactly one set for each that is ready, and it is the right one. */
export function findWrongProcesses(
  tenants: readonly TenantBody[],
  instanceId: string,
): Pick<Findings, "lost" | "duplicated" | "orphaned"> {
  const living = new Map<string, LivingTenant[]>();
  for (const each of livingTenants().filter((one) => one.instanceId === instanceId)) {
    living.set(each.tenantId, [...(living.get(each.tenantId) ?? []), each]);
  }
  const lost: string[] = [];
  const duplicated: string[] = [];
  const orphaned: string[] = [];
  for (const tenant of tenants) {
    const who = `${tenant.name} (${tenant.id}, ${tenant.status}, generation ${tenant.generation})`;
    const own = living.get(tenant.id) ?? [];
    living.delete(tenant.id);
    if (tenant.status === "archived") {
      orphaned.push(...own.map(({ pid }) => `process ${pid} of ${who}`));
      continue;
    }
    const [first, ...others] = own;
    if (first === undefined) {
      lost.push(`${who} has no process`);
      continue;
    }
    duplicated.push(...others.map(({ pid }) => `processes ${first.pid} and ${pid} of ${who}`));
    const tag = tagOf(first.pid);
    const wanted = desiredOf(tenant).tag;
    if (tag !== wanted) lost.push(`${who} runs config ${tag}, and ${wanted} is wanted`);
    if (String(first.pid) !== tenant.observed_resource_ids["pid"]) {
      orphaned.push(`process ${first.pid} of ${who}, which names ${tenant.observed_resource_ids["pid"]}`);
    }
    if (first.generation !== tenant.observed_generation) {
      lost.push(`${who} has a process of generation ${first.generation}`);
    }
  }
  for (const left of [...living.values()].flat()) {
    orphaned.push(`process ${left.pid} of tenant ${left.tenantId}, which is gone`);
  }
  return { lost, duplicated, orphaned };
}

function tagOf(pid: number): string {
  const environment = readFileSync(`/proc/${pid}/environ`, "latin1");
  return new RegExp(`(?:^|\0)${TAG_VARIABLE}=([^\0]*)`).exec(environment)?.[1] ?? "";
}

/** Each row of an answer is one problem, in words. */
const RECORD_CHECKS: readonly (readonly [keyof Findings, string])[] = [
  [
    "lost",
    `SELECT format('history of %s: transition %s goes from %s, and the one before went to %s', tenant_id, id, from_status, before)
     FROM (SELECT *, lag(to_status) OVER w AS before, row_number() OVER w AS place
           FROM transitions WINDOW w AS (PARTITION BY tenant_id ORDER BY id)) t
     WHERE from_status IS DISTINCT FROM before AND NOT (place = 1 AND from_status IS NULL)`,
  ],
  [
    "lost",
    `SELECT format('history of %s: generation %s follows %s', tenant_id, generation, before)
     FROM (SELECT *, lag(generation) OVER (PARTITION BY tenant_id ORDER BY id) AS before FROM transitions) t
     WHERE generation < before`,
  ],
  [
    "lost",
    `SELECT format('history of %s ends with %s at generation %s, and the tenant is %s at %s', t.id, h.to_status, h.generation, t.status, t.generation)
     FROM tenants t LEFT JOIN LATERAL (
       SELECT to_status, generation FROM transitions WHERE tenant_id = t.id ORDER BY id DESC LIMIT 1) h ON true
     WHERE h.to_status IS DISTINCT FROM t.status OR h.generation IS DISTINCT FROM t.generation`,
  ],
  [
    "lost",
    `SELECT format('history of %s ends with %s, and the tenant is gone', tenant_id, to_status)
     FROM (SELECT DISTINCT ON (tenant_id) tenant_id, to_status FROM transitions ORDER BY tenant_id, id DESC) h
     WHERE to_status IS NOT NULL AND NOT EXISTS (SELECT 1 FROM tenants WHERE id = h.tenant_id)`,
  ],
  [
    "lost",
    `SELECT format('positions of the history: %s after %s', position, before)
     FROM (SELECT position, lag(position, 1, 0::bigint) OVER (ORDER BY position) AS before FROM transitions) p
     WHERE position IS DISTINCT FROM before + 1`,
  ],
  [
    "lost",
    `SELECT format('history of %s: position %s comes after %s, and its transition before', tenant_id, position, before)
     FROM (SELECT *, lag(position) OVER (PARTITION BY tenant_id ORDER BY id) AS before FROM transitions) p
     WHERE position < before`,
  ],
  [
    "lost",
    `SELECT format('ledger: %s is ready at generation %s, and its last success is of %s', t.id, t.generation, o.generation)
     FROM tenants t LEFT JOIN LATERAL (
       SELECT * FROM operations WHERE tenant_id = t.id AND outcome = 'succeeded' ORDER BY created_at DESC LIMIT 1) o ON true
     WHERE t.status = 'ready' AND (o.generation IS DISTINCT FROM t.generation OR o.config_hash IS DISTINCT FROM t.config_hash
                                   OR o.kind = 'delete')`,
  ],
  [
    "duplicated",
    // A repair brings a tenant to the same generation again; nothing else does.
    `SELECT format('%s reached generation %s %s times after %s repairs', tenant_id, generation, reached, repairs)
     FROM (SELECT tenant_id, generation, count(*) FILTER (WHERE to_status IN ('ready', 'archived')) AS reached,
                  count(*) FILTER (WHERE from_status IN ('ready', 'archived') AND (reason LIKE 'drift%' OR reason = 'compute_reappeared')) AS repairs
           FROM transitions WHERE from_status <> to_status GROUP BY tenant_id, generation) g
     WHERE reached > repairs + 1`,
  ],
  [
    "duplicated",
    `SELECT format('operations %s and %s of %s overlap', id, next, tenant_id)
     FROM (SELECT *, lead(id) OVER w AS next, lead(created_at) OVER w AS next_at
           FROM operations WINDOW w AS (PARTITION BY tenant_id ORDER BY created_at, finished_at)) o
     WHERE next_at < coalesce(finished_at, 'infinity')`,
  ],
  [
    "orphaned",
    `SELECT format('work row of %s', tenant_id) FROM tenant_work w WHERE NOT EXISTS (SELECT 1 FROM tenants WHERE id = w.tenant_id)`,
  ],
  [
    "lost",
    `SELECT format('%s has no work row', id) FROM tenants t WHERE NOT EXISTS (SELECT 1 FROM tenant_work WHERE tenant_id = t.id)`,
  ],
  [
    "lost",
    `SELECT format('%s is gone and has no tombstone', tenant_id)
     FROM (SELECT tenant_id FROM transitions WHERE to_status IS NULL) h
     WHERE NOT EXISTS (SELECT 1 FROM tombstones WHERE tenant_id = h.tenant_id)`,
  ],
  [
    "stuck",
    `SELECT format('operation %s of %s (%s, generation %s) never finished', id, tenant_id, kind, generation)
     FROM operations WHERE finished_at IS NULL`,
  ],
];

/** History, ledger, queue and tombstones against each other. */
export async function findWrongRecords(sql: SqlClient): Promise<Findings> {
  const findings: Record<keyof Findings, string[]> = { lost: [], duplicated: [], orphaned: [], stuck: [] };
  for (const [kind, text] of RECORD_CHECKS) {
    const rows = await sql.query<{ format: string }>(text);
    findings[kind].push(...rows.map(({ format }) => format));
  }
  return findings;
}

/** Executions that the engine still runs although nobody waits for them. */
export async function findRunningExecutions(adminUrl: string, namespace: string): Promise<readonly string[]> {
  const answer = await fetch(`${adminUrl}/query`, {
    method: "POST",
    headers: { "content-type": "application/json", accept: "application/json" },
    body: JSON.stringify({
      query: `SELECT target, status FROM sys_invocation WHERE target LIKE '${namespace}_%' AND status <> 'completed'`,
    }),
  });
  const { rows } = (await answer.json()) as { readonly rows: readonly { target: string; status: string }[] };
  return rows.map(({ target, status }) => `execution ${target} is ${status}`);
}

/** Why tenants did not settle, for people. */
export async function explainUnsettled(sql: SqlClient): Promise<readonly string[]> {
  const rows = await sql.query<{ format: string }>(`
    SELECT format('%s (%s): %s, generation %s of %s, attempts %s, last error %s; operation %s %s stop %s handle %s; due %s, lease until %s',
      t.name, t.id, t.status, t.observed_generation, t.generation, t.attempts, t.last_error, o.kind, o.id, o.stop_phase, o.execution_handle,
      w.next_reconcile_at, w.lease_until)
    FROM tenants t LEFT JOIN tenant_work w ON w.tenant_id = t.id
    LEFT JOIN operations o ON o.tenant_id = t.id AND o.finished_at IS NULL
    WHERE t.status NOT IN ('ready', 'archived') OR t.observed_generation <> t.generation`);
  return rows.map(({ format }) => format);
}
