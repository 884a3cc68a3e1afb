import { execFile, execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ComputeSpec, Observation } from "../../../src/compute/provider.ts";
import type { JsonObject } from "../../../src/domain/json.ts";
import { type DockerDaemon, loadTestImage, startDockerDaemon } from "../../support/engines/docker-daemon.ts";
import { containersOf, converge, fetchText, newProvider, newSpec, next, prefix, web } from "./docker-kit.ts";

let daemon: DockerDaemon;
const namespace = `lln${randomBytes(3).toString("hex")}`;
const run = (command: string, ...args: string[]) => execFileSync(command, args, { stdio: "pipe" });
const bridged = () => ["FORWARD", "-i", daemon.bridge.name, "-o", daemon.bridge.name, "-j", "ACCEPT"];

/** A network namespace on the daemon's bridge: like a container beside the tenants', without the host's loopback. */
beforeAll(async () => {
  daemon = await startDockerDaemon();
  await loadTestImage(daemon.host);
  run("ip", "netns", "add", namespace);
  run("ip", "link", "add", `${namespace}h`, "type", "veth", "peer", "name", "eth0", "netns", namespace);
  run("ip", "link", "set", `${namespace}h`, "master", daemon.bridge.name, "up");
  const address = daemon.bridge.gateway.replace(/\.1$/, ".250/17");
  run("ip", "-n", namespace, "address", "add", address, "dev", "eth0");
  run("ip", "-n", namespace, "link", "set", "eth0", "up");
  // Another daemon of this host may have closed the forwarding of frames.
  run("iptables", "-I", ...bridged());
});
afterAll(async () => {
  run("iptables", "-D", ...bridged());
  run("ip", "netns", "delete", namespace);
  await daemon.stop();
});

async function elsewhere(
  action: "apply" | "destroy",
  spec: ComputeSpec,
  engine: JsonObject,
): Promise<Observation> {
  const script = fileURLToPath(new URL("netns-worker.ts", import.meta.url));
  const payload = JSON.stringify({
    action,
    spec,
    engine: { ...engine, host: daemon.host, label_prefix: prefix },
  });
  const node = ["--conditions=source", "--import", "tsx", script, payload];
  const { stdout } = await promisify(execFile)("ip", ["netns", "exec", namespace, process.execPath, ...node]);
  return JSON.parse(stdout) as Observation;
}

describe("a worker in another network namespace", () => {
  it.each(["auto", "container"])(
    "updates and deletes what the first one created, probing via %s",
    async (via) => {
      const here = await newProvider({ host: daemon.host });
      const spec = newSpec();
      const first = await converge(here, spec);
      const second = next(spec, { ...web, image: "landlord-test:2" });
      const updated = await elsewhere("apply", second, { drain_seconds: 0, probe_via: via });
      expect(updated).toMatchObject({ generation: 2, health: "healthy", scope: first.scope });
      // Clients are where the host is, wherever the worker was.
      expect(await fetchText(updated.endpoints[0]?.url)).toBe("landlord-test:2");
      expect(await containersOf(spec, daemon.host)).toHaveLength(1);
      expect(await elsewhere("destroy", second, {})).toMatchObject({
        presence: "absent",
        scope: first.scope,
      });
      expect(await containersOf(spec, daemon.host)).toEqual([]);
    },
  );

  it("reaches what is published on an address that it sees", async () => {
    const spec = newSpec();
    const engine = { publish_address: daemon.bridge.gateway, probe_via: "published" };
    const observation = await elsewhere("apply", spec, engine);
    expect(observation.endpoints).toMatchObject([{ address: daemon.bridge.gateway }]);
    expect(await fetchText(observation.endpoints[0]?.url)).toBe("landlord-test:1");
    await elsewhere("destroy", spec, engine);
  });
});
