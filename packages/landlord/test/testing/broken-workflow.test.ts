/** The workflow kit is worth something only if it fails what is broken. */
import { randomUUID } from "node:crypto";
import { describe, expect, test } from "vitest";
import { conformanceCases, runConformance, workflowBehaviours } from "../../src/plugin/testing.ts";
import type { WorkflowProvider, WorkflowStatus } from "../../src/workflow/provider.ts";
import { openMockEngineHarness } from "../conformance/harnesses/mock-workflow.ts";

type Wrap = (provider: WorkflowProvider) => WorkflowProvider;

const withStatuses =
  (change: (status: WorkflowStatus, index: number, all: readonly WorkflowStatus[]) => WorkflowStatus): Wrap =>
  (provider) => ({
    ...provider,
    getWorkflowStatus: async (params) => (await provider.getWorkflowStatus(params)).map(change),
  });

const ended = (executionId: string): WorkflowStatus => ({
  executionId,
  state: "failed",
  subState: "failed",
  retryCount: 0,
  nextRetryAt: null,
  error: { code: "execution_failed", message: "gone" },
  output: null,
});

/** A flaw, what it does to a sound provider, and the behaviours that must not survive it. */
const FLAWS: readonly (readonly [string, Wrap, readonly string[]])[] = [
  [
    "runs every invoke",
    (provider) => ({
      ...provider,
      invoke: async ({ request, ...rest }) => {
        await provider.invoke({ ...rest, request: { ...request, execution_id: randomUUID() } });
        return provider.invoke({ ...rest, request });
      },
    }),
    ["idempotent-invoke", "lost-answer", "duplicate-call"],
  ],
  [
    "takes unknown executions for ended",
    withStatuses((status) => (status.state === "unknown" ? ended(status.executionId) : status)),
    ["unknown-execution", "batch-status"],
  ],
  [
    "does not occupy",
    (provider) => ({
      ...provider,
      stop: async (params) => {
        const { executionId } = params.execution;
        const [known] = await provider.getWorkflowStatus({ ...params, executions: [params.execution] });
        if (known?.state !== "unknown") return provider.stop(params);
        return { executionId, handle: executionId, alreadyExisted: false };
      },
    }),
    ["stop-occupies"],
  ],
  [
    "takes an engine that is out of reach for executions that failed",
    (provider) => ({
      ...provider,
      getWorkflowStatus: ({ executions, signal }) =>
        provider
          .getWorkflowStatus({ executions, signal })
          .catch(() => executions.map(({ executionId }) => ended(executionId))),
    }),
    ["unreachable"],
  ],
  [
    "hides retries",
    withStatuses((status) => ({ ...status, retryCount: 0, error: null })),
    ["retries-visible"],
  ],
  [
    "answers batches in another order",
    withStatuses((_status, index, all) => all[all.length - 1 - index] as WorkflowStatus),
    ["batch-status"],
  ],
  [
    "loses results",
    withStatuses((status) => ({ ...status, output: null })),
    ["runs-jobs", "stop-after-the-end"],
  ],
  [
    "stops nothing",
    (provider) => ({
      ...provider,
      stop: ({ execution: { executionId } }) =>
        Promise.resolve({ executionId, handle: executionId, alreadyExisted: true }),
    }),
    ["stop-running", "stop-backing-off", "stop-occupies"],
  ],
];

async function failuresOf(wrap: Wrap | undefined): Promise<readonly string[]> {
  const subject = {
    name: "mock",
    open: () =>
      Promise.resolve({ ...openMockEngineHarness(wrap), jobTimeoutMs: 600, takeOverTimeoutMs: 600 }),
  };
  const results = await runConformance(conformanceCases(workflowBehaviours, subject));
  return results.filter(({ verdict }) => verdict === "FAIL").map(({ behaviour }) => behaviour);
}

describe("the workflow kit", () => {
  test("passes the same provider without a flaw", async () => {
    expect(await failuresOf(undefined)).toEqual([]);
  });

  test.each(FLAWS)("fails a provider that %s", async (_flaw, wrap, behaviours) => {
    expect(await failuresOf(wrap)).toEqual(expect.arrayContaining([...behaviours]));
  });
});
