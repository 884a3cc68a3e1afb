import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import type { JsonObject } from "../../../src/domain/json.ts";
import { askDocker } from "../../support/engines/docker-daemon.ts";
import { eventually } from "../../support/eventually.ts";
import {
  applied,
  containersOf,
  converge,
  destroy,
  dockerHost,
  fetchText,
  newProvider,
  newSpec,
  next,
  observe,
  options,
  sleeper,
  cleanUpAfterEach,
  web,
} from "./docker-kit.ts";
import { type Registry, startRegistry } from "./registry.ts";

cleanUpAfterEach();

let registry: Registry | null = null;
const folders: string[] = [];
afterEach(async () => {
  await registry?.stop();
  registry = null;
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});
function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "landlord-docker-"));
  folders.push(folder);
  return folder;
}

describe("what Docker refuses", () => {
  const cases: readonly [string, JsonObject, string, boolean, number][] = [
    [
      "an image that is not there",
      { ...sleeper, image: "nothing:1", pull_policy: "never" },
      "image_not_found",
      false,
      0,
    ],
    ["a registry out of reach", { ...sleeper, image: "127.0.0.1:1/app:1" }, "registry_unreachable", true, 0],
    [
      "a command that does not exist",
      { ...sleeper, command: ["no-such-program"] },
      "command_invalid",
      false,
      1,
    ],
    ["a folder as command", { ...sleeper, command: ["/www"] }, "command_invalid", false, 1],
    [
      "a working folder that is a file",
      { ...sleeper, working_dir: "/serve" },
      "working_dir_invalid",
      false,
      0,
    ],
    ["a user that does not exist", { ...sleeper, user: "nobody-here" }, "user_invalid", false, 1],
    [
      "a bind source that does not exist",
      { ...sleeper, volumes: [{ type: "bind", source: "/tmp/no-such-folder", target: "/x" }] },
      "mount_invalid",
      false,
      0,
    ],
    ["more cores than there are", { ...sleeper, resources: { cpu: 1_024_000 } }, "config_refused", false, 0],
    ["a capability that does not exist", { ...sleeper, cap_add: ["NO_SUCH"] }, "config_refused", false, 0],
    [
      "a network that does not exist",
      { ...sleeper, network_mode: "no-such-net" },
      "network_not_found",
      true,
      1,
    ],
  ];
  it.each(cases)("%s", async (_name, config, code, retryable, containers) => {
    const provider = await newProvider({
      allowed_bind_paths: ["/tmp"],
      allowed_capabilities: ["NO_SUCH"],
      allowed_networks: ["no-such-net"],
    });
    const spec = newSpec(config);
    for (let attempt = 0; attempt < 2; attempt += 1) {
      await expect(provider.apply(spec, options)).rejects.toMatchObject({
        name: "ComputeError",
        code,
        retryable,
      });
      // One at most, to be started again: attempts do not pile up.
      expect(await containersOf(spec)).toHaveLength(containers);
    }
    expect(await destroy(provider, spec)).toMatchObject({ presence: "absent" });
    expect(await containersOf(spec)).toEqual([]);
  });

  it("a config that is not valid, before Docker is asked", async () => {
    const provider = await newProvider({ host: "unix:///nonexistent" });
    await expect(
      provider.apply(newSpec({ ...sleeper, network_mode: "host" }), options),
    ).rejects.toMatchObject({
      code: "invalid_config",
      retryable: false,
    });
  });

  it("a port of the range that somebody else has: another one is taken", async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const taken = (server.address() as { port: number }).port;
    try {
      const range = { port_min: taken, port_max: Math.min(65_535, taken + 1) };
      const provider = await newProvider(range);
      const spec = newSpec();
      const observation = await eventually(() => converge(provider, spec), {
        what: "the other port is taken",
      });
      expect(observation.endpoints[0]?.port).toBe(taken + 1);
      expect(await containersOf(spec)).toHaveLength(1);
    } finally {
      server.close();
    }
  });
});

