/** An engine that loses all its data, between a server and a worker that go on. */
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { WORKFLOW_NAME } from "../../../src/contract/job.ts";
import { scriptedCompute } from "../../../src/plugin/testing.ts";
import {
  startStepFunctionsEmulator,
  type StepFunctionsEmulator,
} from "../../support/engines/step-functions-emulator.ts";
import { eventually } from "../../support/eventually.ts";
import { signal, statusOf, untilStatus } from "../../support/restate.ts";
import { invoke, randomPrefix, stepFunctionsProvider, stepFunctionsWorker, stop } from "./kit.ts";

// Of this file's own, because it is killed.
let emulator: StepFunctionsEmulator;
beforeAll(async () => {
  emulator = await startStepFunctionsEmulator();
});
afterAll(() => emulator.stop());

const opened: { close(): Promise<unknown> }[] = [];
afterEach(async () => {
  for (const part of opened.splice(0).reverse()) await part.close();
});

test("an engine that lost all its data: executions are unknown, ids can be occupied, workers come back", async () => {
  const namePrefix = randomPrefix();
  const provider = stepFunctionsProvider(emulator.endpoint, namePrefix);
  const compute = scriptedCompute();
  const worker = stepFunctionsWorker(emulator.endpoint, namePrefix, compute);
  opened.push(provider, { close: () => worker.stop() });
  await worker.start();
  await worker.register(signal());
  const before = await invoke(provider);
  await untilStatus(provider, before, ({ state }) => state === "succeeded", "before");
  const registeredAtMs = worker.status().registeredAt?.getTime() ?? 0;
  await emulator.kill();
  await expect(statusOf(provider, before)).rejects.toMatchObject({ code: "engine_unreachable" });
  await emulator.restart();
  await eventually(() => (worker.status().registeredAt?.getTime() ?? 0) > registeredAtMs, {
    what: "the worker makes its activities again",
  });
  expect((await statusOf(provider, before)).state).toBe("unknown");
  const many = Array<typeof before>(20).fill(before);
  const executions = many.map((each) => ({ ...each, workflowName: WORKFLOW_NAME }));
  const statuses = await provider.getWorkflowStatus({ executions, signal: signal() });
  expect(new Set(statuses.map(({ state }) => state))).toEqual(new Set(["unknown"]));
  expect((await stop(provider, before)).alreadyExisted).toBe(false);
  const after = await untilStatus(
    provider,
    await invoke(provider),
    ({ state }) => state === "succeeded",
    "after",
  );
  expect(after.output?.outcome).toBe("succeeded");
  expect(compute.applied).toHaveLength(2);
});
