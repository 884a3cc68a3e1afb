/**
 * Fences that outlive containers: empty volumes, named by tenant, generation and kind. With them, nothing up to a
 * destroyed generation is ever started again.
 *
 *   destroy(n)   writes the fence (n, destroyed)  THEN  lists and removes containers up to n
 *   apply(m)     creates its container, stopped   THEN  looks for fences and higher generations, and only then starts
 *
 * Each writes its own mark before it looks for the other's, so of two that race at least one sees the other: either
 * destroy finds the container (a later start of it fails, for it is started by its id), or apply finds the fence and
 * removes what it created. The same holds between apply(m) and apply(n) with n > m, whose mark is (n, applied).
 * A fence is removed only by who saw a higher one.
 */
import type { Owner } from "../provider.ts";
import type { Engine } from "./engine.ts";
import { compareFences, type Fence, fenceName, ownerLabels, tenantBase } from "./ownership.ts";
import type { TenantKeys, TenantState } from "./tenant-state.ts";

/**
 * Writes the fence, and answers the one of that name: another config's, if that came first; null, if a higher one has
 * replaced it already.
 */
export async function writeFence(
  engine: Engine,
  tenant: TenantKeys,
  owner: Owner,
  fence: Fence,
  signal: AbortSignal,
): Promise<Fence | null> {
  const { keys, prefix } = tenant;
  const labels = {
    ...ownerLabels(keys, owner),
    [keys.role]: "fence",
    [keys.generation]: String(fence.generation),
    [keys.configHash]: fence.configHash,
  };
  const name = fenceName(tenantBase(prefix, owner), fence);
  await engine.createVolume(name, labels, signal);
  const volume = await engine.inspectVolume(name, signal);
  return volume === null ? null : { ...fence, configHash: volume.Labels?.[keys.configHash] ?? "" };
}

/** True when there is a fence that is as high as this one. */
export function isFenced(state: TenantState, fence: Pick<Fence, "generation" | "kind">): boolean {
  return state.fence !== null && compareFences(state.fence, fence) >= 0;
}

export async function removeLowerFences(
  engine: Engine,
  state: TenantState,
  signal: AbortSignal,
): Promise<void> {
  for (const name of state.lowerFences) await engine.removeVolume(name, signal);
}
