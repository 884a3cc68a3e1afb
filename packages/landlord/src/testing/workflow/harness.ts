/** What a workflow engine brings to the kit: both sides of its port. */
import type { ConformanceHarness } from "../behaviour.ts";
import type { Faults } from "../faults.ts";
import type { WorkerContext } from "../../worker/worker-context.ts";
import type { WorkflowWorkerEngine } from "../../worker/engine.ts";
import type { WorkflowProvider } from "../../workflow/provider.ts";

/** An engine for one behaviour: nothing of another is seen in it. */
export interface WorkflowHarness extends ConformanceHarness {
  /** A provider as another server would have it. Its calls go through `faults`. */
  open(faults: Faults): Promise<WorkflowProvider>;
  /** A provider that cannot reach the engine. */
  openUnreachable(): Promise<WorkflowProvider>;
  /** A worker, started and registered, that shares nothing with others but the engine. */
  startWorker(context: WorkerContext): Promise<WorkerUnderTest>;
  /** The longest time that a job of a few steps takes, in ms. */
  readonly jobTimeoutMs: number;
  /** The longest time until the engine gives a dead worker's job to another, in ms. */
  readonly takeOverTimeoutMs: number;
}

export interface WorkerUnderTest {
  readonly engine: WorkflowWorkerEngine;
  /** Ends it as SIGKILL would: from now on the engine hears nothing of it. */
  kill(): Promise<void>;
}
