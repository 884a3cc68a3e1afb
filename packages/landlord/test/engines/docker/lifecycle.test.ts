import { describe, expect, it } from "vitest";
import { askDocker } from "../../support/engines/docker-daemon.ts";
import { eventually } from "../../support/eventually.ts";
import {
  applied,
  containersOf,
  converge,
  destroy,
  dockerHost,
  fetchText,
  image,
  inspect,
  instanceId,
  namesOf,
  newProvider,
  newSpec,
  next,
  observe,
  options,
  prefix,
  refOf,
  runningOf,
  sleeper,
  cleanUpAfterEach,
  web,
} from "./docker-kit.ts";

cleanUpAfterEach();

describe("docker provider", () => {
  it("creates, updates and destroys", async () => {
    const provider = await newProvider({ drain_seconds: 1 });
    const spec = newSpec();
    expect(await observe(provider, spec)).toMatchObject({
      presence: "absent",
      health: "absent",
      generation: null,
    });
    const first = await converge(provider, spec);
    expect(first).toMatchObject({
      presence: "present",
      generation: 1,
      configHash: spec.configHash,
      config: web,
    });
    const [endpoint] = first.endpoints;
    expect(endpoint).toMatchObject({
      name: "web",
      address: "127.0.0.1",
      url: `http://127.0.0.1:${endpoint?.port}`,
    });
    expect(await fetchText(endpoint?.url)).toBe("landlord-test:1");
    expect(await applied(provider, spec)).toEqual(first);
    expect(await provider.list(instanceId, options.signal)).toMatchObject([
      {
        tenantId: spec.tenantId,
        generation: 1,
        scope: first.scope,
        resourceIds: { container: first.resourceIds["container"] },
      },
    ]);

    const second = next(spec, { ...web, image: "landlord-test:2" });
    expect(await provider.plan(second, first)).toEqual([
      { action: "replace", resource: "container", fields: ["/image"], downtime: false },
    ]);
    const updated = await converge(provider, second);
    expect(updated).toMatchObject({ generation: 2, configHash: second.configHash, config: second.config });
    expect(await provider.plan(second, updated)).toMatchObject([{ action: "none" }]);
    expect(await fetchText(updated.endpoints[0]?.url)).toBe("landlord-test:2");
    // The old one is drained, and nobody has to ask for its end.
    expect(await runningOf(spec)).toEqual([1, 2]);
    expect(await observe(provider, spec)).toMatchObject({ generation: 2, health: "healthy" });
    await eventually(async () => (await containersOf(spec)).length === 1, { what: "generation 1 is gone" });
    expect(await provider.apply(spec, options)).toEqual({ kind: "stale", generation: 2 });

    expect(await destroy(provider, second)).toMatchObject({
      presence: "absent",
      health: "absent",
      endpoints: [],
    });
    expect(await containersOf(spec)).toEqual([]);
    await expect(fetchText(updated.endpoints[0]?.url)).rejects.toThrow();
    expect(await provider.list(instanceId, options.signal)).toEqual([]);
    expect(await namesOf("volumes", spec)).toEqual([expect.stringMatching(/-fence-2-destroyed$/)]);
  });

  it("never starts what was destroyed, also not a higher generation that a lower destroy meets", async () => {
    const provider = await newProvider();
    const spec = newSpec(sleeper);
    await converge(provider, spec);
    await destroy(provider, spec);
    expect(await provider.apply(spec, options)).toEqual({ kind: "stale", generation: 1 });
    expect(await containersOf(spec)).toEqual([]);
    const second = next(spec);
    await converge(provider, second);
    expect(await destroy(provider, spec)).toMatchObject({ presence: "present", generation: 2 });
    expect(await runningOf(spec)).toEqual([2]);
  });

  it("destroys what was never there, and then refuses to start it", async () => {
    const provider = await newProvider();
    const spec = newSpec(sleeper);
    expect(await destroy(provider, spec, 3)).toMatchObject({ presence: "absent" });
    expect(await provider.apply({ ...spec, generation: 3 }, options)).toEqual({
      kind: "stale",
      generation: 3,
    });
    expect(await provider.apply({ ...spec, generation: 2 }, options)).toEqual({
      kind: "stale",
      generation: 3,
    });
    expect((await provider.apply({ ...spec, generation: 4 }, options)).kind).toBe("applied");
  });

  it("refuses a lower generation also when the container of the higher one is gone", async () => {
    const provider = await newProvider();
    const spec = newSpec(sleeper);
    const second = next(spec);
    const { resourceIds } = await converge(provider, second);
    await askDocker(dockerHost(), "DELETE", `/containers/${resourceIds["container"]}?force=1`);
    expect(await provider.apply(spec, options)).toEqual({ kind: "stale", generation: 2 });
    expect(await converge(provider, second)).toMatchObject({ generation: 2 });
  });

  it("answers stale for the same generation with another config, present or not", async () => {
    const provider = await newProvider();
    const spec = newSpec(sleeper);
    const { resourceIds } = await converge(provider, spec);
    const other = { ...next(spec, { ...sleeper, command: ["sleep", "999"] }), generation: 1 };
    expect(await provider.apply(other, options)).toEqual({ kind: "stale", generation: 1 });
    await askDocker(dockerHost(), "DELETE", `/containers/${resourceIds["container"]}?force=1`);
    expect(await provider.apply(other, options)).toEqual({ kind: "stale", generation: 1 });
    expect(await containersOf(spec)).toEqual([]);
  });

  it("keeps two databases apart that know a tenant of the same id", async () => {
    const provider = await newProvider();
    const spec = newSpec(sleeper);
    const twin = { ...spec, instanceId: "another" };
    await converge(provider, spec);
    await converge(provider, twin);
    expect(await runningOf(spec)).toEqual([1, 1]);
    await destroy(provider, twin);
    expect(await observe(provider, spec)).toMatchObject({ presence: "present" });
    expect(await provider.list("another", options.signal)).toEqual([]);
  });

  it("answers unknown for a scope that is not its own, and keeps its scope", async () => {
    const provider = await newProvider();
    const spec = newSpec(sleeper);
    const { scope } = await converge(provider, spec);
    expect(scope).toMatch(/^docker:[A-Z0-9:]+:\/tmp\/lld-/);
    expect(await provider.scopeOf({})).toBe(scope);
    const again = await newProvider();
    expect(
      await again.observe([refOf(spec, [scope]), refOf(spec, [scope, "docker:ELSE"])], options.signal),
    ).toMatchObject([
      { presence: "present", scope },
      { presence: "unknown", health: "unknown", generation: null },
    ]);
    const gone = await again.destroy({ ...refOf(spec, ["docker:ELSE"]), generation: 1 }, options);
    expect(gone.presence).toBe("unknown");
    expect(await containersOf(spec)).toEqual([]);
  });

  it("says unknown, not absent, when the daemon does not answer", async () => {
    const provider = await newProvider({ host: "unix:///nonexistent/docker.sock" });
    const spec = newSpec(sleeper);
    expect(await provider.observe([refOf(spec, ["docker:HERE"])], options.signal)).toMatchObject([
      { presence: "unknown", health: "unknown", scope: "docker:HERE" },
    ]);
    const failure = { code: "compute_unreachable", retryable: true };
    await expect(provider.scopeOf({})).rejects.toMatchObject(failure);
    await expect(provider.apply(spec, options)).rejects.toMatchObject(failure);
    await expect(destroy(provider, spec)).rejects.toMatchObject(failure);
    await expect(provider.list(instanceId, options.signal)).rejects.toMatchObject(failure);
    await expect(
      provider.logs(refOf(spec), { tailBytes: 100, signal: options.signal }),
    ).rejects.toMatchObject(failure);
  });

  it("is not confused by containers that only wear its labels", async () => {
    const provider = await newProvider();
    const spec = newSpec(sleeper);
    const first = await converge(provider, spec);
    // What somebody gets who runs an image that was committed from a tenant's container.
    const { Config } = await inspect(first.resourceIds["container"]);
    const stranger = `stranger-to-${prefix}`;
    const body = JSON.stringify({ Image: image, Cmd: ["sleep", "1000"], Labels: Config.Labels });
    await askDocker(dockerHost(), "POST", `/containers/create?name=${stranger}`, body);
    await askDocker(dockerHost(), "POST", `/containers/${stranger}/start`);
    expect(await destroy(provider, spec)).toMatchObject({ presence: "absent" });
    expect((await inspect(stranger)).State.Status).toBe("running");
  });

  it("hardens containers, and applies limits, labels, environment and volumes", async () => {
    const provider = await newProvider({ pids_limit: 77, log_limit_bytes: 8192 });
    const spec = newSpec({
      ...web,
      env: { TOKEN: "s3cret=%", EMPTY: "" },
      labels: { team: "blue" },
      resources: { cpu: "250m", memory: "32m" },
      volumes: [
        { source: "files", target: "/files" },
        { type: "tmpfs", target: "/scratch" },
      ],
      restart_policy: "on-failure:3",
      init: true,
      user: "1000:1000",
      command: ["httpd", "-f", "-p", "8080", "-h", "/www"],
    });
    const observation = await converge(provider, spec);
    expect(observation.config).toEqual(spec.config);
    const { Config, HostConfig, Mounts } = await inspect(observation.resourceIds["container"]);
    expect(HostConfig).toMatchObject({
      SecurityOpt: ["no-new-privileges:true"],
      CapAdd: [],
      CapDrop: expect.arrayContaining(["NET_RAW", "MKNOD"]),
      PidsLimit: 77,
      NanoCpus: 250_000_000,
      Memory: 32 * 1024 * 1024,
      MemorySwap: 32 * 1024 * 1024,
      Init: true,
      Privileged: false,
      RestartPolicy: { Name: "on-failure", MaximumRetryCount: 3 },
      LogConfig: { Type: "json-file", Config: { "max-size": "8192", "max-file": "2" } },
      PortBindings: { "8080/tcp": [{ HostIp: "127.0.0.1" }] },
    });
    expect(Config.Env).toEqual(
      expect.arrayContaining([
        "TOKEN=s3cret=%",
        `LANDLORD_TENANT_ID=${spec.tenantId}`,
        "LANDLORD_GENERATION=1",
      ]),
    );
    expect(Config.Labels).toMatchObject({ team: "blue", [`${prefix}.tenant-name`]: "acme" });
    // Labels are shown wherever containers are listed.
    expect(JSON.stringify(Config.Labels)).not.toContain("s3cret");
    // The daemon tells them in any order.
    expect(Mounts).toHaveLength(2);
    expect(Mounts).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ Type: "volume", Destination: "/files", RW: true }),
        expect.objectContaining({ Type: "tmpfs", Destination: "/scratch" }),
      ]),
    );
    // A volume is the tenant's own, and stays for a restore.
    await destroy(provider, spec);
    expect(await namesOf("volumes", spec)).toEqual(
      expect.arrayContaining([expect.stringMatching(/-data-files$/)]),
    );
  });

  it("gives a tenant a network of its own, shared by its generations and removed with it", async () => {
    const provider = await newProvider({ per_tenant_network: true, drain_seconds: 0 });
    const spec = newSpec();
    expect(await provider.plan(spec, await observe(provider, spec))).toMatchObject([
      { action: "create", resource: "container" },
      { action: "create", resource: "network" },
    ]);
    const first = await converge(provider, spec);
    expect(first.resourceIds["network"]).toMatch(/^[0-9a-f]{64}$/);
    const second = await converge(provider, next(spec));
    expect(second.resourceIds["network"]).toBe(first.resourceIds["network"]);
    expect(await namesOf("networks", spec)).toHaveLength(1);
    expect(await destroy(provider, next(spec))).toMatchObject({ presence: "absent" });
    expect(await namesOf("networks", spec)).toEqual([]);
  });

  it("counts a network that was left as present, and lists it", async () => {
    const provider = await newProvider({ per_tenant_network: true });
    const spec = newSpec(sleeper);
    const { resourceIds } = await converge(provider, spec);
    await askDocker(dockerHost(), "DELETE", `/containers/${resourceIds["container"]}?force=1`);
    expect(await observe(provider, spec)).toMatchObject({ presence: "present", generation: null });
    expect(await provider.list(instanceId, options.signal)).toMatchObject([
      { tenantId: spec.tenantId, generation: null, resourceIds: { network: resourceIds["network"] } },
    ]);
    expect(await destroy(provider, spec)).toMatchObject({ presence: "absent" });
  });

  it("answers the tail of the output, both streams, within its bound", async () => {
    const provider = await newProvider();
    const script =
      "i=0; while [ $i -lt 300 ]; do echo line-$i-é; i=$((i+1)); done; echo oops >&2; exec sleep 1000";
    const spec = newSpec({ ...sleeper, command: ["sh", "-c", script] });
    await applied(provider, spec);
    const logs = (tailBytes: number) => provider.logs(refOf(spec), { tailBytes, signal: options.signal });
    const all = await eventually(
      async () => {
        const text = await logs(100_000);
        return text.includes("oops") ? text : null;
      },
      { what: "the output" },
    );
    expect(all.split("\n")).toHaveLength(302);
    const tail = await logs(64);
    expect(Buffer.byteLength(tail)).toBeLessThanOrEqual(64);
    expect(all.replace("oops\n", "")).toContain(tail.replace("oops\n", "").slice(0, 8));
    expect(await provider.logs(refOf(newSpec()), { tailBytes: 64, signal: options.signal })).toBe("");
  });
});
