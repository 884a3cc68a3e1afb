import { describe, expect, test } from "vitest";
import { decide, type Decision, type Facts } from "../../src/domain/decide.ts";
import {
  at,
  executionWith,
  NOW,
  operationWith,
  reportWith,
  SETTINGS,
  tenantWith,
} from "../support/tenants.ts";

function decideWith(facts: Partial<Facts>, settings = SETTINGS): Decision {
  return decide(
    {
      tenant: tenantWith(),
      operation: null,
      execution: null,
      observation: null,
      now: NOW,
      jitter: 0,
      ...facts,
    },
    settings,
  );
}

function finished(decision: Decision): Extract<Decision, { kind: "finish" }> {
  if (decision.kind !== "finish") throw new Error(`expected finish, got ${JSON.stringify(decision)}`);
  return decision;
}

describe("without an operation", () => {
  test.each([
    ["requested", "present", { kind: "start", operation: "create", status: "provisioning" }],
    ["provisioning", "present", { kind: "start", operation: "create", status: "provisioning" }],
    ["updating", "present", { kind: "start", operation: "update", status: "updating" }],
    ["archiving", "archived", { kind: "start", operation: "delete", status: "archiving" }],
    ["deleting", "deleted", { kind: "start", operation: "delete", status: "deleting" }],
  ] as const)("%s with intent %s", (status, intent, expected) => {
    expect(decideWith({ tenant: tenantWith({ status, intent }) })).toEqual(expected);
  });

  test.each(["ready", "archived", "failed"] as const)("a settled %s tenant is left alone", (status) => {
    const intent = status === "archived" ? "archived" : "present";
    const tenant = tenantWith({ status, intent, observedGeneration: 1 });
    expect(decideWith({ tenant })).toEqual({ kind: "settle" });
  });

  test("a paused tenant is not started", () => {
    expect(decideWith({ tenant: tenantWith({ paused: true }) })).toEqual({ kind: "settle" });
  });

  test("a backoff is waited for, to the millisecond", () => {
    const tenant = tenantWith({ attempts: 1, nextAttemptAt: at(1) });
    expect(decideWith({ tenant })).toMatchObject({ kind: "wait", dueAt: at(1), reason: "backing_off" });
    expect(decideWith({ tenant, now: at(1) }).kind).toBe("start");
  });
});

describe("before the engine answered", () => {
  const uninvoked = operationWith({ invokedAt: null, executionHandle: null });

  test("the recorded operation is invoked", () => {
    expect(decideWith({ tenant: tenantWith({ status: "provisioning" }), operation: uninvoked })).toEqual({
      kind: "invoke",
    });
  });

  test("an id whose window has passed is occupied, not invoked", () => {
    const operation = { ...uninvoked, startBefore: NOW };
    expect(decideWith({ operation })).toEqual({
      kind: "stop",
      phase: "occupy_or_cancel",
      reason: "start_window_passed",
    });
  });

  test("an operation of an older generation is occupied, because it may have been invoked all the same", () => {
    const tenant = tenantWith({ generation: 2 });
    expect(decideWith({ tenant, operation: uninvoked })).toMatchObject({
      kind: "stop",
      reason: "superseded",
    });
  });
});

