/** Names of images and registries. No I/O. */

export interface ImageReference {
  /** Host of the registry, `docker.io` for Docker Hub. */
  readonly registry: string;
  /** What a pull asks for: the name without tag or digest. */
  readonly name: string;
  /** Tag or digest; `latest` when the reference has none. */
  readonly tag: string;
}

const DOCKER_HUB = "docker.io";
const COMPONENT = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const HOST = /^[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]{1,5})?$/;
const TAG = /^[\w][\w.-]{0,127}$/;
const DIGEST = /^[a-z0-9+._-]+:[0-9a-fA-F]{32,}$/;

/** The parts of `[registry/]name[:tag][@digest]`, or null when it is no reference. */
export function parseImage(image: string): ImageReference | null {
  const [named = "", digest, ...more] = image.split("@");
  if (more.length > 0 || (digest !== undefined && !DIGEST.test(digest))) return null;
  const colon = named.lastIndexOf(":");
  const hasTag = colon > named.lastIndexOf("/");
  const name = hasTag ? named.slice(0, colon) : named;
  const tag = hasTag ? named.slice(colon + 1) : "latest";
  if (!TAG.test(tag)) return null;
  const parts = name.split("/");
  const first = parts[0] ?? "";
  // As Docker decides it: a first part with a dot or a port, or "localhost", is a host.
  const hasHost = parts.length > 1 && (/[.:]/.test(first) || first === "localhost");
  if (hasHost && !HOST.test(first)) return null;
  const path = hasHost ? parts.slice(1) : parts;
  if (!path.every((part) => COMPONENT.test(part))) return null;
  return { registry: hasHost ? canonicalRegistry(first) : DOCKER_HUB, name, tag: digest ?? tag };
}

/** The registry that a key of `auths` stands for: keys may be hosts or URLs. */
export function registryOfKey(key: string): string {
  const host = key.replace(/^[a-z]+:\/\//i, "").split("/")[0] ?? "";
  return canonicalRegistry(host);
}

function canonicalRegistry(host: string): string {
  const lower = host.toLowerCase();
  return lower === "index.docker.io" || lower === "registry-1.docker.io" ? DOCKER_HUB : lower;
}
