/** What the tests of the HTTP API share. */
import { expect } from "vitest";
import type { Answer, Api } from "../support/api.ts";
import type { TestDatabase } from "../support/database.ts";
import type { TenantBody } from "../../src/contract/tenant.ts";
import type { Problem } from "../../src/contract/system.ts";

/** Options of startTestSystem for a server that only stores: nothing reconciles, so statuses stay as written. */
export const API_ONLY = { worker: false, server: { "controller.enabled": "false" } } as const;

let counter = 0;

/** A name that no other test of this file uses. */
export function freshName(prefix = "t"): string {
  counter += 1;
  return `${prefix}-${process.pid}-${counter}`;
}

/** Creates a tenant of the mock provider and returns it. */
export async function create(api: Api, body: Record<string, unknown> = {}): Promise<TenantBody> {
  const answer = await api.call<TenantBody>("POST", "/v1/tenants", {
    name: freshName(),
    compute_provider: "mock",
    compute_config: {},
    ...body,
  });
  expect(answer.status, JSON.stringify(answer.body)).toBe(201);
  return answer.body;
}

/** Plays the reconciler: what it would have written, in plain SQL. */
export async function setStatus(
  database: TestDatabase,
  id: string,
  status: TenantBody["status"],
  settled = true,
): Promise<void> {
  await database.query(
    `UPDATE tenants SET status = $2, revision = revision + 1,
       observed_generation = CASE WHEN $3 THEN generation ELSE observed_generation END WHERE id = $1`,
    [id, status, settled],
  );
}

/** Checks every member of a problem and returns it. */
export function expectProblem(answer: Answer<unknown>, status: number, code?: string): Problem {
  const problem = answer.body as Problem;
  expect(answer.status, JSON.stringify(problem)).toBe(status);
  expect(answer.headers.get("content-type")).toMatch(/^application\/problem\+json/);
  expect(problem).toMatchObject({
    type: `urn:landlord:problem:${problem.code}`,
    title: expect.stringMatching(/./) as string,
    status,
    detail: expect.stringMatching(/./) as string,
    instance: expect.stringMatching(/^\//) as string,
    error: expect.stringMatching(/./) as string,
    request_id: answer.headers.get("x-request-id"),
  });
  expect(problem.details.every((detail) => typeof detail === "string" && detail !== "")).toBe(true);
  if (code !== undefined) expect(problem.code).toBe(code);
  return problem;
}

/**
 * The content of every table, as one hash each. Left out is what comes later by itself: the sequencer's positions, and
 * the audit log, which also keeps what was refused.
 */
export async function contents(database: TestDatabase): Promise<Record<string, unknown>> {
  const tables = await database.query(
    `SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'
       AND table_name <> 'audit'`,
  );
  const parts = tables.map(
    ({ table_name: name }) =>
      `SELECT '${String(name)}' AS name, count(*)::int AS rows,
         md5(string_agg((to_jsonb(t) - 'position')::text, '|' ORDER BY (to_jsonb(t) - 'position')::text)) AS hash
       FROM ${String(name)} t`,
  );
  const rows = await database.query(parts.join(" UNION ALL "));
  return Object.fromEntries(
    rows.map((row) => [String(row["name"]), `${String(row["rows"])} rows ${String(row["hash"])}`]),
  );
}

/** Sends bytes as they are, with no content type of fetch's own choosing. */
export async function raw(
  url: string,
  method: string,
  path: string,
  body: string | null,
  headers: Record<string, string>,
): Promise<Answer<unknown>> {
  const response = await fetch(`${url}${path}`, { method, headers, body });
  const text = await response.text();
  const json = (response.headers.get("content-type") ?? "").includes("json") && text !== "";
  return { status: response.status, headers: response.headers, body: json ? JSON.parse(text) : text };
}
