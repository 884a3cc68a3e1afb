/** The conformance kit of workflow engines: provider and worker engine together, as they are used. */
import type { Behaviour } from "../behaviour.ts";
import type { WorkflowHarness } from "./harness.ts";
import { runningBehaviours } from "./running.ts";
import { stoppingBehaviours } from "./stopping.ts";

export const workflowBehaviours: readonly Behaviour<WorkflowHarness>[] = [
  ...runningBehaviours,
  ...stoppingBehaviours,
];
