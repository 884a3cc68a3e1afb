/** Whatever JSON, or almost JSON, is sent: never a 5xx, and whatever is accepted can be read back. */
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { TenantBody } from "../../src/contract/tenant.ts";
import { apiOf, type Api } from "../support/api.ts";
import { startTestSystem, type TestSystem } from "../support/system.ts";
import { API_ONLY, create } from "./kit.ts";

/** fast-check prints the seed and the counterexample of a failure; FUZZ_SEED repeats one. */
const seed = Number(process.env["FUZZ_SEED"] ?? Date.now() % 2_147_483_647);
const RUNS = { numRuns: 300, seed, endOnFailure: true };

let system: TestSystem;
let api: Api;
let victim: TenantBody;
beforeAll(async () => {
  system = await startTestSystem(API_ONLY);
  api = apiOf(system.url);
  victim = await create(api, { name: "victim", labels: { a: "1" } });
});
afterAll(() => system.stop());

// "binary" draws UTF-16 code units: NUL and halves of surrogate pairs among them.
const anyText = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.string(),
  fc.constantFrom("\0", "\ud800", "__proto__", "[redacted]", ""),
);
const anyValue = fc.anything({
  key: anyText,
  values: [
    anyText,
    fc.double(),
    fc.integer(),
    fc.boolean(),
    fc.constant(null),
    fc.constantFrom(1e308, -0, 2 ** 53 + 2),
  ],
  maxDepth: 4,
});
const anyMap = fc.dictionary(anyText, fc.oneof(anyText, anyValue), { maxKeys: 8 });
const body = fc.record(
  {
    name: fc.oneof(fc.stringMatching(/^[a-z0-9-]{1,40}$/), anyText, anyValue),
    compute_provider: fc.oneof(fc.constant("mock"), fc.constant("process"), anyValue),
    compute_config: fc.oneof({ weight: 3, arbitrary: anyMap }, { weight: 1, arbitrary: anyValue }),
    labels: fc.oneof(fc.dictionary(fc.string({ minLength: 1 }), anyText), anyMap, anyValue),
    annotations: fc.oneof(anyMap, anyValue),
    [`other`]: anyValue,
  },
  { requiredKeys: [] },
);
/** JSON with a piece cut out, doubled or replaced. */
const almostJson = fc.tuple(body, fc.nat(), fc.nat(40), anyText).map(([value, at, length, text]) => {
  const whole = JSON.stringify(value);
  const from = at % (whole.length + 1);
  return `${whole.slice(0, from)}${text}${whole.slice(from + length)}`;
});

it.each([
  ["POST", "/v1/tenants"],
  ["PUT", "/v1/tenants/victim"],
  ["PATCH", "/v1/tenants/victim"],
])("%s %s", async (method, path) => {
  await fc.assert(
    fc.asyncProperty(
      fc.oneof({ weight: 3, arbitrary: body }, { weight: 1, arbitrary: almostJson }),
      async (sent) => {
        const at = method === "POST" ? path : path.replace("victim", victim.id);
        const answer = await api.call<TenantBody & { error?: string; details?: unknown }>(method, at, sent);
        expect(answer.status, JSON.stringify(answer.body)).toBeLessThan(500);
        if (answer.status >= 400) {
          expect(answer.body.error).toBeTypeOf("string");
          if (answer.status === 400) expect(answer.body.details).not.toEqual([]);
          return;
        }
        const read = await api.call<TenantBody>("GET", `/v1/tenants/${answer.body.id}`);
        expect(read.status).toBe(200);
        expect(read.body).toEqual(answer.body);
      },
    ),
    RUNS,
  );
});

it("paths, queries and headers", async () => {
  const segment = fc.oneof(
    anyText,
    fc.stringMatching(/^[a-z0-9-]{1,20}$/),
    fc.constantFrom("%", "%00", "..", "%2f"),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom("GET", "PUT", "PATCH", "DELETE", "POST"),
      fc.array(segment, { maxLength: 4 }),
      fc.dictionary(segment, segment, { maxKeys: 3 }),
      fc.string({ unit: "grapheme-ascii", maxLength: 30 }),
      async (method, segments, query, header) => {
        const wellFormed = (text: string): string => encodeURIComponent(text.replace(/\p{Surrogate}/gu, "?"));
        const path = `/v1/tenants/${segments.map(wellFormed).join("/")}?${Object.entries(query)
          .map(([key, value]) => `${wellFormed(key)}=${wellFormed(value)}`)
          .join("&")}`;
        // The victim of the other properties is left alone.
        if (path.includes(victim.id) || path.includes(victim.name)) return;
        const headers = { "if-match": header, "idempotency-key": header, "x-request-id": header };
        const answer = await api.call(
          method,
          path,
          method === "GET" || method === "DELETE" ? undefined : {},
          headers,
        );
        expect(answer.status, JSON.stringify(answer.body)).toBeLessThan(500);
      },
    ),
    RUNS,
  );
});
