/** Networks: one of the operator's for all tenants, or one for each. */
import { ComputeError, type Owner } from "../provider.ts";
import { networkModeOf } from "./container-body.ts";
import type { EngineConfig } from "./engine-config.ts";
import type { Engine } from "./engine.ts";
import { networkNameOf, ownerFilter, ownerLabels, tenantBase } from "./ownership.ts";
import type { DockerConfig } from "./tenant-config.ts";
import type { TenantKeys } from "./tenant-state.ts";

/** Makes the network that the container will join, if it is one that this provider makes. Answers its id, or its mode. */
export async function ensureNetwork(
  engine: Engine,
  tenant: TenantKeys,
  owner: Owner,
  {
    config,
    settings,
    signal,
  }: { readonly config: DockerConfig; readonly settings: EngineConfig; readonly signal: AbortSignal },
): Promise<string> {
  const base = tenantBase(tenant.prefix, owner);
  const name = networkModeOf(config, settings, base);
  const isOwn = name === networkNameOf(base);
  if (!isOwn && name !== settings.networkName) return name;
  const known = await theOneNamed(name, engine, tenant, signal);
  if (known !== null) return known;
  const labels = { [tenant.keys.role]: "network", ...(isOwn && ownerLabels(tenant.keys, owner)) };
  await engine.createNetwork(
    { Name: name, CheckDuplicate: true, Driver: settings.networkDriver, Labels: labels },
    signal,
  );
  const made = await theOneNamed(name, engine, tenant, signal);
  if (made !== null) return made;
  throw new ComputeError("contended", `The network ${name} was removed meanwhile. It is tried again.`, {
    retryable: true,
  });
}

/**
 * Workers that make a network at the same time get one each, with the same name, and the daemon then refuses the name. The
 * oldest is the one that all of them choose, by its id; whoever sees others that this provider made removes them.
 */
async function theOneNamed(
  name: string,
  engine: Engine,
  tenant: TenantKeys,
  signal: AbortSignal,
): Promise<string | null> {
  const [first, ...others] = await engine.networksNamed(name, signal);
  for (const { Id, Labels } of others) {
    if (Labels?.[tenant.keys.role] === "network") await engine.removeNetwork(Id, signal);
  }
  return first?.Id ?? null;
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
