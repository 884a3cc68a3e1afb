/** What a tenant may say about its container: schema, defaults and validation against the operator's limits. No I/O. */
import { posix } from "node:path";
import { z } from "zod";
import { type JsonObject, withDefaults } from "../../domain/json.ts";
import { pointerOf, reservedEnvProblems, schemaProblems } from "../config-schema.ts";
import { ComputeError, type ComputeDescription, type ComputeSpec, type ConfigProblem } from "../provider.ts";
import { type EngineConfig, resolveEngineConfig } from "./engine-config.ts";
import { parseImage, registryOfKey } from "./image-reference.ts";
import {
  declaredPorts,
  type DockerConfig,
  dockerConfigSchema,
  healthCheckOf,
  memoryBytesOf,
  nanoCpusOf,
  portKey,
} from "./tenant-config.ts";

export const DOCKER_PROVIDER_NAME = "docker";

/** Docker's own lower bound. */
const MIN_MEMORY_BYTES = 6 * 1024 * 1024;
const MIN_NANO_CPUS = 10_000_000;
/** What a volume of a tenant may be called; its name at the daemon is longer. */
const VOLUME_NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$/;

function problem(path: readonly PropertyKey[], message: string): ConfigProblem {
  return { pointer: pointerOf(path), message };
}

function portProblems(config: DockerConfig, engine: EngineConfig): ConfigProblem[] {
  const names = new Set<string>();
  const keys = new Set<string>();
  return declaredPorts(config).flatMap((declared, index) => {
    const problems: ConfigProblem[] = [];
    if (names.has(declared.name))
      problems.push(problem(["ports", index], `the name "${declared.name}" is taken by another port`));
    if (keys.has(portKey(declared)))
      problems.push(problem(["ports", index, "container_port"], `${portKey(declared)} is declared twice`));
    names.add(declared.name);
    keys.add(portKey(declared));
    if (declared.hostPort !== null && declared.hostPort < engine.hostPortMin)
      problems.push(
        problem(
          ["ports", index, "host_port"],
          `must be at least ${engine.hostPortMin} (compute.docker.host_port_min)`,
        ),
      );
    return problems;
  });
}

function healthCheckProblems(config: DockerConfig): ConfigProblem[] {
  const check = healthCheckOf(config);
  if (check.type === "exec" && check.command.length === 0)
    return [problem(["health_check", "command"], "a check of type exec needs a command")];
  if (check.type !== "http") return [];
  if (config.network_mode === "none")
    return [
      problem(["health_check", "type"], "a check of type http needs a network, and network_mode is none"),
    ];
  if (check.port !== null) return [];
  const wanted = config.health_check?.port;
  return [
    wanted === undefined
      ? problem(["health_check", "type"], "a check of type http needs a tcp port: declare one in ports")
      : problem(["health_check", "port"], `no tcp port is "${wanted}"`),
  ];
}

function networkProblems({ network_mode: mode, ports }: DockerConfig, engine: EngineConfig): ConfigProblem[] {
  if (mode === undefined) return [];
  if (mode === "none" && (ports?.length ?? 0) > 0)
    return [problem(["ports"], "nothing can be published with network_mode none")];
  if (mode === "host")
    return engine.allowHostNetwork
      ? []
      : [problem(["network_mode"], "host is not allowed (compute.docker.allow_host_network)")];
  const allowed = ["none", ...(engine.perTenantNetwork ? [] : ["bridge"]), ...engine.allowedNetworks];
  if (engine.networkName !== null) allowed.push(engine.networkName);
  return allowed.includes(mode)
    ? []
    : [problem(["network_mode"], `"${mode}" is not among the allowed networks: ${allowed.join(", ")}`)];
}

/** True when `path` is `folder` or lies below it. Links on the daemon's host are not seen from here. */
function isBelow(path: string, folder: string): boolean {
  const base = posix.normalize(folder).replace(/\/+$/, "");
  return path === base || path.startsWith(`${base}/`);
}

