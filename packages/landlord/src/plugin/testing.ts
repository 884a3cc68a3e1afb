/**
 * `landlord/testing`: the conformance kits, for authors of providers. A kit is a list of behaviours; a harness brings a
 * provider and a backend to try them on. See docs/write-a-provider.md.
 */
export {
  conformanceCases,
  conformanceTable,
  runConformance,
  type Behaviour,
  type ConformanceCase,
  type ConformanceHarness,
  type ConformanceResult,
  type ConformanceSubject,
  type Gaps,
} from "../testing/behaviour.ts";
export { CallLostError, Faults, type FaultPlan } from "../testing/faults.ts";
export {
  startFaultProxy,
  type FaultProxy,
  type FaultProxyOptions,
  type ProxiedRequest,
} from "../testing/fault-proxy.ts";
export type { ComputeHarness } from "../testing/compute/harness.ts";
export { computeBehaviours } from "../testing/compute/kit.ts";
export type { WorkerUnderTest, WorkflowHarness } from "../testing/workflow/harness.ts";
export { workflowBehaviours } from "../testing/workflow/kit.ts";
export {
  healthyObservation,
  scriptedCompute,
  transient,
  type ScriptedCompute,
} from "../testing/workflow/scripted-compute.ts";
export type { StoreHarness } from "../testing/store/harness.ts";
export { storeBehaviours } from "../testing/store/kit.ts";
