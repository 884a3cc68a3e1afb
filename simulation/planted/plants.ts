/** All planted bugs: each would lose, double, strand or invent something, and each has to be found. */
import type { Plant } from "../planted.ts";
import { RECONCILER_BUGS } from "./reconciler-bugs.ts";
import { STORE_BUGS } from "./store-bugs.ts";
import { WORKER_BUGS } from "./worker-bugs.ts";

export const PLANTS: readonly Plant[] = [...RECONCILER_BUGS, ...STORE_BUGS, ...WORKER_BUGS];

export function findPlant(name: string): Plant {
  const found = PLANTS.find((plant) => plant.name === name);
  if (found !== undefined) return found;
  const names = PLANTS.map((plant) => plant.name).join(", ");
  throw new Error(`there is no planted bug "${name}"; there are ${names}`);
}
