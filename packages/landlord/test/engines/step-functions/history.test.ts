/** What the history of an execution says, also in the words of the real service that the emulator does not use. */
import type { HistoryEvent } from "@aws-sdk/client-sfn";
import { describe, expect, test } from "vitest";
import { definitionVersion, jobDefinition } from "../../../src/workflow/step-functions/definition.ts";
import { executionFailureText } from "../../../src/workflow/step-functions/failure-text.ts";
import { progressOf } from "../../../src/workflow/step-functions/history.ts";

const START_MS = Date.parse("2026-01-01T12:00:00.000Z");
const now = new Date(START_MS + 60_000);

/** Newest first, a second apart, the newest a second before `now`. */
function history(...oldestFirst: Omit<HistoryEvent, "id" | "timestamp">[]): HistoryEvent[] {
  return oldestFirst
    .toReversed()
    .map((event, index) => ({ ...event, id: 0, timestamp: new Date(now.getTime() - (index + 1) * 1_000) }));
}

const entered = (name: string) => ({
  type: "TaskStateEntered" as const,
  stateEnteredEventDetails: { name },
});
const scheduled = { type: "ActivityScheduled" as const };
const started = { type: "ActivityStarted" as const };
const failed = (error: string, cause: string) => ({
  type: "ActivityFailed" as const,
  activityFailedEventDetails: { error, cause },
});
const timedOut = (error: string) => ({
  type: "ActivityTimedOut" as const,
  activityTimedOutEventDetails: { error },
});

describe("progress", () => {
  test("of a task in hand is running, and waiting in the state that only waits", () => {
    expect(progressOf(history(entered("Run"), scheduled, started), now)).toMatchObject({
      subState: "running",
      retryCount: 0,
      error: null,
    });
    expect(progressOf(history(entered("AwaitHealthy"), scheduled, started), now).subState).toBe("waiting");
  });

  test("after a failure is backing off, at most as long as the state machine waits", () => {
    const once = progressOf(history(entered("Run"), scheduled, started, failed("busy", "try again")), now);
    expect(once).toEqual({
      subState: "backing-off",
      retryCount: 1,
      nextRetryAt: new Date(now.getTime() - 1_000 + 1_000),
      error: { code: "attempt_failed", message: "try again" },
    });
    const attempt = [scheduled, started, failed("busy", "try again")];
    const often = progressOf(
      history(entered("Run"), ...Array.from({ length: 9 }, () => attempt).flat()),
      now,
    );
    expect(often.retryCount).toBe(9);
    expect(often.nextRetryAt).toEqual(new Date(now.getTime() - 1_000 + 10_000));
  });

  test("counts the failures of the state before, and begins its delays anew", () => {
    const attempt = [scheduled, started, failed("busy", "try again")];
    const events = history(
      entered("Run"),
      ...attempt,
      ...attempt,
      ...attempt,
      scheduled,
      started,
      entered("AwaitHealthy"),
      ...attempt,
    );
    const progress = progressOf(events, now);
    expect(progress.retryCount).toBe(4);
    expect(progress.nextRetryAt).toEqual(new Date(now.getTime() - 1_000 + 1_000));
  });

  test("after a heartbeat timeout, which has no cause, still has a sentence", () => {
    const progress = progressOf(
      history(entered("Run"), scheduled, started, timedOut("States.HeartbeatTimeout")),
      now,
    );
    expect(progress.error?.message).toBe("The worker was not heard of in time.");
  });

  test("does not count a task that a stopping worker handed back", () => {
    const events = history(entered("Run"), scheduled, started, failed("Landlord.WorkerStopping", "stops"));
    expect(progressOf(events, now)).toMatchObject({ subState: "running", retryCount: 0, error: null });
  });

  test("of a task that nobody takes is waiting, after a while", () => {
    const events = history(entered("Run"), scheduled);
    expect(progressOf(events, now).subState).toBe("running");
    const later = progressOf(events, new Date(now.getTime() + 5_000));
    expect(later).toMatchObject({ subState: "waiting", error: { code: "no_worker" } });
  });

  test("of an execution that has only begun is running", () => {
    expect(progressOf([], now)).toEqual({
      subState: "running",
      retryCount: 0,
      nextRetryAt: null,
      error: null,
    });
  });
});

test("a failed execution tells the job's own words, or else the engine's", () => {
  expect(executionFailureText("busy", JSON.stringify({ Error: "busy", Cause: "no disk" }))).toBe("no disk");
  expect(executionFailureText("States.Timeout", JSON.stringify({ Error: "States.Timeout" }))).toContain(
    "not heard of",
  );
  expect(executionFailureText("States.Runtime", "The activity does not exist.")).toBe(
    "The activity does not exist.",
  );
  expect(executionFailureText("States.Runtime", undefined)).toBe("States.Runtime");
  expect(executionFailureText(undefined, undefined)).toContain("without a reason");
});

test("a definition knows its version, and one that is not ours has none", () => {
  const definition = jobDefinition({ activityArn: "arn", heartbeatSeconds: 5 });
  expect(definitionVersion(definition)).toBeGreaterThan(0);
  expect(definitionVersion({ Comment: "Somebody else's, definition 9" })).toBe(0);
  expect(definitionVersion(null)).toBe(0);
});

test("an execution stays far below the 25,000 events of its history", () => {
  const { States: states } = jobDefinition({ activityArn: "arn", heartbeatSeconds: 5 }) as unknown as {
    States: Record<string, { Type: string; Retry?: { MaxAttempts: number }[] }>;
  };
  const events = Object.values(states).reduce((sum, { Type, Retry }) => {
    const attempts = 1 + (Retry ?? []).reduce((all, { MaxAttempts }) => all + MaxAttempts, 0);
    return sum + (Type === "Task" ? 2 + 3 * attempts : 2);
  }, 2);
  expect(events).toBeLessThan(1_000);
});
