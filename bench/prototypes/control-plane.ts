/**
 * The least that a control plane of this shape does for a create, to show where the floor is: a durable tenant before the
 * answer, a leased claim, the intent written before the effect, a durable start and an attached end at the engine, the result
 * written before anybody hears of it. Bare HTTP, bare prepared SQL on the fewest tables and indexes, everything batched.
 *
 * What Landlord does besides and this does not: fair choice, limits, breakers, fences against late holders, validation,
 * generations, conditions, events in order, watches, access, audit, logs, drift, deletes, crashes.
 */
import { randomUUID } from "node:crypto";
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import pg from "pg";
import { Pool } from "undici";
import { JOB_STEPS } from "../raw/job-steps.ts";

const [databaseUrl = "", ingressUrl = ""] = process.argv.slice(2);
const PASSES = 64;
const BATCH = 100;
const database = new pg.Pool({ connectionString: databaseUrl, max: 10 });
const engine = new Pool(ingressUrl, { connections: PASSES, pipelining: 1 });

await database.query(`
  CREATE SCHEMA prototype;
  CREATE TABLE prototype.tenants (id uuid PRIMARY KEY, name text NOT NULL UNIQUE, status text NOT NULL, config jsonb NOT NULL,
    result jsonb, updated_at timestamptz NOT NULL DEFAULT now()) WITH (fillfactor = 70);
  CREATE TABLE prototype.work (tenant_id uuid PRIMARY KEY, due_at timestamptz, lease_until timestamptz,
    lease_token bigint NOT NULL DEFAULT 0) WITH (fillfactor = 70);
  CREATE INDEX ON prototype.work (due_at) WHERE due_at IS NOT NULL;
  CREATE TABLE prototype.operations (id uuid PRIMARY KEY, tenant_id uuid NOT NULL, request jsonb, outcome text)
    WITH (fillfactor = 70);
  CREATE TABLE prototype.transitions (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant_id uuid NOT NULL,
    status text NOT NULL, at timestamptz NOT NULL DEFAULT now())`);

const CREATE = `
  WITH input AS (SELECT * FROM unnest($1::uuid[], $2::text[], $3::jsonb[]) AS i(id, name, config)),
  made AS (INSERT INTO prototype.tenants (id, name, status, config) SELECT id, name, 'requested', config FROM input RETURNING id),
  queued AS (INSERT INTO prototype.work (tenant_id, due_at) SELECT id, now() FROM made)
  INSERT INTO prototype.transitions (tenant_id, status) SELECT id, 'requested' FROM made`;

const CLAIM = `
  WITH due AS MATERIALIZED (
    SELECT tenant_id FROM prototype.work WHERE due_at <= now() AND (lease_until IS NULL OR lease_until <= now())
    ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED)
  UPDATE prototype.work w SET lease_until = now() + interval '30 seconds', lease_token = w.lease_token + 1
  FROM due JOIN prototype.tenants t ON t.id = due.tenant_id
  WHERE w.tenant_id = due.tenant_id RETURNING w.tenant_id AS id, t.config`;

const BEGIN = `
  WITH input AS (SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::jsonb[]) AS i(id, operation, request)),
  opened AS (INSERT INTO prototype.operations (id, tenant_id, request) SELECT operation, id, request FROM input),
  moved AS (INSERT INTO prototype.transitions (tenant_id, status) SELECT id, 'provisioning' FROM input)
  UPDATE prototype.tenants t SET status = 'provisioning', updated_at = now() FROM input i WHERE t.id = i.id`;

const FINISH = `
  WITH input AS (SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::jsonb[]) AS i(id, operation, result)),
  closed AS (UPDATE prototype.operations o SET outcome = 'succeeded', request = NULL FROM input i WHERE o.id = i.operation),
  moved AS (INSERT INTO prototype.transitions (tenant_id, status) SELECT id, 'ready' FROM input),
  released AS (UPDATE prototype.work w SET due_at = NULL, lease_until = NULL FROM input i WHERE w.tenant_id = i.id)
  UPDATE prototype.tenants t SET status = 'ready', result = i.result, updated_at = now() FROM input i WHERE t.id = i.id`;