function volumeProblems(config: DockerConfig, engine: EngineConfig): ConfigProblem[] {
  const targets = new Set<string>();
  return (config.volumes ?? []).flatMap(({ type = "volume", source, target }, index) => {
    const problems: ConfigProblem[] = [];
    const at = (key: string, message: string) => problems.push(problem(["volumes", index, key], message));
    const normal = posix.normalize(target).replace(/\/+$/, "");
    if (targets.has(normal)) at("target", "something else is mounted there already");
    if (normal === "") at("target", "must not be the root of the container");
    targets.add(normal);
    if (type === "tmpfs") {
      if (source !== undefined) at("source", "a tmpfs has no source");
    } else if (source === undefined) {
      at("source", `a ${type} needs a source`);
    } else if (type === "volume") {
      if (!VOLUME_NAME.test(source)) at("source", "must be a name of letters, digits, _, . and -");
    } else if (
      !source.startsWith("/") ||
      posix.normalize(source).replace(/\/$/, "") !== source.replace(/\/$/, "")
    ) {
      at("source", "must be an absolute path without . and ..");
    } else if (!engine.allowedBindPaths.some((folder) => isBelow(source, folder))) {
      at("source", "lies below none of compute.docker.allowed_bind_paths");
    }
    return problems;
  });
}

function privilegeProblems(config: DockerConfig, engine: EngineConfig): ConfigProblem[] {
  return (config.cap_add ?? []).flatMap((capability, index) =>
    engine.allowedCapabilities.includes(capability)
      ? []
      : [problem(["cap_add", index], `${capability} is not in compute.docker.allowed_capabilities`)],
  );
}

function labelProblems(config: DockerConfig, engine: EngineConfig): ConfigProblem[] {
  return Object.keys(config.labels ?? {})
    .filter((key) => key === engine.labelPrefix || key.startsWith(`${engine.labelPrefix}.`))
    .map((key) =>
      problem(["labels", key], `labels that start with ${engine.labelPrefix}. say who owns a container`),
    );
}

function imageProblems(config: DockerConfig, engine: EngineConfig): ConfigProblem[] {
  const reference = parseImage(config.image);
  if (reference === null)
    return [problem(["image"], "must be an image reference such as registry.example.com/app:1.2")];
  if (config.registry_auth === undefined) return [];
  // Credentials go to the image's registry, whatever they were made for: a tenant must not carry them elsewhere.
  if (registryOfKey(config.registry_auth) !== reference.registry)
    return [problem(["registry_auth"], `is for another registry than the image's, ${reference.registry}`)];
  return engine.registryAuthFile === null
    ? [problem(["registry_auth"], "needs compute.docker.registry_auth_file")]
    : [];
}

function resourceProblems({ resources }: DockerConfig): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  if (resources?.memory !== undefined && memoryBytesOf(resources.memory) < MIN_MEMORY_BYTES)
    problems.push(problem(["resources", "memory"], "must be at least 6 MiB"));
  if (resources?.cpu !== undefined && nanoCpusOf(resources.cpu) < MIN_NANO_CPUS)
    problems.push(problem(["resources", "cpu"], "must be at least a hundredth of a core"));
  return problems;
}

/** All problems of a tenant's config, operator defaults merged in; empty when it is valid. */
function validateDockerConfig(config: JsonObject, engine: EngineConfig): readonly ConfigProblem[] {
  const parsed = dockerConfigSchema.safeParse(config);
  if (!parsed.success) return schemaProblems(parsed.error);
  return [
    ...imageProblems(parsed.data, engine),
    ...reservedEnvProblems(parsed.data.env),
    ...portProblems(parsed.data, engine),
    ...networkProblems(parsed.data, engine),
    ...volumeProblems(parsed.data, engine),
    ...labelProblems(parsed.data, engine),
    ...privilegeProblems(parsed.data, engine),
    ...resourceProblems(parsed.data),
    ...healthCheckProblems(parsed.data),
  ];
}

/** The config of a spec. @throws ComputeError `invalid_config`, not retryable, naming every problem */
export function parseDockerConfig(spec: ComputeSpec, engine: EngineConfig): DockerConfig {
  const problems = validateDockerConfig(spec.config, engine);
  if (problems.length === 0) return dockerConfigSchema.parse(spec.config);
  const sentences = problems.map(({ pointer, message }) => `${pointer === "" ? "/" : pointer} ${message}`);
  throw new ComputeError(
    "invalid_config",
    `The compute_config is not valid for docker: ${sentences.join("; ").slice(0, 2_000)}.`,
    { retryable: false },
  );
}

/** The description that the server loads. */
export function describeDocker(engineConfig: JsonObject): ComputeDescription {
  const engine = resolveEngineConfig(engineConfig);
  return {
    name: DOCKER_PROVIDER_NAME,
    configSchema: z.toJSONSchema(dockerConfigSchema, {
      target: "draft-2020-12",
      io: "input",
    }) as unknown as JsonObject,
    configDefaults: engine.defaults === null ? null : withDefaults(engine.defaults, {}),
    // The daemon is the operator's choice, never the tenant's.
    immutableKeys: [],
    validateConfig: (config) => validateDockerConfig(config, engine),
  };
}
