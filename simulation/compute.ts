/**
 * A compute provider over the simulated world, with the fences of the real ones. Every move is a call of its own that
 * may be lost, late or doubled, and what a killed worker had asked for may still happen.
 */
import {
  ComputeError,
  type ApplyResult,
  type ComputeProvider,
  type ComputeRef,
  type ComputeSpec,
  type Observation,
} from "../packages/landlord/src/compute/provider.ts";
import type { JsonObject } from "../packages/landlord/src/domain/json.ts";
import { forbids, nameOf, type Host, type Resource, type World } from "./world.ts";

export const COMPUTE_NAME = "simulated";

/** How a call gets to the host, and its answer back. */
export type HostCall = <T>(
  name: string,
  signal: AbortSignal | null,
  perform: () => T | Promise<T>,
) => Promise<T>;

/** How compute behaves at the moment. */
export interface ComputeConditions {
  nowMs(): number;
  /** Time passes at the host, whatever becomes of the caller. */
  pause(durationMs: number): Promise<void>;
  startMs(): number;
  stopMs(): number;
  healthyAfterMs(): number;
  /** An apply of this tenant fails now, and how. */
  failure(tenantId: string): "retryable" | "terminal" | null;
  /** What the host does not say at the moment. */
  blindness(): "presence" | "health" | null;
}

export interface HostSettings {
  /** Names of resources; derived from tenant and generation unless something is planted. */
  readonly nameOf: typeof nameOf;
  /** False: fences are neither kept nor asked. Only planted bugs say so. */
  readonly hasFences: boolean;
  /** False: what has the right name is taken to be the right thing. Only planted bugs say so. */
  readonly comparesSpecs: boolean;
}

export const HOST_SETTINGS: HostSettings = { nameOf, hasFences: true, comparesSpecs: true };

