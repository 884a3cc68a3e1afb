/** What must hold for every combination of facts, and for every course of events. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decide, type Facts, type JobReport } from "../../src/domain/decide.ts";
import { isAllowedTransition, isSettled, statusAfterWrite } from "../../src/domain/status.ts";
import type { Observation } from "../../src/domain/observation.ts";
import {
  HEALTHS,
  SUB_STATES,
  TENANT_STATUSES,
  type Operation,
  type Tenant,
} from "../../src/domain/tenant.ts";
import {
  at,
  executionWith,
  NOW,
  operationWith,
  reportWith,
  SETTINGS,
  tenantWith,
} from "../support/tenants.ts";

const offsetMs = fc.integer({ min: -4_000_000, max: 4_000_000 });
const time = offsetMs.map(at);
const generation = fc.integer({ min: 1, max: 4 });

/** Status and intent agree, as the store guarantees. */
const statusAndIntent = fc.constantFrom(...TENANT_STATUSES).chain((status) =>
  fc.record({
    status: fc.constant(status),
    intent:
      status === "deleting"
        ? fc.constant("deleted" as const)
        : status === "archiving"
          ? fc.constantFrom("archived" as const, "present" as const)
          : fc.constant(status === "archived" ? ("archived" as const) : ("present" as const)),
  }),
);

const tenants: fc.Arbitrary<Tenant> = fc
  .record({
    place: statusAndIntent,
    generation,
    observed: fc.integer({ min: 0, max: 4 }),
    paused: fc.boolean(),
    attempts: fc.integer({ min: 0, max: 40 }),
    nextAttemptAt: fc.option(time),
    generationAt: time,
  })
  .map(({ place, observed, ...rest }) => {
    // A write raises the generation and leaves these two statuses in one statement.
    const settled = place.status === "ready" || place.status === "archived";
    const observedGeneration = settled ? rest.generation : Math.min(observed, rest.generation);
    return tenantWith({ ...rest, ...place, observedGeneration });
  });

const reports: fc.Arbitrary<JobReport> = fc
  .record({
    outcome: fc.constantFrom("succeeded", "rejected", "gave_up", "expired", "void" as const),
    generation,
    configHash: fc.constantFrom("hash-1", "hash-2"),
    health: fc.constantFrom("healthy", "starting", "unhealthy", "exited", "absent", "unknown" as const),
    absentObservations: fc.integer({ min: 0, max: 3 }),
    staleGeneration: fc.option(fc.integer({ min: 1, max: 9 })),
    scope: fc.option(fc.constantFrom("a", "b")),
  })
  .map((change) => reportWith(change as Partial<JobReport>));

const executions = fc
  .record({
    state: fc.constantFrom("unreachable", "unknown", "running", "succeeded", "failed" as const),
    subState: fc.constantFrom(...SUB_STATES),
    report: fc.option(reports),
  })
  .map((change) => executionWith(change as Parameters<typeof executionWith>[0]));

const operations: fc.Arbitrary<Operation> = fc
  .record({
    kind: fc.constantFrom("create", "update", "delete" as const),
    generation,
    startBefore: time,
    invokedAt: fc.option(time),
    // Written together, or not at all.
    stop: fc.option(
      fc.record({
        stopPhase: fc.constantFrom("occupy_or_cancel", "kill" as const),
        stopRequestedAt: time,
        stopReason: fc.constantFrom("superseded", "execution_lost"),
      }),
    ),
  })
  .map(({ stop, ...change }) => operationWith({ ...change, ...stop }));

const observations: fc.Arbitrary<Observation> = fc.record({
  presence: fc.constantFrom("present", "absent", "unknown" as const),
  generation: fc.option(generation),
  configHash: fc.option(fc.constantFrom("hash-1", "hash-2")),
  health: fc.constantFrom(...HEALTHS),
  message: fc.option(fc.constant("why")),
  config: fc.constant({}),
  resourceIds: fc.constant({}),
  endpoints: fc.constant([]),
  scope: fc.constantFrom("here", "there"),
});

const facts: fc.Arbitrary<Facts> = fc
  .record({
    tenant: tenants,
    operation: fc.option(operations),
    execution: fc.option(executions),
    observation: fc.option(observations),
    now: fc.constant(NOW),
    jitter: fc.double({ min: 0, max: 0.999, noNaN: true }),
  })
  // The store never holds an operation of a generation that the tenant has not had.
  .filter(({ tenant, operation }) => operation === null || operation.generation <= tenant.generation)
  // What changes the intent raises the generation: an operation of the present one does what the intent asks for.
  .filter(
    ({ tenant, operation }) =>
      operation === null ||
      operation.generation < tenant.generation ||
      (operation.kind === "delete") === (tenant.intent !== "present"),
  );

function always(name: string, check: (facts: Facts) => void): void {
  test(name, () => {
    fc.assert(fc.property(facts, check), { numRuns: 2_000 });
  });
}

