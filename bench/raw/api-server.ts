/**
 * The raw limit of the API: bare Fastify and bare pg with prepared statements written by hand, that read and write the
 * same rows and answer the same JSON. It shares nothing with Landlord, checks nothing, and keeps nobody out.
 */
import { createHash, randomUUID } from "node:crypto";
import type { AddressInfo } from "node:net";
import Fastify from "fastify";
import pg from "pg";

const INT8_OID = 20;
pg.types.setTypeParser(INT8_OID, Number);
const pool = new pg.Pool({ connectionString: process.argv[2] ?? "", max: 10 });

const READ = `SELECT * FROM tenants WHERE id = $1`;
const COUNT = `SELECT count(*) AS total FROM tenants WHERE status <> 'archived'`;
const COLUMNS = `*, extract(epoch FROM created_at)::text AS position`;
const FIRST_PAGE = `
  SELECT ${COLUMNS} FROM tenants WHERE status <> 'archived' ORDER BY created_at, id LIMIT $1`;
const LATER_PAGE = `
  SELECT ${COLUMNS} FROM tenants
  WHERE status <> 'archived' AND (created_at, id) > (to_timestamp($2::numeric), $3::uuid)
  ORDER BY created_at, id LIMIT $1`;
const CREATE = `
  WITH created AS (
    INSERT INTO tenants (id, name, status, status_message, intent, compute_provider, desired_config, config_hash, generation,
      observed_generation, observed_resource_ids, endpoints, health, scopes, paused, attempts, conditions, labels, annotations,
      version, revision)
    VALUES ($1, $2, 'requested', '', 'present', 'mock', $3, $4, 1, 0, '{}', '[]', 'unknown', '[]', false, 0, $5, '{}', '{}', 1, 1)
    ON CONFLICT (name) DO NOTHING RETURNING *
  ), generation AS (
    INSERT INTO generations (tenant_id, generation, intent, compute_provider, desired_config, config_hash, actor, request_id)
    SELECT id, generation, intent, compute_provider, desired_config, config_hash, 'raw', $6 FROM created
  ), transition AS (
    INSERT INTO transitions (tenant_id, tenant_name, to_status, reason, message, generation, actor, request_id, labels)
    SELECT id, name, status, 'created', '', generation, 'raw', $6, labels FROM created
  ), work AS (
    INSERT INTO tenant_work (tenant_id, owner, compute_provider, lane, next_reconcile_at)
    SELECT id, '', compute_provider, 0, now() FROM created
  )
  SELECT * FROM created`;

interface Row {
  readonly [column: string]: unknown;
  readonly id: string;
  readonly conditions: readonly Readonly<Record<string, unknown>>[];
  readonly created_at: Date;
  readonly updated_at: Date;
  readonly position: string;
}

function render(row: Row): object {
  return {
    id: row.id,
    name: row["name"],
    status: row["status"],
    status_message: row["status_message"],
    intent: row["intent"],
    compute_provider: row["compute_provider"],
    desired_config: row["desired_config"],
    compute_config: row["desired_config"],
    observed_config: row["observed_config"] ?? {},
    observed_resource_ids: row["observed_resource_ids"],
    endpoints: row["endpoints"],
    generation: row["generation"],
    observed_generation: row["observed_generation"],
    paused: row["paused"],
    conditions: row.conditions.map((condition) => ({
      type: condition["type"],
      status: condition["status"],
      reason: condition["reason"],
      message: condition["message"],
      observed_generation: condition["observedGeneration"],
      since: condition["since"],
    })),
    labels: row["labels"],
    annotations: row["annotations"],
    version: row["version"],
    created_at: row.created_at,
    updated_at: row.updated_at,
  };
}

const app = Fastify();

app.get<{ Params: { id: string } }>("/tenants/:id", async ({ params }, reply) => {
  const { rows } = await pool.query<Row>({ name: "read", text: READ, values: [params.id] });
  const [row] = rows;
  return row === undefined ? reply.status(404).send() : render(row);
});

app.get<{ Querystring: { limit: string; after?: string; total?: string } }>("/tenants", async ({ query }) => {
  const limit = Number(query.limit);
  const [seconds, id] = query.after?.split("/") ?? [];
  const [page, total] = await Promise.all([
    seconds === undefined
      ? pool.query<Row>({ name: "first-page", text: FIRST_PAGE, values: [limit + 1] })
      : pool.query<Row>({ name: "later-page", text: LATER_PAGE, values: [limit + 1, seconds, id] }),
    seconds === undefined
      ? pool
          .query<{ total: number }>({ name: "count", text: COUNT })
          .then((counted) => counted.rows[0]?.total)
      : Number(query.total),
  ]);
  const last = page.rows.length > limit ? page.rows[limit - 1] : undefined;
  const next = last === undefined ? null : `${last.position}/${last.id}`;
  return { tenants: page.rows.slice(0, limit).map(render), total, limit, offset: 0, next_page_token: next };
});

const CONDITIONS = [
  ["Ready", "False", "requested"],
  ["Progressing", "True", "requested"],
  ["Healthy", "Unknown", "unknown"],
  ["ComputeReachable", "True", "reachable"],
  ["EngineReachable", "True", "reachable"],
  ["Stalled", "False", "within_deadline"],
  ["Paused", "False", "not_paused"],
] as const;

app.post<{ Body: { name: string; compute_config: object } }>("/tenants", async ({ body }, reply) => {
  const config = JSON.stringify({ ...body.compute_config, compute_provider: "mock" });
  const since = new Date();
  const conditions = CONDITIONS.map(([type, status, reason]) => ({
    type,
    status,
    reason,
    message: "",
    observedGeneration: 1,
    since,
  }));
  const { rows } = await pool.query<Row>({
    name: "create",
    text: CREATE,
    values: [
      randomUUID(),
      body.name,
      config,
      createHash("sha256").update(config).digest("hex"),
      JSON.stringify(conditions),
      randomUUID(),
    ],
  });
  const [row] = rows;
  return row === undefined ? reply.status(409).send() : reply.status(201).send(render(row));
});

await app.listen({ host: "127.0.0.1", port: 0 });
process.send?.({ port: (app.server.address() as AddressInfo).port });
process.on("disconnect", () => process.exit(0));
