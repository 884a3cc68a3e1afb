/** Step Functions on its emulator. A worker reaches it through a proxy of its own, which is cut to kill the worker. */
import { inject } from "vitest";
import { createStepFunctionsWorkerEngine } from "../../../src/worker/step-functions/step-functions-worker-engine.ts";
import {
  Faults,
  startFaultProxy,
  type ConformanceSubject,
  type WorkflowHarness,
} from "../../../src/plugin/testing.ts";
import { randomPrefix, REGION, stepFunctionsProvider } from "./kit.ts";

/** Everything is a POST; what it does is said in a header. */
const READS = /\.(?:Describe|List|Get)/;

function openStepFunctionsHarness(): Promise<WorkflowHarness> {
  const namePrefix = randomPrefix();
  const closers: (() => Promise<void>)[] = [];
  const openAt = (endpoint: string) => {
    const provider = stepFunctionsProvider(endpoint, namePrefix);
    closers.push(() => provider.close());
    return provider;
  };
  return Promise.resolve({
    async open(faults) {
      const proxy = await startFaultProxy({
        target: inject("stepFunctionsEndpoint"),
        faults,
        isEffect: ({ headers }) => !READS.test(String(headers["x-amz-target"])),
      });
      closers.push(() => proxy.close());
      return openAt(proxy.url);
    },
    openUnreachable: () => Promise.resolve(openAt("http://127.0.0.1:1")),
    async startWorker(context) {
      const proxy = await startFaultProxy({
        target: inject("stepFunctionsEndpoint"),
        faults: new Faults(),
        isEffect: () => false,
      });
      const engine = createStepFunctionsWorkerEngine(
        {
          region: REGION,
          endpoint: proxy.url,
          assumeRole: null,
          namePrefix,
          concurrency: 8,
          pollers: 2,
          queryPollers: 1,
          requestTimeoutMs: 5_000,
          failFast: false,
          drainTimeoutMs: 2_000,
          workerName: null,
        },
        context,
      );
      await engine.start();
      await engine.register(AbortSignal.timeout(30_000));
      closers.push(async () => {
        await engine.stop();
        await proxy.close();
      });
      return { engine, kill: () => proxy.close() };
    },
    jobTimeoutMs: 30_000,
    takeOverTimeoutMs: 60_000,
    async close() {
      for (const close of closers.reverse()) await close();
    },
  });
}

export const stepFunctionsWorkflow: ConformanceSubject<WorkflowHarness> = {
  name: "step-functions",
  gaps: { "watch-completion": "Step Functions pushes nothing that a server could wait for: ends are polled" },
  open: openStepFunctionsHarness,
};
