import { writeFileSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { connectionOf } from "../../../src/compute/docker/connection.ts";
import { dockerEngineConfigSchema, resolveEngineConfig } from "../../../src/compute/docker/engine-config.ts";
import { dockerComputeFactory } from "../../../src/compute/docker/factory.ts";
import { parseImage, registryOfKey } from "../../../src/compute/docker/image-reference.ts";
import { configLabel, configOfLabel, parseContainerName } from "../../../src/compute/docker/ownership.ts";
import { memoryBytesOf, nanoCpusOf } from "../../../src/compute/docker/tenant-config.ts";
import type { JsonObject } from "../../../src/domain/json.ts";

const minimal = { image: "app:1" };
const problems = (config: JsonObject, engine: JsonObject = {}) =>
  dockerComputeFactory
    .describe(engine)
    .validateConfig({ ...minimal, ...config })
    .map(({ pointer }) => pointer);

describe("compute_config of docker", () => {
  it("is a JSON Schema with a description for every key", () => {
    const { configSchema, configDefaults } = dockerComputeFactory.describe({
      defaults: { restart_policy: "always" },
    });
    expect(configSchema).toMatchObject({
      $schema: "https://json-schema.org/draft/2020-12/schema",
      required: ["image"],
    });
    const properties = configSchema["properties"] as Record<string, { description?: string }>;
    for (const [key, { description }] of Object.entries(properties)) expect(description, key).toBeTruthy();
    expect(configDefaults).toEqual({ restart_policy: "always" });
  });

  const port = { container_port: 80 };
  it.each<[string, JsonObject, readonly string[]]>([
    ["the least", {}, []],
    [
      "everything",
      {
        image: "r.example.com:5000/a/b:1@sha256:" + "0".repeat(64),
        command: ["x"],
        env: { A: "b" },
        ports: [port],
        health_check: { path: "/" },
        resources: { cpu: "0.5", memory: "1GiB", pids: 9 },
        volumes: [{ source: "data", target: "/data" }],
        restart_policy: "on-failure:3",
        network_mode: "bridge",
      },
      [],
    ],
    ["an unknown key", { privileged: true }, ["/privileged"]],
    ["an image that is none", { image: "UPPER/case" }, ["/image"]],
    ["a reserved variable", { env: { LANDLORD_X: "1" } }, ["/env/LANDLORD_X"]],
    ["an ownership label", { labels: { "landlord.tenant": "x", ok: "1" } }, ["/labels/landlord.tenant"]],
    [
      "two ports of a name",
      {
        ports: [
          { ...port, name: "a" },
          { container_port: 81, name: "a" },
        ],
      },
      ["/ports/1"],
    ],
    [
      "a port twice",
      {
        ports: [
          { ...port, name: "a" },
          { ...port, name: "b" },
        ],
      },
      ["/ports/1/container_port"],
    ],
    ["tcp and udp of a port", { ports: [port, { ...port, protocol: "udp" }] }, []],
    ["a privileged host port", { ports: [{ ...port, host_port: 80 }] }, ["/ports/0/host_port"]],
    ["the host's network", { network_mode: "host" }, ["/network_mode"]],
    ["another tenant's network", { network_mode: "landlord-x-net" }, ["/network_mode"]],
    ["another container's network", { network_mode: "container:abc" }, ["/network_mode"]],
    ["a bind mount", { volumes: [{ type: "bind", source: "/etc", target: "/x" }] }, ["/volumes/0/source"]],
    ["a volume by path", { volumes: [{ source: "/etc", target: "/x" }] }, ["/volumes/0/source"]],
    [
      "two mounts at a place",
      {
        volumes: [
          { source: "a", target: "/x" },
          { source: "b", target: "/x/" },
        ],
      },
      ["/volumes/1/target"],
    ],
    ["a mount over everything", { volumes: [{ source: "a", target: "/." }] }, ["/volumes/0/target"]],
    ["a capability", { cap_add: ["SYS_ADMIN"] }, ["/cap_add/0"]],
    ["a http check without a port", { health_check: { type: "http" } }, ["/health_check/type"]],
    ["a http check of no such port", { ports: [port], health_check: { port: 81 } }, ["/health_check/port"]],
    ["an exec check without a command", { health_check: { type: "exec" } }, ["/health_check/command"]],
    ["too little memory", { resources: { memory: "4m" } }, ["/resources/memory"]],
    ["a limit of nothing", { resources: { cpu: "0" } }, ["/resources/cpu"]],
    ["credentials without a file", { registry_auth: "docker.io" }, ["/registry_auth"]],
    ["credentials of another registry", { registry_auth: "r.example.com" }, ["/registry_auth"]],
  ])("%s", (_name, config, expected) => {
    expect(problems(config)).toEqual(expected);
  });

  it("allows what the operator allows, and no more", () => {
    const bind = (source: string) => ({ volumes: [{ type: "bind", source, target: "/x" }] });
    const engine = { allowed_bind_paths: ["/srv/tenants/"] };
    expect(problems(bind("/srv/tenants/a"), engine)).toEqual([]);
    expect(problems(bind("/srv/tenants"), engine)).toEqual([]);
    for (const source of [
      "/srv/tenants-of-others",
      "/srv/tenants/../etc",
      "/srv/tenants/./a",
      "/srv//tenants/a",
      "srv",
    ])
      expect(problems(bind(source), engine), source).toEqual(["/volumes/0/source"]);
    expect(problems({ network_mode: "host" }, { allow_host_network: true })).toEqual([]);
    expect(problems({ cap_add: ["NET_RAW"] }, { allowed_capabilities: ["NET_RAW"] })).toEqual([]);
    expect(problems({ network_mode: "shared" }, { network_name: "shared" })).toEqual([]);
    // A tenant with a network of its own does not join everybody's.
    expect(problems({ network_mode: "bridge" }, { per_tenant_network: true })).toEqual(["/network_mode"]);
    const auth = { registry_auth_file: "/x" };
    expect(problems({ registry_auth: "https://index.docker.io/v1/" }, auth)).toEqual([]);
    expect(problems({ image: "r.example.com/a", registry_auth: "https://r.example.com/v2/" }, auth)).toEqual(
      [],
    );
  });

  it("knows units", () => {
    expect([250, "250m", "0.25"].map(nanoCpusOf)).toEqual([250e6, 250e6, 250e6]);
    const mebibyte = 1024 ** 2;
    expect([64, "64m", "64MiB", "65536k", "67108864b"].map(memoryBytesOf)).toEqual(
      Array(5).fill(64 * mebibyte),
    );
    expect(memoryBytesOf("1g")).toBe(1024 * mebibyte);
  });
});

describe("names", () => {
  it("of images have a registry, a name and a tag", () => {
    expect(parseImage("nginx")).toEqual({ registry: "docker.io", name: "nginx", tag: "latest" });
    expect(parseImage("team/app:1")).toEqual({ registry: "docker.io", name: "team/app", tag: "1" });
    expect(parseImage("localhost/app")).toMatchObject({ registry: "localhost" });
    expect(parseImage("r.io:5000/app:1")).toEqual({ registry: "r.io:5000", name: "r.io:5000/app", tag: "1" });
    const digest = `sha256:${"a".repeat(64)}`;
    expect(parseImage(`app:1@${digest}`)).toEqual({ registry: "docker.io", name: "app", tag: digest });
    for (const bad of ["", "App", "a//b", "a:", "a@sha256:1", "a b", "-a", "../a"])
      expect(parseImage(bad), bad).toBeNull();
    expect(registryOfKey("https://index.docker.io/v1/")).toBe("docker.io");
    expect(registryOfKey("R.IO:5000")).toBe("r.io:5000");
  });

  it("of containers are read back, and no others", () => {
    expect(parseContainerName("b", "b-g12")).toEqual({ generation: 12, retiredUntilSeconds: null });
    expect(parseContainerName("b", "b-g12-until-99")).toEqual({ generation: 12, retiredUntilSeconds: 99 });
    for (const bad of ["b", "b-g", "b-gx", "c-g1", "b-g1-until-", "b-g1x", "b-net"])
      expect(parseContainerName("b", bad), bad).toBeNull();
  });

  it("of variables travel in labels, their values do not", () => {
    const config = { image: "a", env: { A: "x=y", B: "secret" } };
    const label = configLabel(config);
    expect(label).not.toContain("secret");
    expect(configOfLabel(label, ["PATH=/bin", "A=x=y", "B=secret"])).toEqual(config);
    expect(configOfLabel("{", [])).toBeNull();
    expect(configOfLabel(undefined, [])).toBeNull();
  });
});

describe("the daemon", () => {
  const engine = (block: JsonObject = {}) => resolveEngineConfig(dockerEngineConfigSchema.parse(block));

  it("is the configured one, else DOCKER_HOST, else the default socket", async () => {
    const environment = { DOCKER_HOST: "tcp://10.1.2.3" };
    expect(await connectionOf(engine({ host: "unix:///x.sock" }), environment)).toMatchObject({
      remoteHost: null,
      options: { socketPath: "/x.sock", host: undefined },
    });
    expect(await connectionOf(engine(), environment)).toMatchObject({
      remoteHost: "10.1.2.3",
      options: { host: "10.1.2.3", port: "2375", protocol: "http", socketPath: undefined },
    });
    expect(await connectionOf(engine(), {})).toMatchObject({
      options: { socketPath: "/var/run/docker.sock" },
    });
    expect(await connectionOf(engine({ host: "tcp://[::1]:99" }), {})).toMatchObject({
      options: { host: "::1", port: "99" },
    });
    await expect(connectionOf(engine(), { DOCKER_HOST: "ssh://x" })).rejects.toMatchObject({
      code: "docker_host_invalid",
    });
  });

  it("is asked over TLS with the configured files, or with those of DOCKER_CERT_PATH", async () => {
    const folder = mkdtempSync(join(tmpdir(), "landlord-docker-"));
    try {
      for (const name of ["ca", "cert", "key"]) writeFileSync(join(folder, `${name}.pem`), name);
      const files = {
        host: "tcp://daemon:2376",
        tls_ca_file: join(folder, "ca.pem"),
        tls_cert_file: join(folder, "cert.pem"),
        tls_key_file: join(folder, "key.pem"),
      };
      const expected = {
        protocol: "https",
        ca: Buffer.from("ca"),
        cert: Buffer.from("cert"),
        key: Buffer.from("key"),
      };
      expect((await connectionOf(engine(files), {})).options).toMatchObject(expected);
      const environment = { DOCKER_HOST: "tcp://daemon", DOCKER_CERT_PATH: folder, DOCKER_TLS_VERIFY: "1" };
      expect((await connectionOf(engine(), environment)).options).toMatchObject({
        ...expected,
        port: "2376",
      });
      rmSync(join(folder, "key.pem"));
      await expect(connectionOf(engine(files), {})).rejects.toMatchObject({ code: "tls_file_unreadable" });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("is refused when the block contradicts itself", () => {
    const bad = (block: JsonObject) => dockerEngineConfigSchema.safeParse(block).success;
    expect(
      [{ port_min: 3000, port_max: 2000 }, { tls_cert_file: "/x" }, { host: "ssh://x" }, { nothing: 1 }].map(
        bad,
      ),
    ).toEqual([false, false, false, false]);
    expect(bad({})).toBe(true);
  });
});