describe("for all facts", () => {
  always("an unfinished operation is never joined by a second one", (given) => {
    if (given.operation !== null) expect(decide(given, SETTINGS).kind).not.toBe("start");
  });

  always(
    "an unsettled tenant that is not paused always has something to do or a time to look again",
    (given) => {
      if (isSettled(given.tenant) || given.tenant.paused) return;
      expect(decide(given, SETTINGS).kind).not.toBe("settle");
    },
  );

  always("an engine that does not know or does not answer never ends an operation", (given) => {
    const state = given.execution?.state;
    if (state !== "unknown" && state !== "unreachable") return;
    expect(["finish", "remove"]).not.toContain(decide(given, SETTINGS).kind);
  });

  always("a wait lies in the future, and is bounded", (given) => {
    const decision = decide(given, SETTINGS);
    if (decision.kind !== "wait") return;
    const delayMs = decision.dueAt.getTime() - NOW.getTime();
    expect(delayMs).toBeGreaterThan(0);
    expect(delayMs).toBeLessThanOrEqual(4_100_000);
  });

  always("ready means healthy, echoed, and at the present generation", (given) => {
    const decision = decide(given, SETTINGS);
    if (decision.kind !== "finish" || decision.change.status !== "ready" || given.tenant.status === "ready")
      return;
    const report = given.execution?.report;
    expect(report).toMatchObject({
      outcome: "succeeded",
      health: "healthy",
      generation: given.tenant.generation,
    });
    expect(report?.configHash).toBe(given.operation?.configHash);
    expect(decision.change.observedGeneration).toBe(given.tenant.generation);
  });

  always("archived and removed mean seen absent twice, at the present generation", (given) => {
    const decision = decide(given, SETTINGS);
    const archived =
      decision.kind === "finish" &&
      decision.change.status === "archived" &&
      given.tenant.status !== "archived";
    if (decision.kind !== "remove" && !archived) return;
    expect(given.execution?.report).toMatchObject({
      outcome: "succeeded",
      health: "absent",
      generation: given.tenant.generation,
    });
    expect(given.execution?.report?.absentObservations).toBeGreaterThanOrEqual(2);
    expect(given.tenant.intent).toBe(decision.kind === "remove" ? "deleted" : "archived");
  });

  always("only a rejected result fails a tenant", (given) => {
    const decision = decide(given, SETTINGS);
    if (decision.kind !== "finish" || decision.change.status !== "failed" || given.tenant.status === "failed")
      return;
    expect(given.execution?.report?.outcome).toBe("rejected");
  });

  always("a scope is forgotten only when absence was proven", (given) => {
    const tenant = { ...given.tenant, observed: { ...given.tenant.observed, scopes: ["kept"] } };
    const decision = decide({ ...given, tenant }, SETTINGS);
    if (decision.kind !== "finish" || decision.change.observed.scopes.includes("kept")) return;
    expect(given.execution?.report).toMatchObject({ outcome: "succeeded", health: "absent" });
  });

  always("the status machine allows every move", (given) => {
    const decision = decide(given, SETTINGS);
    const next =
      decision.kind === "finish"
        ? decision.change.status
        : decision.kind === "start"
          ? decision.status
          : null;
    // An operation in flight belongs to a status in which one may be in flight.
    if (
      next === null ||
      ((given.tenant.status === "ready" ||
        given.tenant.status === "archived" ||
        given.tenant.status === "failed" ||
        given.tenant.status === "requested") &&
        given.operation !== null)
    )
      return;
    if (
      given.operation?.kind === "delete" &&
      given.tenant.intent === "present" &&
      given.tenant.status !== "archiving"
    )
      return;
    expect([given.tenant.status, next, isAllowedTransition(given.tenant.status, next)]).toEqual([
      given.tenant.status,
      next,
      true,
    ]);
  });

  always("generations never fall", (given) => {
    const decision = decide(given, SETTINGS);
    if (decision.kind !== "finish") return;
    expect(decision.change.generation).toBeGreaterThanOrEqual(given.tenant.generation);
    expect(decision.change.observedGeneration).toBeGreaterThanOrEqual(given.tenant.observedGeneration);
    expect(decision.change.observedGeneration).toBeLessThanOrEqual(decision.change.generation);
  });
});

test("a client's write moves every status to an allowed one", () => {
  for (const status of TENANT_STATUSES) {
    if (status === "deleting") continue;
    for (const intent of ["archived", "deleted"] as const) {
      if (status === intent) continue;
      expect(isAllowedTransition(status, statusAfterWrite({ status, observedGeneration: 1 }, intent))).toBe(
        true,
      );
    }
    for (const observedGeneration of [0, 1]) {
      expect(isAllowedTransition(status, statusAfterWrite({ status, observedGeneration }, "present"))).toBe(
        true,
      );
    }
  }
});
