/** Where a tenant's ports are reached: by clients, and by the worker's own checks. No I/O. */
import type Docker from "dockerode";
import type { Endpoint } from "../../domain/tenant.ts";
import type { Connection } from "./connection.ts";
import type { EngineConfig } from "./engine-config.ts";
import { type DeclaredPort, declaredPorts, type DockerConfig, portKey } from "./tenant-config.ts";

type Place = Pick<EngineConfig, "publishAddress" | "endpointHost" | "probeVia">;

const isWildcard = (address: string) => address === "0.0.0.0" || address === "::";
const isLoopback = (address: string) => address.startsWith("127.") || address === "::1";

/** The host on which a worker reaches what is published. */
function publishedHost({ publishAddress }: Place, { remoteHost }: Connection): string {
  if (remoteHost !== null)
    return isWildcard(publishAddress) || isLoopback(publishAddress) ? remoteHost : publishAddress;
  if (publishAddress === "0.0.0.0") return "127.0.0.1";
  return publishAddress === "::" ? "::1" : publishAddress;
}

/** The host's port of a declared one, or null when it is not published. */
function publishedPort(container: Docker.ContainerInspectInfo, declared: DeclaredPort): number | null {
  if (container.HostConfig.NetworkMode === "host") return declared.containerPort;
  const bindings = (container.HostConfig.PortBindings ?? {}) as Record<
    string,
    { HostPort?: string }[] | null
  >;
  const port = Number(bindings[portKey(declared)]?.[0]?.HostPort ?? 0);
  return port > 0 ? port : null;
}

export function endpointsOf(
  container: Docker.ContainerInspectInfo,
  config: DockerConfig,
  place: Place,
  connection: Connection,
): readonly Endpoint[] {
  const address = place.endpointHost ?? publishedHost(place, connection);
  const host = address.includes(":") ? `[${address}]` : address;
  return declaredPorts(config).flatMap((declared) => {
    const port = publishedPort(container, declared);
    if (port === null) return [];
    const scheme = declared.protocol === "tcp" ? "http" : "udp";
    return [{ name: declared.name, address, port, url: `${scheme}://${host}:${port}` }];
  });
}

/** Where the worker's check may reach the port, in the order in which it tries. */
export function probeTargets(
  container: Docker.ContainerInspectInfo,
  declared: DeclaredPort,
  place: Place,
  connection: Connection,
): readonly { readonly host: string; readonly port: number }[] {
  const targets: { readonly host: string; readonly port: number }[] = [];
  const port = publishedPort(container, declared);
  if (place.probeVia !== "container" && port !== null) {
    targets.push({ host: publishedHost(place, connection), port });
  }
  // Seen from another host, the same address may be another container's.
  const isNear = place.probeVia === "container" || connection.remoteHost === null;
  if (place.probeVia !== "published" && isNear) {
    const networks = Object.values(container.NetworkSettings.Networks ?? {});
    const address = networks.map(({ IPAddress }) => IPAddress).find((each) => each !== "");
    if (address !== undefined) targets.push({ host: address, port: declared.containerPort });
  }
  return targets;
}