describe("in flight", () => {
  const tenant = tenantWith({ status: "provisioning" });

  test("an unreachable engine is waited for, and nothing is concluded", () => {
    for (const execution of [null, executionWith({ state: "unreachable", subState: null })]) {
      expect(decideWith({ tenant, operation: operationWith(), execution })).toMatchObject({
        kind: "wait",
        reason: "engine_unreachable",
        progress: null,
      });
    }
  });

  test("an unknown execution is not ended: first it gets time to appear, then its id is occupied", () => {
    const execution = executionWith({ state: "unknown", subState: null });
    expect(decideWith({ tenant, operation: operationWith(), execution })).toMatchObject({
      kind: "wait",
      dueAt: at(4_500),
    });
    const old = operationWith({ invokedAt: at(-5_000) });
    expect(decideWith({ tenant, operation: old, execution })).toEqual({
      kind: "stop",
      phase: "occupy_or_cancel",
      reason: "execution_lost",
    });
  });

  test("polling slows with age, between its bounds", () => {
    const due = (ageMs: number): number => {
      const decision = decideWith({
        tenant,
        operation: operationWith({ invokedAt: at(-ageMs) }),
        execution: executionWith(),
      });
      return decision.kind === "wait" ? decision.dueAt.getTime() - NOW.getTime() : -1;
    };
    expect([0, 4_000, 20_000, 120_000, 9_000_000].map(due)).toEqual([1_000, 1_000, 5_000, 30_000, 30_000]);
  });

  test("a newer generation lets work go on that makes progress, and stops work that only waits", () => {
    const newer = tenantWith({ status: "updating", generation: 2, observedGeneration: 1 });
    const operation = operationWith({ kind: "update" });
    const kinds = (["running", "waiting", "backing-off", "error"] as const).map(
      (subState) => decideWith({ tenant: newer, operation, execution: executionWith({ subState }) }).kind,
    );
    expect(kinds).toEqual(["wait", "stop", "stop", "stop"]);
  });

  test.each(["archived", "deleted"] as const)(
    "intent %s stops a create, but not a delete that makes progress",
    (intent) => {
      const unwanted = tenantWith({ status: "deleting", intent, generation: 2 });
      const execution = executionWith();
      expect(decideWith({ tenant: unwanted, operation: operationWith(), execution }).kind).toBe("stop");
      expect(
        decideWith({ tenant: unwanted, operation: operationWith({ kind: "delete" }), execution }).kind,
      ).toBe("wait");
    },
  );
});

describe("a stop", () => {
  const tenant = tenantWith({ status: "deleting", intent: "deleted", generation: 2 });
  const stopping = operationWith({
    stopPhase: "occupy_or_cancel",
    stopRequestedAt: at(-1_000),
    stopReason: "superseded",
  });

  test("waits for the cancelled execution, then kills it", () => {
    expect(decideWith({ tenant, operation: stopping, execution: executionWith() })).toMatchObject({
      kind: "wait",
      dueAt: at(1_000),
    });
    const late = { ...stopping, stopRequestedAt: at(-5_000) };
    expect(decideWith({ tenant, operation: late, execution: executionWith() })).toEqual({
      kind: "stop",
      phase: "kill",
      reason: "superseded",
    });
  });

  test("occupies again when the first call was lost", () => {
    const execution = executionWith({ state: "unknown", subState: null });
    expect(decideWith({ tenant, operation: stopping, execution })).toMatchObject({
      kind: "stop",
      phase: "occupy_or_cancel",
    });
  });

  test("ends the operation once the execution has ended, without a failure of the tenant", () => {
    const execution = executionWith({
      state: "failed",
      subState: "failed",
      error: { code: "execution_failed", message: "Cancelled" },
    });
    const decision = finished(decideWith({ tenant, operation: stopping, execution }));
    expect(decision.outcome).toBe("superseded");
    expect(decision.change).toMatchObject({
      status: "deleting",
      attempts: 0,
      nextAttemptAt: null,
      lastError: null,
    });
  });

  test("of an occupied id ends as lost or superseded, and the next attempt may start at once", () => {
    const execution = executionWith({
      state: "succeeded",
      report: reportWith({ outcome: "void", tenantId: "" }),
    });
    expect(finished(decideWith({ tenant, operation: stopping, execution })).outcome).toBe("superseded");
    const lost = { ...stopping, stopReason: "execution_lost" };
    const decision = finished(
      decideWith({ operation: lost, execution, tenant: tenantWith({ status: "provisioning" }) }),
    );
    expect(decision).toMatchObject({ outcome: "lost", change: { attempts: 0, nextAttemptAt: null } });
  });
});

