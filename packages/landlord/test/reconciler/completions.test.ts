import { expect, it } from "vitest";
import { createCompletions } from "../../src/reconciler/completions.ts";
import { nodeRuntime } from "../../src/reconciler/runtime.ts";
import type { WorkflowProvider, WorkflowStatus } from "../../src/workflow/provider.ts";
import { silentLogger } from "../../src/telemetry/logger.ts";

const EXECUTION = { executionId: "e1", handle: "h1", workflowName: "w" };
const ENDED: WorkflowStatus = {
  executionId: "e1",
  state: "succeeded",
  subState: "succeeded",
  retryCount: 0,
  nextRetryAt: null,
  error: null,
  output: null,
};

function watched() {
  const told: string[] = [];
  let end: (status: WorkflowStatus) => void = () => undefined;
  let lose: (error: Error) => void = () => undefined;
  const completions = createCompletions((id) => told.push(id), nodeRuntime, silentLogger);
  const provider = {
    watchCompletion: () =>
      new Promise<WorkflowStatus>((resolve, reject) => {
        end = resolve;
        lose = reject;
      }),
  } as unknown as WorkflowProvider;
  completions.watch(provider, "t1", EXECUTION);
  return { completions, told, end: () => end(ENDED), lose: () => lose(new Error("the line is cut")) };
}

const LONG_MS = 60_000;

it("tells whoever waits, and rings for nobody else", async () => {
  const { completions, told, end } = watched();
  const heard = completions.soon("e1", LONG_MS);
  end();
  expect(await heard).toBe(true);
  expect(completions.take("e1")).toEqual(ENDED);
  expect(told).toEqual([]);
});

it("rings when nobody waits any more", async () => {
  const { completions, told, end } = watched();
  expect(await completions.soon("e1", 5)).toBe(false);
  end();
  await expect.poll(() => told).toEqual(["t1"]);
  expect(await completions.soon("e1", LONG_MS), "what was heard is there at once").toBe(true);
});

it("does not keep a pass waiting for what will not be heard", async () => {
  const { completions, lose } = watched();
  const heard = completions.soon("e1", LONG_MS);
  lose();
  expect(await heard).toBe(false);
  expect(await completions.soon("e1", LONG_MS), "it is not watched any more").toBe(false);
  expect(await completions.soon("unknown", LONG_MS)).toBe(false);
});
