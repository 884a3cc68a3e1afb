/** Names of our services at a Restate server that others may share. */

export interface RestateNaming {
  /** Separates installations on one Restate cluster; empty for none. Server and workers must agree. */
  readonly namespace: string;
  /** Put before every service name; empty for none. */
  readonly servicePrefix: string;
}

/** `<namespace>_<prefix><name>`: what both server and worker call a service. */
export function restateServiceName(naming: RestateNaming, name: string): string {
  const namespace = naming.namespace === "" ? "" : `${naming.namespace}_`;
  return `${namespace}${naming.servicePrefix}${name}`;
}

/** The key under which a workflow keeps its phase in Restate's state, and the phase in which it only waits. */
export const PHASE_STATE_KEY = "phase";
export const WAITING_PHASE = "waiting";