export function createSimulatedCompute(
  world: World,
  host: Host,
  conditions: ComputeConditions,
  call: HostCall,
  settings: HostSettings = HOST_SETTINGS,
): ComputeProvider {
  const own = (tenantId: string): readonly Resource[] =>
    [...host.resources.values()].filter((resource) => resource.tenantId === tenantId);

  const living = (): readonly Resource[] =>
    [...host.resources.values()].filter(({ state }) => state !== "ended");

  const isHealthy = (resource: Resource): boolean =>
    resource.state === "running" &&
    resource.config["unhealthy"] !== true &&
    conditions.nowMs() >= resource.healthyAtMs;

  function look(ref: ComputeRef): Observation {
    const foreign = ref.scopes.find((scope) => scope !== host.scope);
    if (foreign !== undefined) {
      const message = `This worker cannot see ${foreign}.`;
      return { ...NOTHING, scope: host.scope, presence: "unknown", health: "unknown", message };
    }
    const newest = [...own(ref.tenantId)].sort(byLifeAndGeneration)[0];
    if (newest === undefined) return { ...NOTHING, scope: host.scope };
    const blindness = conditions.blindness();
    if (blindness === "presence") {
      const message = "The host does not say what runs there.";
      return { ...NOTHING, scope: host.scope, presence: "unknown", health: "unknown", message };
    }
    const message = "It ended with exit code 1.";
    if (newest.state === "exited") return { ...seenAs(newest, "exited"), message };
    if (newest.state === "ended") return { ...NOTHING, scope: host.scope, health: "exited", message };
    if (blindness === "health")
      return { ...seenAs(newest, "unknown"), message: "The health check could not be made." };
    const healthy = isHealthy(newest);
    if (healthy) world.see(newest);
    const health = healthy ? "healthy" : conditions.nowMs() < newest.healthyAtMs ? "starting" : "unhealthy";
    return {
      ...seenAs(newest, health),
      message: healthy ? null : "The workload does not answer its health check.",
    };
  }

  function seenAs(newest: Resource, health: Observation["health"]): Observation {
    return {
      presence: "present",
      generation: newest.isUnlabelled ? null : newest.generation,
      configHash: newest.configHash,
      health,
      message: null,
      config: newest.config,
      resourceIds: { simulated: newest.name },
      endpoints: [],
      scope: host.scope,
    };
  }

  /** Stops one after the other; each is gone only when its time is over. */
  async function stop(resources: readonly Resource[]): Promise<void> {
    for (const resource of resources) {
      await conditions.pause(conditions.stopMs());
      host.resources.delete(resource.name);
    }
  }

  function staleFor(spec: ComputeSpec): number | null {
    if (!settings.hasFences) return null;
    const wanted = { generation: spec.generation, kind: "apply", configHash: spec.configHash } as const;
    const present = host.fences.get(spec.tenantId);
    return present !== undefined && forbids(present, wanted) ? present.generation : null;
  }

  /** Refused while anything of an earlier launch lives: stop, then start. */
  async function launch(spec: ComputeSpec): Promise<number | null> {
    const name = settings.nameOf(spec);
    await stop(own(spec.tenantId).filter((each) => each.generation < spec.generation && each.name !== name));
    await conditions.pause(conditions.startMs());
    const stale = staleFor(spec);
    if (stale !== null) return stale;
    const present = host.resources.get(name);
    const isSame =
      !settings.comparesSpecs || (present?.configHash === spec.configHash && !present.isUnlabelled);
    if (present?.state === "running" && isSame) return null;
    host.resources.delete(name);
    if (settings.hasFences && own(spec.tenantId).some((each) => each.name !== name && each.state !== "ended"))
      return null;
    const { tenantId, generation, configHash, config } = spec;
    const healthyAtMs = conditions.nowMs() + conditions.healthyAfterMs();
    world.start(host, {
      name,
      scope: host.scope,
      tenantId,
      generation,
      configHash,
      config,
      healthyAtMs,
      ...SOUND,
    });
    return null;
  }

  return {
    name: COMPUTE_NAME,
    scopeOf: () => Promise.resolve(host.scope),
    observe: (refs, signal) => call("observe", signal, () => refs.map(look)),
    plan: () => Promise.resolve([]),
    async apply(spec, { signal }): Promise<ApplyResult> {
      const stale = await call("begin", signal, () => begin(spec));
      if (stale !== null) return { kind: "stale", generation: stale };
      const ref = { ...spec, scopes: [] };
      const present = await call("look", signal, () => look(ref));
      const hasExited = present.health === "exited";
      const isThere = present.generation === spec.generation && present.configHash === spec.configHash;
      if (!isThere || hasExited || present.health === "unhealthy") {
        const refused = await call("launch", signal, () => launch(spec));
        if (refused !== null) return { kind: "stale", generation: refused };
      }
      if (hasExited) {
        throw new ComputeError("workload_exited", "The workload had ended, and was started again.", {
          retryable: true,
        });
      }
      const observation = await call("look", signal, () => look(ref));
      if (observation.presence === "present" && observation.configHash !== spec.configHash) {
        throw new ComputeError("compute_changed", "Somebody changed it meanwhile.", { retryable: true });
      }
      return { kind: "applied", observation };
    },
    async destroy(ref, { signal }) {
      return call("destroy", signal, async () => {
        const fence = { generation: ref.generation, kind: "destroy", configHash: "-" } as const;
        const higher = settings.hasFences ? world.raise(host, ref, fence) : null;
        if (higher === null)
          await stop(own(ref.tenantId).filter(({ generation }) => generation <= ref.generation));
        return look(ref);
      });
    },
    list: (instanceId, signal) =>
      call("list", signal, () =>
        living().map(({ tenantId, generation, name }) => ({
          instanceId,
          tenantId,
          generation,
          scope: host.scope,
          resourceIds: { simulated: name },
        })),
      ),
    logs: () => Promise.resolve(""),
  };

  /** Raises the fence and says whether it may go on: null, or the generation that reality is at. */
  function begin(spec: ComputeSpec): number | null {
    refuse(spec.config, conditions.failure(spec.tenantId));
    if (!settings.hasFences) return null;
    const wanted = { generation: spec.generation, kind: "apply", configHash: spec.configHash } as const;
    return world.raise(host, spec, wanted)?.generation ?? null;
  }
}

/** As everything is that was just started. */
export const SOUND = { state: "running", isStray: false, isUnlabelled: false } as const;

const NOTHING = {
  presence: "absent",
  generation: null,
  configHash: null,
  health: "absent",
  message: null,
  config: null,
  resourceIds: {},
  endpoints: [],
} as const;

/** What lives comes before the memory of what ended, and the newest first. */
function byLifeAndGeneration(one: Resource, other: Resource): number {
  return Number(one.state === "ended") - Number(other.state === "ended") || other.generation - one.generation;
}

function refuse(config: JsonObject, failure: "retryable" | "terminal" | null): void {
  const kind = failure ?? config["fail"];
  if (kind !== "retryable" && kind !== "terminal") return;
  throw new ComputeError(
    kind === "terminal" ? "quota_exceeded" : "compute_busy",
    kind === "terminal" ? "The account may start no more." : "The host is busy.",
    { retryable: kind === "retryable" },
  );
}

export function computeUnreachable(reason: string): ComputeError {
  return new ComputeError("compute_unreachable", `The host did not answer: ${reason}.`, { retryable: true });
}