describe("a workload that ends", () => {
  it("is reported with its exit code and output, started again, and recovers", async () => {
    const provider = await newProvider();
    const folder = newFolder();
    chmodSync(folder, 0o777);
    const script = "echo out of luck; [ -e /flag/fixed ] || exit 3; exec sleep 1000";
    const volumes = [{ type: "bind", source: folder, target: "/flag", read_only: true }];
    const spec = newSpec({ ...sleeper, command: ["sh", "-c", script], restart_policy: "no", volumes });
    const allowed = await newProvider({ allowed_bind_paths: [folder] });
    await expect(provider.apply(spec, options)).rejects.toMatchObject({ code: "invalid_config" });
    await applied(allowed, spec);
    const ended = () =>
      eventually(
        async () => {
          const observation = await observe(allowed, spec);
          return observation.health === "exited" ? observation : null;
        },
        { what: "its end" },
      );
    expect(await ended()).toMatchObject({ presence: "present", generation: 1, endpoints: [] });
    const report = {
      code: "workload_exited",
      retryable: true,
      message: expect.stringMatching(/exit code 3.*out of luck/),
    };
    await expect(allowed.apply(spec, options)).rejects.toMatchObject(report);
    await ended();
    writeFileSync(join(folder, "fixed"), "");
    await expect(allowed.apply(spec, options)).rejects.toMatchObject(report);
    expect(await converge(allowed, spec)).toMatchObject({ generation: 1, health: "healthy" });
    expect(await containersOf(spec)).toHaveLength(1);
  });

  it("again and again is unhealthy, with exit code and output", async () => {
    const provider = await newProvider();
    const spec = newSpec({ ...sleeper, command: ["sh", "-c", "echo no database; exit 7"] });
    const message = await eventually(
      async () => {
        const observation = await applied(provider, spec);
        return observation.health === "unhealthy" ? observation.message : null;
      },
      { what: "the crash loop is seen" },
    );
    expect(message).toMatch(/exit code \d.* restarted \d+ times?.*no database/s);
  });

  it("is unpaused", async () => {
    const provider = await newProvider();
    const spec = newSpec();
    const { resourceIds, endpoints } = await converge(provider, spec);
    await askDocker(dockerHost(), "POST", `/containers/${resourceIds["container"]}/pause`);
    expect(await observe(provider, spec)).toMatchObject({ health: "unhealthy" });
    await converge(provider, spec);
    expect(await fetchText(endpoints[0]?.url)).toBe("landlord-test:1");
  });
});

describe("health", () => {
  it("is no redirect and no error, and is no open port", async () => {
    const provider = await newProvider();
    const missing = newSpec({ ...web, health_check: { type: "http", path: "/missing" } });
    await eventually(async () => (await applied(provider, missing)).message?.includes("answered 404"), {
      what: "the answer is seen",
    });
    expect(await applied(provider, missing)).toMatchObject({ health: "starting" });
    // docker-proxy accepts connections for a container that listens nowhere.
    const deaf = newSpec({
      ...web,
      command: ["sleep", "1000"],
      stop_grace_seconds: 0,
      health_check: { type: "http", deadline_seconds: 1 },
    });
    await applied(provider, deaf);
    await eventually(async () => (await observe(provider, deaf)).health === "unhealthy", {
      what: "the deadline passes",
    });
  });

  it("is Docker's own check with a command", async () => {
    const provider = await newProvider();
    const check = (command: string[]) => ({ command, interval_seconds: 1, deadline_seconds: 1 });
    const good = newSpec({ ...sleeper, health_check: check(["true"]) });
    expect(await applied(provider, good)).toMatchObject({ health: "starting" });
    await converge(provider, good);
    const bad = newSpec({ ...sleeper, health_check: check(["sh", "-c", "echo not yet; exit 4"]) });
    await applied(provider, bad);
    const message = await eventually(
      async () => {
        const observation = await observe(provider, bad);
        return observation.health === "unhealthy" && observation.message?.includes("ended with 4")
          ? observation.message
          : null;
      },
      { what: "the check fails" },
    );
    expect(message).toContain("not yet");
  });
});

