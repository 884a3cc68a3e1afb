/** The simulation's store: what the simulation proves counts only as far as it behaves like the real one. */
import { createDatabase, type Database } from "../../../../../simulation/database.ts";
import {
  createSimulatedStore,
  databaseUnavailable,
  type Statement,
} from "../../../../../simulation/store.ts";
import type { ConformanceSubject, StoreHarness } from "../../../src/plugin/testing.ts";
import type { Store } from "../../../src/store/store.ts";

const EPOCH_MS = Date.UTC(2030, 0, 1);

/** Statements arrive and answer at once; `isLost` drops the answer. */
function open(database: Database, isLost: (statement: string) => boolean = () => false): Store {
  const statement: Statement = async (name, perform) => {
    await Promise.resolve();
    const answer = await perform();
    if (isLost(name)) throw databaseUnavailable("the answer was lost");
    return answer;
  };
  return createSimulatedStore(database, statement, "conformance");
}

function openSimulatedHarness(): StoreHarness {
  let nowMs = EPOCH_MS;
  const database = createDatabase(() => nowMs, crypto.randomUUID());
  return {
    open: () => Promise.resolve(open(database)),
    openLosingAnswer() {
      let left = 1;
      return Promise.resolve(open(database, (name) => name === "commit" && left-- > 0));
    },
    // A simulated clock may jump.
    pass(durationMs) {
      nowMs += durationMs;
      return Promise.resolve();
    },
    close: () => Promise.resolve(),
  };
}

export const simulatedStore: ConformanceSubject<StoreHarness> = {
  name: "simulated",
  open: () => Promise.resolve(openSimulatedHarness()),
};
