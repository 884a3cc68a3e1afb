import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { backoffMs } from "../../src/domain/backoff.ts";
import { deriveConditions } from "../../src/domain/conditions.ts";
import type { ConditionType, Tenant } from "../../src/domain/tenant.ts";
import { restoreRedacted, redact, REDACTED } from "../../src/domain/redact.ts";
import { at, NOW, tenantWith } from "../support/tenants.ts";

describe("backoff", () => {
  test("doubles up to its cap, within its jitter", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 10_000 }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        (attempt, jitter) => {
          const delayMs = backoffMs(attempt, jitter, { initialMs: 1_000, maxMs: 300_000 });
          const ceilingMs = Math.min(1_000 * 2 ** Math.min(attempt - 1, 30), 300_000);
          expect(delayMs).toBeGreaterThanOrEqual(ceilingMs / 2 - 1);
          expect(delayMs).toBeLessThanOrEqual(ceilingMs);
        },
      ),
    );
  });
});

describe("conditions", () => {
  const settings = { operationDeadlineMs: 60_000 };
  const statusOf = (tenant: Tenant, type: ConditionType): string | undefined =>
    deriveConditions(tenant, NOW, settings).find((condition) => condition.type === type)?.status;

  test("Ready is true only when the present generation was observed", () => {
    expect(statusOf(tenantWith({ status: "ready", observedGeneration: 1 }), "Ready")).toBe("True");
    expect(statusOf(tenantWith({ status: "ready", observedGeneration: 1, generation: 2 }), "Ready")).toBe(
      "False",
    );
    expect(statusOf(tenantWith({ status: "updating", observedGeneration: 1 }), "Ready")).toBe("False");
  });

  test("Stalled begins at the deadline and ends when the tenant settles", () => {
    const late = { generationAt: at(-60_000) };
    expect(statusOf(tenantWith(late), "Stalled")).toBe("True");
    expect(statusOf(tenantWith({ generationAt: at(-59_999) }), "Stalled")).toBe("False");
    expect(statusOf(tenantWith({ ...late, status: "ready", observedGeneration: 1 }), "Stalled")).toBe(
      "False",
    );
  });

  test("since moves only with the status", () => {
    const first = deriveConditions(tenantWith(), at(-10_000), settings);
    const second = deriveConditions(tenantWith({ conditions: first, status: "provisioning" }), NOW, settings);
    const ready = second.find((condition) => condition.type === "Ready");
    expect(ready).toMatchObject({ status: "False", reason: "provisioning", since: at(-10_000) });
    const done = deriveConditions(
      tenantWith({ conditions: second, status: "ready", observedGeneration: 1 }),
      NOW,
      settings,
    );
    expect(done.find((condition) => condition.type === "Ready")?.since).toEqual(NOW);
  });
});

describe("redaction in a write", () => {
  const stored = { env: { PASSWORD: "s3cret", URL: "postgres://u:pw@h/d" }, command: ["run", "--token=abc"] };

  test("what was shown redacted comes back whole", () => {
    expect(restoreRedacted(redact(stored), stored)).toEqual({ value: stored, unknown: [] });
  });

  test("a marker with nothing behind it is named", () => {
    expect(restoreRedacted({ env: { "A/B": REDACTED } }, stored).unknown).toEqual([{ pointer: "/env/A~1B" }]);
    expect(
      restoreRedacted({ env: { URL: `postgres://other:${REDACTED}@h/d` } }, stored).unknown,
    ).toHaveLength(1);
  });
});
