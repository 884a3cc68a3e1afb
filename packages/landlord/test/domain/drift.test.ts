/** What a look at a settled tenant's compute leads to. */
import { describe, expect, test } from "vitest";
import { decide, type Decision } from "../../src/domain/decide.ts";
import type { Observation } from "../../src/domain/observation.ts";
import type { Tenant } from "../../src/domain/tenant.ts";
import { NOW, SETTINGS, tenantWith } from "../support/tenants.ts";

const healthyAt = (generation: number, change: Partial<Observation> = {}): Observation => ({
  presence: "present",
  generation,
  configHash: "hash-1",
  health: "healthy",
  message: null,
  config: {},
  resourceIds: { id: "1" },
  endpoints: [],
  scope: "here",
  ...change,
});
const ABSENT: Partial<Observation> = {
  presence: "absent",
  generation: null,
  configHash: null,
  health: "absent",
  config: null,
  resourceIds: {},
};

function ready(change: Partial<Tenant> = {}): Tenant {
  const observed = {
    config: {},
    resourceIds: { id: "1" },
    endpoints: [],
    health: "healthy",
    scopes: ["here"],
  };
  return tenantWith({
    status: "ready",
    generation: 3,
    observedGeneration: 3,
    configHash: "hash-1",
    observed: observed as Tenant["observed"],
    ...change,
  });
}

function look(tenant: Tenant, observation: Observation): Decision {
  return decide({ tenant, operation: null, execution: null, observation, now: NOW, jitter: 0 }, SETTINGS);
}

describe("a ready tenant", () => {
  test("whose compute is as it was is left alone", () => {
    expect(look(ready(), healthyAt(3))).toEqual({ kind: "settle" });
  });

  test.each([
    ["gone", ABSENT, "drift_missing", 3],
    ["ended", { ...ABSENT, health: "exited" }, "drift_exited", 3],
    ["ended, with something left of it", { health: "exited" }, "drift_exited", 3],
    ["made from another config", { configHash: "hash-2" }, "drift_changed", 4],
    ["of an older generation", { generation: 2 }, "drift_changed", 4],
    ["of a newer generation", { generation: 7 }, "generation_recovered", 8],
  ] as const)("whose compute is %s is repaired", (_what, change, reason, generation) => {
    expect(look(ready(), healthyAt(3, change))).toMatchObject({
      kind: "repair",
      change: { status: "updating", reason, generation, observedGeneration: 3, attempts: 0 },
    });
  });

  test.each(["unhealthy", "starting"] as const)(
    "that is %s is looked at again before it is replaced",
    (health) => {
      const seen = healthyAt(3, { health, message: "GET / answered 500" });
      const first = look(ready(), seen);
      expect(first).toMatchObject({
        kind: "record",
        observed: { health },
        message: "GET / answered 500",
        isConfirmedSoon: true,
      });
      const noted = ready({ observed: { ...ready().observed, health } });
      expect(look(noted, seen)).toMatchObject({
        kind: "repair",
        change: {
          reason: "drift_unhealthy",
          generation: 4,
          message: "Compute stays unhealthy. GET / answered 500",
        },
      });
      expect(look(noted, healthyAt(3))).toMatchObject({
        kind: "record",
        observed: { health: "healthy" },
        isConfirmedSoon: false,
      });
    },
  );

  test("that cannot be seen, or whose health cannot be told, is left alone", () => {
    expect(look(ready(), healthyAt(3, { ...ABSENT, presence: "unknown", health: "unknown" }))).toEqual({
      kind: "settle",
    });
    expect(look(ready(), healthyAt(3, { health: "unknown" }))).toEqual({ kind: "settle" });
  });

  test("that answers elsewhere now is noted", () => {
    const endpoints = [{ name: "http", address: "127.0.0.1", port: 8080, url: "http://127.0.0.1:8080" }];
    expect(look(ready(), healthyAt(3, { endpoints, scope: "there" }))).toMatchObject({
      kind: "record",
      observed: { endpoints, scopes: ["here", "there"] },
      isConfirmedSoon: false,
    });
  });

  test("that is paused is noted, and nothing is repaired", () => {
    expect(look(ready({ paused: true }), healthyAt(3, ABSENT))).toMatchObject({
      kind: "record",
      observed: { health: "absent", scopes: ["here"] },
    });
    expect(look(ready({ paused: true }), healthyAt(9))).toEqual({ kind: "settle" });
  });
});

describe("an archived tenant", () => {
  const archived = ready({
    status: "archived",
    intent: "archived",
    observed: { config: null, resourceIds: {}, endpoints: [], health: "absent", scopes: [] },
  });
  test("without compute is left alone", () => {
    expect(look(archived, healthyAt(3, ABSENT))).toEqual({ kind: "settle" });
  });
  test.each([{}, { ...ABSENT, health: "exited" }] as const)(
    "whose compute is seen again loses it again",
    (change) => {
      expect(look(archived, healthyAt(3, change))).toMatchObject({
        kind: "repair",
        change: { status: "archiving", reason: "compute_reappeared", generation: 3 },
      });
    },
  );
});

test("a failed tenant is left to its users: what is seen is noted", () => {
  const failed = ready({ status: "failed", observedGeneration: 2 });
  expect(look(failed, healthyAt(2))).toEqual({ kind: "settle" });
  expect(look(failed, healthyAt(2, ABSENT))).toMatchObject({ kind: "record", isConfirmedSoon: false });
});

test("a tenant that is worked on is not judged by a look", () => {
  const updating = ready({ status: "updating", generation: 4 });
  expect(look(updating, healthyAt(3, ABSENT))).toMatchObject({ kind: "start", operation: "update" });
});
