/**
 * Reality: what runs where, and the fences kept beside it. One host is one scope. Everything here happens under the
 * host's lock at one moment; what takes time (stopping, starting) is several moments, and each checks the fence again.
 */
import type { ComputeSpec, Owner } from "../packages/landlord/src/compute/provider.ts";
import type { JsonObject } from "../packages/landlord/src/domain/json.ts";

export interface Resource {
  readonly name: string;
  readonly scope: string;
  readonly tenantId: string;
  readonly generation: number;
  readonly configHash: string;
  readonly config: JsonObject;
  readonly healthyAtMs: number;
  /** `broken`: it runs and does not work. `exited`: it ended by itself; `ended`: and nothing is left but the memory of it. */
  state: "running" | "broken" | "exited" | "ended";
  /** Nobody of ours started it: it came back by a hand from outside. */
  readonly isStray: boolean;
  /** Somebody took its labels away. */
  readonly isUnlabelled: boolean;
}

export interface Fence {
  readonly generation: number;
  readonly kind: "apply" | "destroy";
  readonly configHash: string;
  readonly raisedMs: number;
}

export interface Host {
  readonly scope: string;
  /** By name; a name derives from tenant and generation. */
  readonly resources: Map<string, Resource>;
  readonly fences: Map<string, Fence>;
}

export interface WorldWatcher {
  started(host: Host, resource: Resource): void;
}

export interface World {
  readonly hosts: readonly Host[];
  host(scope: string): Host;
  /** Everything of a tenant that was started for it, wherever it is. */
  resourcesOf(tenantId: string): readonly Resource[];
  /** The fence that forbids this, or null. Raises the fence otherwise. */
  raise(host: Host, owner: Owner, fence: Omit<Fence, "raisedMs">): Fence | null;
  start(host: Host, resource: Resource): void;
  /** A healthy resource was seen: tenant, generation and hash are remembered for good. */
  see(resource: Resource): void;
  wasHealthy(tenantId: string, generation: number, configHash: string): boolean;
  /** Removes fences that are older than this. */
  forgetFences(ageMs: number): void;
}

export function createWorld(scopes: readonly string[], nowMs: () => number, watcher: WorldWatcher): World {
  const hosts: readonly Host[] = scopes.map((scope) => ({ scope, resources: new Map(), fences: new Map() }));
  const seen = new Set<string>();
  const keyOf = (tenantId: string, generation: number, configHash: string): string =>
    `${tenantId}/${generation}/${configHash}`;
  return {
    hosts,
    host(scope) {
      const found = hosts.find((host) => host.scope === scope);
      if (found === undefined) throw new Error(`there is no host ${scope}`);
      return found;
    },
    resourcesOf: (tenantId) =>
      hosts.flatMap(({ resources }) =>
        [...resources.values()].filter(
          (each) => each.tenantId === tenantId && !each.isStray && each.state !== "ended",
        ),
      ),
    raise(host, { tenantId }, fence) {
      const present = host.fences.get(tenantId) ?? null;
      if (present !== null && forbids(present, fence)) return present;
      host.fences.set(tenantId, { ...fence, raisedMs: nowMs() });
      return null;
    },
    start(host, resource) {
      host.resources.set(resource.name, resource);
      watcher.started(host, resource);
    },
    see: (resource) => void seen.add(keyOf(resource.tenantId, resource.generation, resource.configHash)),
    wasHealthy: (tenantId, generation, configHash) => seen.has(keyOf(tenantId, generation, configHash)),
    forgetFences(ageMs) {
      for (const { fences } of hosts) {
        for (const [tenantId, { kind, raisedMs }] of fences) {
          if (kind === "destroy" && nowMs() - raisedMs > ageMs) fences.delete(tenantId);
        }
      }
    },
  };
}

/** Stale below what was applied or destroyed; a destroy at the same generation forbids an apply, and not the reverse. */
export function forbids(present: Fence, wanted: Omit<Fence, "raisedMs">): boolean {
  if (present.generation !== wanted.generation) return present.generation > wanted.generation;
  if (wanted.kind === "destroy") return false;
  return present.kind === "destroy" || present.configHash !== wanted.configHash;
}

export function nameOf(spec: Pick<ComputeSpec, "tenantId" | "generation">): string {
  return `${spec.tenantId}-${spec.generation}`;
}
