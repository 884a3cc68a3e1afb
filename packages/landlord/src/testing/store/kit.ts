/** The conformance kit of stores: the semantics that reconciler and API rely on, whatever keeps them. */
import type { Behaviour } from "../behaviour.ts";
import { clientBehaviours } from "./clients.ts";
import { eventBehaviours } from "./events.ts";
import { fleetBehaviours } from "./fleet.ts";
import type { StoreHarness } from "./harness.ts";
import { selectionBehaviours } from "./selection.ts";
import { reconcilerBehaviours } from "./reconcilers.ts";

export const storeBehaviours: readonly Behaviour<StoreHarness>[] = [
  ...clientBehaviours,
  ...reconcilerBehaviours,
  ...fleetBehaviours,
  ...eventBehaviours,
  ...selectionBehaviours,
];
