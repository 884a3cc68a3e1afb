/** Networks: one of the operator's for all tenants, or one for each. */
import type { Owner } from "../provider.ts";
import { networkModeOf } from "./container-body.ts";
import type { EngineConfig } from "./engine-config.ts";
import type { Engine } from "./engine.ts";
import { networkNameOf, ownerFilter, ownerLabels, tenantBase } from "./ownership.ts";
import type { DockerConfig } from "./tenant-config.ts";
import type { TenantKeys } from "./tenant-state.ts";

/** Makes the network that the container will join, if it is one that this provider makes. */
export async function ensureNetwork(
  engine: Engine,
  tenant: TenantKeys,
  owner: Owner,
  {
    config,
    settings,
    signal,
  }: { readonly config: DockerConfig; readonly settings: EngineConfig; readonly signal: AbortSignal },
): Promise<void> {
  const base = tenantBase(tenant.prefix, owner);
  const name = networkModeOf(config, settings, base);
  const isOwn = name === networkNameOf(base);
  if (!isOwn && name !== settings.networkName) return;
  if (await engine.hasNetwork(name, signal)) return;
  const labels = { [tenant.keys.role]: "network", ...(isOwn && ownerLabels(tenant.keys, owner)) };
  // Names of networks are not unique at a daemon by themselves.
  await engine.createNetwork(
    { Name: name, CheckDuplicate: true, Driver: settings.networkDriver, Labels: labels },
    signal,
  );
}

/** The ids of the tenant's own networks. */
export async function networksOf(
  engine: Engine,
  tenant: TenantKeys,
  owner: Owner,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const networks = await engine.networks(ownerFilter(tenant.keys, owner, "network"), signal);
  return networks.map(({ Id }) => Id);
}

export async function removeNetworks(
  engine: Engine,
  tenant: TenantKeys,
  owner: Owner,
  signal: AbortSignal,
): Promise<void> {
  for (const id of await networksOf(engine, tenant, owner, signal)) await engine.removeNetwork(id, signal);
}
