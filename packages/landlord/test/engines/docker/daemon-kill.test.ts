import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import {
  askDocker,
  type DockerDaemon,
  loadTestImage,
  startDockerDaemon,
} from "../../support/engines/docker-daemon.ts";
import { eventually } from "../../support/eventually.ts";
import {
  containersOf,
  converge,
  destroy,
  fetchText,
  newProvider,
  newSpec,
  next,
  observe,
  options,
  refOf,
  runningOf,
  sleeper,
  web,
} from "./docker-kit.ts";

let daemon: DockerDaemon | null = null;
afterEach(async () => {
  await daemon?.stop();
  daemon = null;
});

/** Moments of an apply, which takes half a second, and of a destroy. */
const MOMENTS_MS = [5, 40, 120, 180, 250, 400];
const KILL_ROUNDS = 6;
const quick = { ...web, stop_grace_seconds: 0 };

/** Processes of the tenant's containers, known to the daemon or not. */
function processesOf(tenantId: string): readonly string[] {
  return readdirSync("/proc").filter((pid) => {
    if (!/^[0-9]+$/.test(pid)) return false;
    try {
      return readFileSync(`/proc/${pid}/environ`, "utf8").includes(`LANDLORD_TENANT_ID=${tenantId}\0`);
    } catch {
      return false;
    }
  });
}

function isRunByShim(containerId: string): boolean {
  return readdirSync("/proc").some((pid) => {
    try {
      return (
        /^[0-9]+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(`-id\0${containerId}`)
      );
    } catch {
      return false;
    }
  });
}

/** What a call came to: its answer, or that it is to be tried again. Anything else fails the test. */
async function settled(call: Promise<unknown>): Promise<void> {
  await call.catch((error: unknown) => expect(error).toMatchObject({ retryable: true }));
}

describe.each([false, true])("dockerd is killed, live-restore %s", (liveRestore) => {
  it("in the middle of updates and destroys: all ends as it was wanted", { timeout: 240_000 }, async () => {
    daemon = await startDockerDaemon({ liveRestore });
    const { host } = daemon;
    await loadTestImage(host);
    const provider = await newProvider({ host, drain_seconds: 0 });
    let spec = newSpec(quick);
    await converge(provider, spec);
    for (const moment of MOMENTS_MS) {
      spec = next(spec, { ...quick, env: { MOMENT: String(moment) } });
      const applying = settled(provider.apply(spec, options));
      // Not to wait for something: to kill at different moments of the apply.
      await delay(moment);
      await daemon.kill("SIGKILL");
      await applying;
      expect(await observe(provider, spec)).toMatchObject({ presence: "unknown", health: "unknown" });
      await daemon.restart();
      const { endpoints } = await eventually(() => converge(provider, spec), { what: "it is healthy again" });
      expect(await fetchText(endpoints[0]?.url)).toBe("landlord-test:1");
      expect(await runningOf(spec, host)).toEqual([spec.generation]);
      await eventually(async () => (await containersOf(spec, host)).length === 1, {
        what: "one container is left",
      });
    }
    for (const moment of [5, 60, 150]) {
      const ref = { ...refOf(spec), generation: spec.generation };
      const destroying = settled(provider.destroy(ref, options));
      await delay(moment);
      await daemon.kill("SIGKILL");
      await destroying;
      await daemon.restart();
      expect(await provider.destroy(ref, options)).toMatchObject({ presence: "absent" });
      expect(await containersOf(spec, host)).toEqual([]);
      // With live-restore the daemon itself may lose a process that it was starting; see docs/docker-compute.md.
      if (!liveRestore) expect(processesOf(spec.tenantId)).toEqual([]);
      expect(await provider.apply(spec, options)).toEqual({ kind: "stale", generation: spec.generation });
      spec = next(spec);
      await converge(provider, spec);
    }
  });

  it.each([
    ["its published port", quick, /port is already allocated/],
    ["its id", sleeper, /already exists|already in use/],
  ])("within a start, and holds on to %s: it is replaced", async (_what, config, refusal) => {
    daemon = await startDockerDaemon({ liveRestore });
    const { host } = daemon;
    await loadTestImage(host);
    const provider = await newProvider({ host });
    let spec = newSpec(config);
    // Whether the daemon holds on to anything is a matter of milliseconds.
    for (let round = 0; round < KILL_ROUNDS; round += 1) {
      const applying = settled(provider.apply(spec, options));
      const id = await eventually(
        async () => {
          const [container] = await containersOf(spec, host);
          return container !== undefined && isRunByShim(container.Id) ? container.Id : null;
        },
        { what: "the runtime begins to start it", everyMs: 1 },
      );
      await daemon.kill("SIGKILL");
      await applying;
      await daemon.restart();
      const { status, body } = await askDocker(host, "POST", `/containers/${id}/start`);
      const { resourceIds, endpoints } = await converge(provider, spec);
      for (const { url } of endpoints) expect(await fetchText(url)).toBe("landlord-test:1");
      expect(await containersOf(spec, host)).toHaveLength(1);
      if (status === 500) {
        expect(body).toMatch(refusal);
        expect(resourceIds["container"]).not.toBe(id);
        return;
      }
      await destroy(provider, spec);
      spec = next(spec);
    }
    throw new Error(`in ${KILL_ROUNDS} kills the daemon never held on to anything`);
  });

  it("while a tenant serves: it serves again, at the same endpoint", async () => {
    daemon = await startDockerDaemon({ liveRestore });
    const { host } = daemon;
    await loadTestImage(host);
    const provider = await newProvider({ host });
    const spec = newSpec(quick);
    const before = await converge(provider, spec);
    const [pid] = processesOf(spec.tenantId);
    await daemon.kill("SIGKILL");
    await daemon.restart();
    const after = await eventually(() => converge(provider, spec), { what: "it is healthy again" });
    expect(after.endpoints).toEqual(before.endpoints);
    expect(after.resourceIds).toEqual(before.resourceIds);
    expect(after.scope).toBe(before.scope);
    expect(await fetchText(after.endpoints[0]?.url)).toBe("landlord-test:1");
    expect(processesOf(spec.tenantId).includes(pid ?? "")).toBe(liveRestore);
  });
});