/** Gathers what comes while a statement runs. */
function batched(name: string, text: string): (row: readonly unknown[]) => Promise<void> {
  let waiting: {
    readonly row: readonly unknown[];
    readonly done: () => void;
    readonly failed: (error: unknown) => void;
  }[] = [];
  let running = 0;
  const flush = (): void => {
    if (waiting.length === 0 || running >= 3) return;
    const batch = waiting.slice(0, BATCH);
    waiting = waiting.slice(BATCH);
    running += 1;
    const columns = (batch[0]?.row ?? []).map((_, column) => batch.map(({ row }) => row[column]));
    database
      .query({ name, text, values: columns })
      .then(() => batch.forEach(({ done }) => done()))
      .catch((error: unknown) => batch.forEach(({ failed }) => failed(error)))
      .finally(() => {
        running -= 1;
        flush();
      });
  };
  return (row) =>
    new Promise((resolve, reject) => {
      waiting.push({ row, done: resolve, failed: reject });
      setImmediate(flush);
    });
}

const create = batched("create", CREATE);
const begin = batched("begin", BEGIN);
const finish = batched("finish", FINISH);

const waiting = new Map<string, ServerResponse>();
const ready = new Set<string>();
let passes = 0;
let isClaiming = false;
let isRung = false;

async function claim(): Promise<void> {
  isRung = true;
  if (isClaiming) return;
  isClaiming = true;
  while (isRung && passes < PASSES) {
    isRung = false;
    const limit = PASSES - passes;
    const { rows } = await database.query<{ id: string; config: object }>({
      name: "claim",
      text: CLAIM,
      values: [limit],
    });
    if (rows.length === limit) isRung = true;
    passes += rows.length;
    for (const row of rows) void pass(row.id, row.config);
  }
  isClaiming = false;
}

async function pass(id: string, config: object): Promise<void> {
  const operation = randomUUID();
  await begin([id, operation, JSON.stringify({ id, config })]);
  const sent = (await ask("POST", `/RawBench/${operation}/run/send`, String(JOB_STEPS))) as {
    invocationId: string;
  };
  const result = await ask("GET", `/restate/invocation/${sent.invocationId}/attach`);
  await finish([id, operation, JSON.stringify(result)]);
  ready.add(id);
  const waiter = waiting.get(id);
  if (waiter !== undefined) answer(waiter, 200, { id, status: "ready" });
  waiting.delete(id);
  passes -= 1;
  if (passes <= PASSES * 0.75) void claim();
}

async function ask(method: "GET" | "POST", path: string, body?: string): Promise<unknown> {
  const response = await engine.request({
    method,
    path,
    ...(body === undefined ? {} : { headers: { "content-type": "application/json" }, body }),
  });
  return JSON.parse(await response.body.text()) as unknown;
}

function answer(response: ServerResponse, status: number, body: object): void {
  const text = JSON.stringify(body);
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(text),
  });
  response.end(text);
}

const server = createServer((request, response) => {
  if (request.method === "GET") {
    const id = /^\/v1\/tenants\/([^?]+)/.exec(request.url ?? "")?.[1] ?? "";
    if (ready.has(id)) answer(response, 200, { id, status: "ready" });
    else waiting.set(id, response);
    return;
  }
  let text = "";
  request.on("data", (chunk: Buffer) => (text += chunk.toString()));
  request.on("end", () => {
    const { name, compute_config: config } = JSON.parse(text) as { name: string; compute_config: object };
    const id = randomUUID();
    void create([id, name, JSON.stringify(config)]).then(() => {
      answer(response, 201, { id, status: "requested" });
      return claim();
    });
  });
});
server.listen(0, "127.0.0.1", () => process.send?.({ port: (server.address() as AddressInfo).port }));
process.on("disconnect", () => process.exit(0));
