/** The older surface on top of the port: one test for each row of the table in manager.ts. */
import { beforeEach, describe, expect, test } from "vitest";
import { randomUUID } from "node:crypto";
import { VOID_RESULT, WORKFLOW_NAME, type JobResult } from "../../src/contract/job.ts";
import { createMockEngine, type MockEngine } from "../../src/workflow/mock/mock-engine.ts";
import { createWorkflowManager, type WorkflowManager } from "../../src/workflow/manager.ts";
import { createWorkflowRegistry } from "../../src/workflow/registry.ts";
import { RESTATE_SUB_STATES, LEGACY_STATES } from "../../src/workflow/sub-state.ts";
import { SUB_STATES } from "../../src/domain/tenant.ts";
import { provisionRequest, signal } from "../support/restate.ts";

let engine: MockEngine;
let manager: WorkflowManager;
let runJob: () => Promise<JobResult>;

beforeEach(() => {
  engine = createMockEngine({ maxAttempts: 1 });
  runJob = () => Promise.resolve({ ...VOID_RESULT, outcome: "succeeded" });
  engine.attachWorker({ runJob: () => runJob(), answerQuery: () => Promise.resolve(null) });
  manager = createWorkflowManager(createWorkflowRegistry([engine.provider]), "mock");
});

const start = (): ReturnType<WorkflowManager["startExecution"]> =>
  manager.startExecution({
    provider: null,
    workflowName: WORKFLOW_NAME,
    input: provisionRequest(),
    signal: signal(),
  });

describe("older call", () => {
  test("createWorkflow ensures the workflow", async () => {
    await manager.createWorkflow({ provider: "mock", workflowName: WORKFLOW_NAME, signal: signal() });
    engine.setDown(true);
    await expect(
      manager.createWorkflow({ provider: "mock", workflowName: WORKFLOW_NAME, signal: signal() }),
    ).rejects.toMatchObject({ code: "engine_unreachable" });
  });

  test("startExecution invokes, idempotently", async () => {
    const input = provisionRequest();
    const params = { provider: null, workflowName: WORKFLOW_NAME, input, signal: signal() };
    expect((await manager.startExecution(params)).alreadyExisted).toBe(false);
    expect((await manager.startExecution(params)).alreadyExisted).toBe(true);
  });

  test("getExecutionStatus is a batch of one, in older words", async () => {
    const execution = await start();
    const reference = { ...execution, workflowName: WORKFLOW_NAME };
    await engine.provider.watchCompletion?.({ execution: reference, signal: signal() });
    expect(
      await manager.getExecutionStatus({ provider: null, execution: reference, signal: signal() }),
    ).toMatchObject({
      executionId: execution.executionId,
      state: "succeeded",
      output: { outcome: "succeeded" },
    });
    const unknown = { executionId: randomUUID(), handle: null, workflowName: WORKFLOW_NAME };
    expect(
      (await manager.getExecutionStatus({ provider: null, execution: unknown, signal: signal() })).state,
    ).toBe("pending");
  });

  test("stopExecution stops", async () => {
    runJob = () => new Promise(() => undefined);
    engine.attachWorker({
      runJob: (_request, control) =>
        new Promise((_, reject) =>
          control.signal.addEventListener("abort", () => reject(new Error("aborted"))),
        ),
      answerQuery: () => Promise.resolve(null),
    });
    const execution = { ...(await start()), workflowName: WORKFLOW_NAME };
    await manager.stopExecution({ provider: null, execution, reason: "enough", signal: signal() });
    await engine.provider.watchCompletion?.({ execution, signal: signal() });
    expect((await manager.getExecutionStatus({ provider: null, execution, signal: signal() })).state).toBe(
      "failed",
    );
  });

  test("deleteWorkflow changes nothing: other tenants run on the same definition", async () => {
    await manager.deleteWorkflow({ provider: null, workflowName: WORKFLOW_NAME });
    await expect(start()).resolves.toMatchObject({ alreadyExisted: false });
  });

  test("validate names what is wrong", () => {
    expect(() => manager.validate({ provider: "temporal", workflowName: WORKFLOW_NAME })).toThrow(
      /no workflow provider "temporal".*Configured are: mock/s,
    );
    expect(() => manager.validate({ provider: null, workflowName: "no spaces" })).toThrow(
      /not a workflow name/,
    );
    manager.validate({ provider: null, workflowName: WORKFLOW_NAME });
  });

  test("postComputeCallback is refused with the way that took its place", () => {
    expect(() => manager.postComputeCallback()).toThrow(/\/v1\/executions\//);
  });
});

test("a registry refuses two of one name, and a manager a default that is not there", () => {
  expect(() => createWorkflowRegistry([engine.provider, engine.provider])).toThrow(/Two workflow providers/);
  expect(() => createWorkflowManager(createWorkflowRegistry([]), "restate")).toThrow(
    /no workflow provider "restate"/,
  );
});

test("every sub-state has an older word, and every engine state a sub-state", () => {
  expect(Object.keys(LEGACY_STATES).sort()).toEqual([...SUB_STATES].sort());
  expect(Object.values(RESTATE_SUB_STATES).every((subState) => SUB_STATES.includes(subState))).toBe(true);
});
