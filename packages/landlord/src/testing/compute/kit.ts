/** The conformance kit of compute providers: what docs and DESIGN promise of them, tried on a real one. */
import type { Behaviour } from "../behaviour.ts";
import { failureBehaviours } from "./failures.ts";
import type { ComputeHarness } from "./harness.ts";
import { lifecycleBehaviours } from "./lifecycle.ts";
import { safetyBehaviours } from "./safety.ts";

export const computeBehaviours: readonly Behaviour<ComputeHarness>[] = [
  ...lifecycleBehaviours,
  ...safetyBehaviours,
  ...failureBehaviours,
];
