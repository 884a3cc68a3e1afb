/** A tenant's containers, as an observation. */
import type Docker from "dockerode";
import type { Observation, Owner } from "../provider.ts";
import { endpointsOf } from "./endpoints.ts";
import { healthOf } from "./health.ts";
import { networksOf } from "./network.ts";
import { configOfLabel } from "./ownership.ts";
import { dockerConfigSchema } from "./tenant-config.ts";
import { type OwnContainer, predecessorOf, sortContainers } from "./tenant-state.ts";
import type { Work } from "./work.ts";

const NOTHING = {
  generation: null,
  configHash: null,
  message: null,
  config: null,
  resourceIds: {},
  endpoints: [],
} as const;

/** Of a tenant that this worker cannot see. */
export function unseen(scope: string, message: string): Observation {
  return { ...NOTHING, presence: "unknown", health: "unknown", message, scope };
}

/**
 * The newest generation that was not replaced, whether it serves already or not. Absent only when nothing is left:
 * no container in any state, and no network.
 */
export async function observeTenant(
  work: Work,
  owner: Owner,
  all: readonly OwnContainer[],
): Promise<Observation> {
  const { scope, clockOffsetMs } = work.daemon;
  const { containers, retired } = sortContainers(all);
  work.retirement.notice(retired, clockOffsetMs);
  for (const own of [...containers].reverse()) {
    const container = await work.engine.inspect(own.id, work.signal);
    // Null: removed since it was listed, and the one below it counts.
    if (container !== null) return observeContainer(work, own, container, containers);
  }
  const last = retired.at(-1);
  if (last !== undefined) {
    return {
      ...NOTHING,
      presence: "present",
      generation: last.generation,
      configHash: last.configHash,
      health: "exited",
      message: `Only a replaced container of generation ${last.generation} is left.`,
      resourceIds: { container: last.id, container_name: last.name },
      scope,
    };
  }
  const [network] = await networksOf(work.engine, work.tenant, owner, work.signal);
  if (network !== undefined) {
    const message = "Only the tenant's network is left.";
    return { ...NOTHING, presence: "present", health: "exited", message, resourceIds: { network }, scope };
  }
  return { ...NOTHING, presence: "absent", health: "absent", scope };
}

async function observeContainer(
  work: Work,
  own: OwnContainer,
  container: Docker.ContainerInspectInfo,
  containers: readonly OwnContainer[],
): Promise<Observation> {
  const config = configOfLabel(own.config, container.Config.Env ?? []);
  const parsed = dockerConfigSchema.safeParse(config);
  const network = Object.entries(container.NetworkSettings.Networks ?? {}).find(([name]) =>
    name.startsWith(work.tenant.prefix),
  );
  const present = {
    presence: "present",
    generation: own.generation,
    configHash: own.configHash,
    config,
    resourceIds: {
      container: own.id,
      container_name: own.name,
      image: container.Image,
      ...(network !== undefined && network[1].NetworkID !== "" && { network: network[1].NetworkID }),
    },
    scope: work.daemon.scope,
  } as const;
  if (!parsed.success) {
    const message = "The labels of this container are damaged: apply a new generation.";
    return { ...present, health: "unhealthy", message, endpoints: [] };
  }
  const { health, message } = await healthOf(container, parsed.data, {
    engine: work.engine,
    settings: work.settings,
    clockOffsetMs: work.daemon.clockOffsetMs,
    signal: work.signal,
  });
  const before = predecessorOf({ containers }, own.generation);
  const goesOn =
    health === "healthy" || before === null
      ? null
      : `Generation ${before.generation} goes on running until it is.`;
  return {
    ...present,
    health,
    message: message === null || goesOn === null ? message : `${message} ${goesOn}`,
    endpoints:
      health === "exited" ? [] : endpointsOf(container, parsed.data, work.settings, work.engine.connection),
  };
}