describe("a result", () => {
  const tenant = tenantWith({ status: "provisioning" });
  const succeeded = (change: Parameters<typeof reportWith>[0] = {}): ReturnType<typeof executionWith> =>
    executionWith({ state: "succeeded", subState: "succeeded", report: reportWith(change) });

  test("healthy at the present generation makes the tenant ready", () => {
    const decision = finished(decideWith({ tenant, operation: operationWith(), execution: succeeded() }));
    expect(decision).toMatchObject({
      outcome: "succeeded",
      change: {
        status: "ready",
        observedGeneration: 1,
        observed: { health: "healthy", scopes: ["process:host:1"] },
      },
    });
  });

  test.each([
    ["another tenant", { tenantId: "99999999-9999-4999-8999-999999999999" }],
    ["another generation", { generation: 7 }],
    ["another config", { configHash: "hash-2" }],
  ])("that echoes %s is not used", (_, change) => {
    const decision = finished(
      decideWith({ tenant, operation: operationWith(), execution: succeeded(change) }),
    );
    expect(decision).toMatchObject({
      outcome: "ignored",
      error: { code: "result_mismatch" },
      change: { status: "provisioning", observedGeneration: 0 },
    });
  });

  test("that is unhealthy is no success", () => {
    const decision = finished(
      decideWith({ tenant, operation: operationWith(), execution: succeeded({ health: "starting" }) }),
    );
    expect(decision).toMatchObject({
      outcome: "failed",
      error: { code: "unproven_success" },
      change: { status: "provisioning", attempts: 1 },
    });
  });

  test("that nobody understands is a failed attempt", () => {
    const execution = executionWith({ state: "succeeded", report: null });
    expect(finished(decideWith({ tenant, operation: operationWith(), execution }))).toMatchObject({
      error: { code: "invalid_result" },
    });
  });

  test("of an older generation is recorded, and never called ready", () => {
    const newer = tenantWith({ status: "provisioning", generation: 3 });
    const decision = finished(
      decideWith({ tenant: newer, operation: operationWith(), execution: succeeded() }),
    );
    expect(decision.change).toMatchObject({
      status: "updating",
      observedGeneration: 1,
      reason: "superseded",
    });
  });

  test("rejected fails the tenant with the reason", () => {
    const execution = succeeded({
      outcome: "rejected",
      error: { code: "invalid_image", message: "no such image" },
    });
    const decision = finished(decideWith({ tenant, operation: operationWith(), execution }));
    expect(decision).toMatchObject({
      outcome: "rejected",
      change: { status: "failed", reason: "invalid_image", message: "no such image", observedGeneration: 0 },
    });
  });

  test("rejected at an older generation does not fail the tenant", () => {
    const newer = tenantWith({ status: "provisioning", generation: 2 });
    const execution = succeeded({
      outcome: "rejected",
      error: { code: "invalid_image", message: "no such image" },
    });
    const decision = finished(decideWith({ tenant: newer, operation: operationWith(), execution }));
    expect(decision.change).toMatchObject({ status: "provisioning", attempts: 0, nextAttemptAt: null });
  });

  test("rejected never fails a delete: it is tried again", () => {
    const deleting = tenantWith({ status: "deleting", intent: "deleted" });
    const execution = succeeded({ outcome: "rejected", error: { code: "denied", message: "no permission" } });
    const decision = finished(
      decideWith({ tenant: deleting, operation: operationWith({ kind: "delete" }), execution }),
    );
    expect(decision.change).toMatchObject({ status: "deleting", attempts: 1, nextAttemptAt: at(500) });
  });

  test("gave_up and a failed execution back off, longer each time, and name the error", () => {
    const execution = succeeded({
      outcome: "gave_up",
      error: { code: "health_deadline", message: "never healthy" },
    });
    const third = tenantWith({ status: "provisioning", attempts: 2 });
    expect(
      finished(decideWith({ tenant: third, operation: operationWith(), execution })).change,
    ).toMatchObject({
      attempts: 3,
      nextAttemptAt: at(2_000),
      lastError: { code: "health_deadline", message: "never healthy" },
    });
    const failed = executionWith({
      state: "failed",
      subState: "failed",
      error: { code: "execution_failed", message: "boom" },
    });
    expect(
      finished(decideWith({ tenant, operation: operationWith(), execution: failed })).change.attempts,
    ).toBe(1);
  });

  test("expired is tried again after a backoff, and names the clocks: a wrong one would repeat it for ever", () => {
    const execution = succeeded({ outcome: "expired" });
    const decision = finished(decideWith({ tenant, operation: operationWith(), execution }));
    expect(decision).toMatchObject({
      outcome: "expired",
      error: { code: "start_window_passed" },
      change: { attempts: 1, nextAttemptAt: at(500), status: "provisioning" },
    });
  });

  test("stale raises the generation above what serves", () => {
    const execution = succeeded({
      outcome: "gave_up",
      error: { code: "stale_generation", message: "" },
      staleGeneration: 9,
    });
    expect(finished(decideWith({ tenant, operation: operationWith(), execution }))).toMatchObject({
      outcome: "stale",
      change: { generation: 10, reason: "generation_recovered", attempts: 1, nextAttemptAt: at(500) },
    });
  });

  test("past the deadline keeps retrying, or fails if so configured", () => {
    const late = tenantWith({ status: "provisioning", generationAt: at(-SETTINGS.operationDeadlineMs) });
    const execution = succeeded({ outcome: "gave_up", error: { code: "x", message: "why" } });
    const facts = { tenant: late, operation: operationWith(), execution };
    expect(finished(decideWith(facts)).change.status).toBe("provisioning");
    expect(finished(decideWith(facts, { ...SETTINGS, onDeadline: "fail" })).change).toMatchObject({
      status: "failed",
      reason: "deadline_exceeded",
    });
  });
});

