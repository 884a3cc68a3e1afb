/**
 * Clients of the reference system work unchanged: their requests (fixtures/*.json) are replayed, and the answers are
 * decoded as strictly as they do it (API.md, section 3).
 */
import { readdirSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { startTestSystem, type TestSystem } from "../support/system.ts";
import { API_ONLY } from "./kit.ts";

interface Step {
  readonly send: { readonly method: string; readonly path: string; readonly body?: unknown };
  readonly expect: {
    readonly answer: string;
    readonly status?: number;
    readonly values?: Record<string, unknown>;
  };
  /** Search the listed tenants for this name; `{id}` in later paths is its UUID. */
  readonly find?: string;
}
interface Fixture {
  readonly what: string;
  readonly steps: readonly Step[];
}

const FOLDER = new URL("./fixtures/", import.meta.url);
const read = (file: string): unknown => JSON.parse(readFileSync(new URL(file, FOLDER), "utf8"));
const ANSWERS = read("answers.json") as Record<string, Record<string, string>>;
const FIXTURES = readdirSync(FOLDER)
  .filter((file) => file !== "answers.json")
  .map((file) => read(file) as Fixture);

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isString = (value: unknown): boolean => typeof value === "string";

const CHECKS: Readonly<Record<string, (value: unknown) => boolean>> = {
  string: isString,
  integer: (value) => Number.isSafeInteger(value),
  object: isObject,
  "object of strings": (value) => isObject(value) && Object.values(value).every(isString),
  "list of strings": (value) => Array.isArray(value) && value.every(isString),
  "list of tenant": (value) =>
    Array.isArray(value) && value.every((item) => problemsOf(item, "tenant").length === 0),
  // RFC 3339, section 5.6.
  time: (value) =>
    /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/.test(String(value)) &&
    !Number.isNaN(Date.parse(String(value))),
  json: (value) => value !== undefined,
};

/** What a strict decoder would stumble over. A null is never taken for an absent member. */
function problemsOf(value: unknown, answer: string): string[] {
  if (!isObject(value)) return [`not an object: ${JSON.stringify(value)}`];
  return Object.entries(ANSWERS[answer] ?? { [answer]: "no such answer" }).flatMap(([field, type]) => {
    const optional = type.endsWith(" or absent");
    if (optional && !Object.hasOwn(value, field)) return [];
    const check = CHECKS[type.replace(" or absent", "")];
    return check?.(value[field]) === true ? [] : [`${field} is not ${type}: ${JSON.stringify(value[field])}`];
  });
}

/** As the reference's CLI builds its addresses. */
async function send(
  base: string,
  step: Step,
  id: string,
): Promise<{ readonly status: number; readonly body: unknown }> {
  const root = `${base.replace(/\/$/, "").replace(/\/v1$/, "")}/v1`;
  const { method, path, body } = step.send;
  const response = await fetch(`${root}${path.replace("{id}", id)}`, {
    method,
    headers: { "Content-Type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    signal: AbortSignal.timeout(15_000),
  });
  return { status: response.status, body: await response.json() };
}

let system: TestSystem;
beforeAll(async () => {
  const defaults = { "compute.default_provider": "mock", "compute.mock": { defaults: { size: "s" } } };
  system = await startTestSystem({ ...API_ONLY, server: { ...API_ONLY.server, ...defaults } });
});
// Every fixture begins with an empty server.
beforeEach(() => system.database.query(`TRUNCATE tenants, tenant_work, transitions CASCADE`));
afterAll(() => system.stop());

describe.each(["", "/v1"])("base URL with '%s'", (suffix) => {
  it.each(FIXTURES)("$what", async ({ steps }) => {
    let id = "";
    for (const step of steps) {
      const { status, body } = await send(`${system.url}${suffix}`, step, id);
      const where = `${step.send.method} ${step.send.path}: ${status} ${JSON.stringify(body)}`;
      if (step.expect.status === undefined) expect(Math.floor(status / 100), where).toBe(2);
      else expect(status, where).toBe(step.expect.status);
      expect(problemsOf(body, step.expect.answer), where).toEqual([]);
      expect(body).toMatchObject(step.expect.values ?? {});
      if (step.find !== undefined) {
        const { tenants } = body as { tenants: { id: string; name: string }[] };
        id = tenants.find((tenant) => tenant.name === step.find)?.id ?? "";
        expect(id).not.toBe("");
      }
    }
  });
});

it("the decoder is strict", () => {
  const good = { provider: "p", schema: {} };
  expect(problemsOf(good, "compute config")).toEqual([]);
  expect(problemsOf({ ...good, provider: null }, "compute config")).toHaveLength(1);
  expect(problemsOf({ error: "x", details: [1] }, "error")).toHaveLength(1);
  expect(problemsOf({ error: "x", details: null }, "error")).toHaveLength(1);
  expect(problemsOf({ tenants: [{}], total: 1, limit: 1.5, offset: 0 }, "tenant list")).toHaveLength(2);
  expect(
    problemsOf({ workflow_sub_state: null }, "tenant").some((problem) => problem.startsWith("workflow_sub")),
  ).toBe(true);
});
