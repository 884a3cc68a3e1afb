/** What there is of a tenant at the daemon, and which of it counts. */
import type Docker from "dockerode";
import type { ComputeSpec, Owner } from "../provider.ts";
import type { Engine } from "./engine.ts";
import {
  compareFences,
  type Fence,
  type LabelKeys,
  ownerFilter,
  parseContainerName,
  parseFenceName,
  tenantBase,
} from "./ownership.ts";

export interface OwnContainer {
  readonly id: string;
  readonly name: string;
  readonly generation: number;
  readonly configHash: string;
  /** Docker's word: created, running, paused, restarting, removing, exited, dead. */
  readonly state: string;
  /** Null for a container that was not replaced. */
  readonly retiredUntilSeconds: number | null;
  /** The container's label; parsed only where it is needed. */
  readonly config: string | undefined;
}

export interface TenantState {
  /** Those that were not replaced, lowest generation first. */
  readonly containers: readonly OwnContainer[];
  readonly retired: readonly OwnContainer[];
  /** The highest fence, or null. */
  readonly fence: Fence | null;
  readonly lowerFences: readonly string[];
}

/** Everything that identifies a tenant at the daemon. */
export interface TenantKeys {
  readonly keys: LabelKeys;
  readonly prefix: string;
}

/** The container as one of the tenant's, or null when its name says that it is none. */
export function ownContainer(
  { keys, prefix }: TenantKeys,
  owner: Owner,
  info: Docker.ContainerInfo,
): OwnContainer | null {
  // Links give a container more names, with a further slash.
  const name = info.Names.map((each) => each.slice(1)).find((each) => !each.includes("/")) ?? "";
  // Labels alone prove nothing: an image made from a tenant's container hands them on to whatever is run from it.
  const parsed = parseContainerName(tenantBase(prefix, owner), name);
  if (parsed === null) return null;
  return {
    id: info.Id,
    name,
    ...parsed,
    configHash: info.Labels[keys.configHash] ?? "",
    state: info.State,
    config: info.Labels[keys.config],
  };
}

export async function listOwnContainers(
  engine: Engine,
  tenant: TenantKeys,
  owner: Owner,
  signal: AbortSignal,
): Promise<readonly OwnContainer[]> {
  const infos = await engine.containers(ownerFilter(tenant.keys, owner), { all: true, signal });
  return infos.flatMap((info) => ownContainer(tenant, owner, info) ?? []);
}

/**
 * Looks at containers first and at fences after them. The order matters: a container that is in the answer existed
 * before the fences were read, so whoever wrote a later fence finds that container in its own list.
 */
export async function lookAtTenant(
  engine: Engine,
  tenant: TenantKeys,
  owner: Owner,
  signal: AbortSignal,
): Promise<TenantState> {
  const all = await listOwnContainers(engine, tenant, owner, signal);
  const base = tenantBase(tenant.prefix, owner);
  const volumes = await engine.volumes(ownerFilter(tenant.keys, owner, "fence"), signal);
  const fences = volumes
    .flatMap(({ Name, Labels }) => {
      const parsed = parseFenceName(base, Name);
      return parsed === null
        ? []
        : [{ ...parsed, name: Name, configHash: Labels?.[tenant.keys.configHash] ?? "" }];
    })
    .sort(compareFences);
  return {
    ...sortContainers(all),
    fence: fences.at(-1) ?? null,
    lowerFences: fences.slice(0, -1).map(({ name }) => name),
  };
}

export function sortContainers(all: readonly OwnContainer[]): Pick<TenantState, "containers" | "retired"> {
  const sorted = [...all].sort((a, b) => a.generation - b.generation);
  return {
    containers: sorted.filter(({ retiredUntilSeconds }) => retiredUntilSeconds === null),
    retired: sorted.filter(({ retiredUntilSeconds }) => retiredUntilSeconds !== null),
  };
}

/** The generation that makes a spec stale, or null when it may be applied. */
export function generationBeyond(
  { containers, retired, fence }: TenantState,
  spec: Pick<ComputeSpec, "generation" | "configHash">,
): number | null {
  const highest = Math.max(
    0,
    ...[...containers, ...retired].map(({ generation }) => generation),
    fence?.generation ?? 0,
  );
  if (highest > spec.generation) return highest;
  const ofOther = containers.some(
    ({ generation, configHash }) => generation === spec.generation && configHash !== spec.configHash,
  );
  const isFenced =
    fence?.generation === spec.generation &&
    (fence.kind === "destroyed" || fence.configHash !== spec.configHash);
  // A retired container of this very generation: a higher one was healthy already.
  const isRetired = retired.some(({ generation }) => generation === spec.generation);
  return ofOther || isFenced || isRetired ? spec.generation : null;
}

/** What serves while a new generation starts: of those that were never replaced, the lowest that runs. */
export function predecessorOf(
  { containers }: Pick<TenantState, "containers">,
  generation: number,
): OwnContainer | null {
  // A generation that was healthy has retired all below it, so what is above the lowest never was.
  return containers.find((each) => each.generation < generation && isUp(each)) ?? null;
}

export function isUp({ state }: OwnContainer): boolean {
  return state === "running" || state === "restarting" || state === "paused";
}
