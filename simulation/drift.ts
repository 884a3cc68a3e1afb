/** Compute that is lost, ends, breaks, is changed or comes back without anybody of ours. */
import { SOUND } from "./compute.ts";
import type { Database } from "./database.ts";
import type { DriftKind } from "./faults.ts";
import type { Random } from "./random.ts";
import { nameOf, type Host, type World } from "./world.ts";

/** False when there is nothing that this could happen to. */
export function disturbCompute(kind: DriftKind, world: World, database: Database, random: Random): boolean {
  const host = random.pick(world.hosts);
  if (kind === "compute_strayed") return bringBack(host, database, random);
  const resources = [...host.resources.values()];
  if (resources.length === 0) return false;
  const resource = random.pick(resources);
  switch (kind) {
    case "compute_lost":
      host.resources.delete(resource.name);
      return true;
    case "compute_exited":
      resource.state = random.pick(["exited", "ended"]);
      return true;
    case "compute_broken":
      resource.state = "broken";
      return true;
    case "compute_changed":
      host.resources.set(resource.name, {
        ...resource,
        configHash: "changed-from-outside",
        isUnlabelled: random.chance(0.5),
      });
      return true;
  }
}

/** What had been removed runs again: somebody started a copy, or an effect came later than any fence was kept. */
function bringBack(host: Host, database: Database, random: Random): boolean {
  const { transitions, tenants } = database.tables;
  const gone = [...transitions.values()].filter(({ tenantId, toStatus }) => {
    const present = tenants.get(tenantId)?.tenant;
    return present === undefined
      ? toStatus === null
      : toStatus === "archived" && present.status === "archived";
  });
  if (gone.length === 0) return false;
  const { tenantId, generation } = random.pick(gone);
  const name = nameOf({ tenantId, generation });
  host.resources.set(name, {
    name,
    scope: host.scope,
    tenantId,
    generation,
    configHash: "stray",
    config: {},
    healthyAtMs: 0,
    ...SOUND,
    isStray: true,
  });
  return true;
}