describe("the result of a delete", () => {
  const absent = executionWith({
    state: "succeeded",
    report: reportWith({ health: "absent", absentObservations: 2 }),
  });
  const operation = operationWith({ kind: "delete" });

  test("removes a deleted tenant", () => {
    const tenant = tenantWith({ status: "deleting", intent: "deleted" });
    expect(decideWith({ tenant, operation, execution: absent })).toEqual({ kind: "remove" });
  });

  test("archives an archived one", () => {
    const tenant = tenantWith({
      status: "archiving",
      intent: "archived",
      observed: { ...tenantWith().observed, scopes: ["a"] },
    });
    expect(finished(decideWith({ tenant, operation, execution: absent })).change).toMatchObject({
      status: "archived",
      observedGeneration: 1,
      observed: { scopes: [], endpoints: [], health: "absent" },
    });
  });

  test.each([
    ["seen absent once", { absentObservations: 1 }],
    ["seen present", { health: "healthy", absentObservations: 2 }],
    ["not seen at all", { health: "unknown", absentObservations: 2 }],
  ] as const)("%s proves nothing", (_, change) => {
    const tenant = tenantWith({ status: "deleting", intent: "deleted" });
    const execution = executionWith({
      state: "succeeded",
      report: reportWith({ health: "absent", ...change }),
    });
    expect(finished(decideWith({ tenant, operation, execution }))).toMatchObject({
      outcome: "failed",
      change: { status: "deleting" },
    });
  });

  test("of an archive that was overtaken by a delete does not remove the tenant", () => {
    const tenant = tenantWith({ status: "deleting", intent: "deleted", generation: 2 });
    expect(finished(decideWith({ tenant, operation, execution: absent })).change.status).toBe("deleting");
  });

  test("of an archive that was overtaken by a restore leads to a create", () => {
    const tenant = tenantWith({ status: "archiving", intent: "present", generation: 2 });
    expect(finished(decideWith({ tenant, operation, execution: absent })).change.status).toBe("requested");
  });
});