describe("a pull", () => {
  const pulled = (host: string, more: JsonObject = {}) =>
    newSpec({ image: `${host}/app:1`, stop_grace_seconds: 0, pull_policy: "always", ...more });

  it("tells how far it is, and happens again only when the policy says so", async () => {
    registry = await startRegistry(null);
    registry.slowDown(700_000);
    const provider = await newProvider();
    const messages: string[] = [];
    const spec = pulled(registry.host);
    await provider.apply(spec, { ...options, onProgress: (message) => void messages.push(message) });
    expect(messages.length).toBeGreaterThan(1);
    // One in a second, not one for each of the daemon's events.
    expect(messages.length).toBeLessThan(12);
    expect(messages[0]).toMatch(/^Pulling 127\.0\.0\.1:\d+\/app:1: 0 of 1 layers/);
    expect(messages.some((message) => /, \d\.\d of \d\.\d MB/.test(message))).toBe(true);
    await converge(provider, spec);
    const { pulls } = registry;
    await converge(provider, next(spec, { ...spec.config, pull_policy: "missing" }));
    expect(registry.pulls).toBe(pulls);
  });

  it("of an image that the registry does not have is rejected", async () => {
    registry = await startRegistry(null);
    const provider = await newProvider();
    const spec = newSpec({ ...sleeper, image: `${registry.host}/app:2` });
    await expect(provider.apply(spec, options)).rejects.toMatchObject({
      code: "image_not_found",
      retryable: false,
    });
  });

  it("uses credentials by reference, of the image's registry only, and shows none", async () => {
    registry = await startRegistry("robot:s3cret");
    const file = join(newFolder(), "config.json");
    const auth = Buffer.from("robot:s3cret").toString("base64");
    writeFileSync(
      file,
      JSON.stringify({ auths: { [registry.host]: { auth }, "https://other.example.com/v1/": { auth } } }),
    );
    const provider = await newProvider({ registry_auth_file: file });
    const refusal = await provider.apply(pulled(registry.host), options).catch((error: unknown) => error);
    expect(refusal).toMatchObject({ code: "image_unauthorized", retryable: false });
    const elsewhere = pulled(registry.host, { registry_auth: "https://other.example.com/v1/" });
    await expect(provider.apply(elsewhere, options)).rejects.toMatchObject({ code: "invalid_config" });
    await converge(provider, pulled(registry.host, { registry_auth: registry.host }));
    writeFileSync(
      file,
      JSON.stringify({ auths: { [registry.host]: { username: "robot", password: "wr0ng" } } }),
    );
    const wrong = await provider
      .apply(pulled(registry.host, { registry_auth: registry.host, env: { A: "1" } }), options)
      .catch((error: unknown) => error);
    expect(wrong).toMatchObject({ code: "image_unauthorized" });
    expect((wrong as Error).message).not.toContain("wr0ng");
    writeFileSync(file, `{"auths": s3cret`);
    const damaged = await provider
      .apply(pulled(registry.host, { registry_auth: registry.host, env: { A: "2" } }), options)
      .catch((error: unknown) => error);
    expect(damaged).toMatchObject({ code: "registry_auth_unusable", retryable: true });
    expect((damaged as Error).message).not.toContain("s3cret");
  });

  it("ends at its timeout and when it is cancelled", async () => {
    registry = await startRegistry(null);
    registry.slowDown(1_000);
    const provider = await newProvider({ pull_timeout_seconds: 1 });
    await expect(provider.apply(pulled(registry.host), options)).rejects.toMatchObject({
      code: "pull_timeout",
      retryable: true,
    });
    const patient = await newProvider();
    const cancelled = { ...options, signal: AbortSignal.timeout(300) };
    await expect(patient.apply(pulled(registry.host), cancelled)).rejects.toMatchObject({ code: "aborted" });
  });
});
