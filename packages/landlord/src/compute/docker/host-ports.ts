/**
 * The ports of the daemon's host that a container is published on. The provider chooses them when the container is
 * created: one that Docker chooses changes with every restart of the container, behind the back of whoever was told.
 */
import { ComputeError } from "../provider.ts";
import type { Engine } from "./engine.ts";
import type { DeclaredPort } from "./tenant-config.ts";

export interface HostPort extends DeclaredPort {
  readonly published: number;
}

export interface PortRange {
  readonly portMin: number;
  readonly portMax: number;
  /** 0 ≤ x < 1; where the search for a free port begins. */
  readonly random: () => number;
}

/**
 * A host port for each declared port: its own, or one of the range that no running container has. Who else has it
 * shows when the container starts. @throws ComputeError `no_free_port`, retryable
 */
export async function chooseHostPorts(
  engine: Engine,
  declared: readonly DeclaredPort[],
  range: PortRange,
  signal: AbortSignal,
): Promise<readonly HostPort[]> {
  if (declared.every(({ hostPort }) => hostPort !== null))
    return declared.map((port) => ({ ...port, published: port.hostPort ?? 0 }));
  const running = await engine.containers(null, { all: false, signal });
  const taken = new Set(running.flatMap(({ Ports }) => Ports.map(({ PublicPort }) => PublicPort)));
  for (const { hostPort } of declared) if (hostPort !== null) taken.add(hostPort);
  return declared.map((port) => {
    const published = port.hostPort ?? freePort(range, taken);
    taken.add(published);
    return { ...port, published };
  });
}

function freePort({ portMin, portMax, random }: PortRange, taken: ReadonlySet<number>): number {
  const count = portMax - portMin + 1;
  const start = Math.floor(random() * count);
  for (let step = 0; step < count; step += 1) {
    const port = portMin + ((start + step) % count);
    if (!taken.has(port)) return port;
  }
  throw new ComputeError(
    "no_free_port",
    `Every port from ${portMin} to ${portMax} is published. Widen compute.docker.port_min and port_max.`,
    { retryable: true },
  );
}
