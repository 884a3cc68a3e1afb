/** A real Docker daemon: every request of the provider passes a proxy, and a census asks the daemon itself. */
import { inject } from "vitest";
import { dockerComputeFactory } from "../../../src/compute/docker/factory.ts";
import type { Owner } from "../../../src/compute/provider.ts";
import {
  startFaultProxy,
  type ComputeHarness,
  type ConformanceSubject,
} from "../../../src/plugin/testing.ts";
import { askDocker } from "../../support/engines/docker-daemon.ts";

interface Container {
  readonly Id: string;
  readonly Labels: Readonly<Record<string, string>>;
}

async function containersOf(filters: readonly string[]): Promise<readonly Container[]> {
  const query = encodeURIComponent(JSON.stringify({ label: filters }));
  const { status, body } = await askDocker(
    inject("dockerHost"),
    "GET",
    `/containers/json?all=1&filters=${query}`,
  );
  if (status !== 200) throw new Error(`containers: ${status} ${body}`);
  return JSON.parse(body) as Container[];
}

async function networksOf(filters: readonly string[]): Promise<readonly { readonly Id: string }[]> {
  const query = encodeURIComponent(JSON.stringify({ label: filters }));
  const { status, body } = await askDocker(inject("dockerHost"), "GET", `/networks?filters=${query}`);
  if (status !== 200) throw new Error(`networks: ${status} ${body}`);
  return JSON.parse(body) as { readonly Id: string }[];
}

const labelsOf = ({ instanceId, tenantId }: Owner): readonly string[] => [
  `landlord.instance=${instanceId}`,
  `landlord.tenant=${tenantId}`,
];

function openDockerHarness(): Promise<ComputeHarness> {
  const closers: (() => Promise<unknown>)[] = [];
  const instances = new Set<string>();
  // What retires is gone soon: a census waits for it.
  const engineConfig = { drain_seconds: 0, per_tenant_network: true };
  const openAt = (host: string) =>
    dockerComputeFactory.create(dockerComputeFactory.engineConfigSchema.parse({ ...engineConfig, host }), {
      dataDir: "/nonexistent",
      environment: {},
    });
  return Promise.resolve({
    factory: dockerComputeFactory,
    engineConfig,
    async open(faults) {
      const proxy = await startFaultProxy({ target: inject("dockerHost"), faults });
      closers.push(() => proxy.close());
      return openAt(`tcp://127.0.0.1:${proxy.port}`);
    },
    openUnreachable: () => openAt("tcp://127.0.0.1:1"),
    config: (variant) => ({
      image: "landlord-test:1",
      command: ["sh", "-c", `echo variant ${variant} is up; exec httpd -f -p 8080 -h /www`],
      ports: [{ container_port: 8080 }],
      health_check: { type: "http", path: "/", deadline_seconds: 30 },
      stop_grace_seconds: 0,
    }),
    unhealthyConfig: {
      image: "landlord-test:1",
      command: ["sleep", "1000"],
      ports: [{ container_port: 8080 }],
      health_check: { type: "http", path: "/", deadline_seconds: 1 },
      stop_grace_seconds: 0,
    },
    rejectedConfig: { image: "landlord-test:1", command: ["no-such-program"], stop_grace_seconds: 0 },
    invalidConfig: { image: "not an image" },
    loggedText: (variant) => `variant ${variant} is up`,
    async census(owner) {
      instances.add(owner.instanceId);
      const [containers, networks] = await Promise.all([
        containersOf(labelsOf(owner)),
        networksOf(labelsOf(owner)),
      ]);
      const generations = containers.map(({ Labels }) => Number(Labels["landlord.generation"]));
      // A network that nothing is in was left behind, or there is one too many.
      const spare = networks.slice(Math.min(1, containers.length)).map(() => 0);
      return [...generations, ...spare];
    },
    async endWorkload(owner) {
      for (const { Id } of await containersOf(labelsOf(owner))) {
        await askDocker(inject("dockerHost"), "POST", `/containers/${Id}/kill?signal=KILL`);
      }
    },
    convergeTimeoutMs: 60_000,
    parallel: 4,
    async close() {
      for (const instanceId of instances) {
        for (const { Id } of await containersOf([`landlord.instance=${instanceId}`])) {
          await askDocker(inject("dockerHost"), "DELETE", `/containers/${Id}?force=1&v=1`);
        }
        for (const { Id } of await networksOf([`landlord.instance=${instanceId}`])) {
          await askDocker(inject("dockerHost"), "DELETE", `/networks/${Id}`);
        }
      }
      for (const close of closers.reverse()) await close();
    },
  });
}

export const dockerCompute: ConformanceSubject<ComputeHarness> = { name: "docker", open: openDockerHarness };
