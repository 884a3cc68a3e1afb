/** A container as it is asked for: from a tenant's config, within what the operator allows. No I/O. */
import type Docker from "dockerode";
import type { ComputeSpec } from "../provider.ts";
import type { EngineConfig } from "./engine-config.ts";
import type { HostPort } from "./host-ports.ts";
import {
  configLabel,
  containerName,
  type LabelKeys,
  networkNameOf,
  ownerLabels,
  volumeName,
} from "./ownership.ts";
import {
  type DockerConfig,
  healthCheckOf,
  memoryBytesOf,
  nanoCpusOf,
  portKey,
  stopGraceSeconds,
} from "./tenant-config.ts";

const NANOSECONDS_PER_MS = 1_000_000;
/** Docker refuses shorter ones. */
const MIN_CHECK_TIMEOUT_MS = 1_000;
const CHECK_RETRIES = 3;

export interface BodyOptions {
  readonly base: string;
  readonly keys: LabelKeys;
  readonly engine: EngineConfig;
  readonly ports: readonly HostPort[];
  /** What ensureNetwork answered. */
  readonly network: string;
}

/** The network that a container joins: the tenant's choice, else the operator's. */
export function networkModeOf(config: DockerConfig, engine: EngineConfig, base: string): string {
  if (config.network_mode !== undefined) return config.network_mode;
  if (engine.perTenantNetwork) return networkNameOf(base);
  return engine.networkName ?? "bridge";
}

export function containerBody(
  spec: ComputeSpec,
  config: DockerConfig,
  options: BodyOptions,
): Docker.ContainerCreateOptions {
  const { base, keys, ports, network } = options;
  const env: Record<string, string> = {
    ...config.env,
    LANDLORD_TENANT_ID: spec.tenantId,
    LANDLORD_TENANT_NAME: spec.tenantName,
    LANDLORD_GENERATION: String(spec.generation),
  };
  return {
    name: containerName(base, spec.generation),
    Image: config.image,
    ...(config.command !== undefined && { Cmd: config.command }),
    ...(config.entrypoint !== undefined && { Entrypoint: config.entrypoint }),
    ...(config.user !== undefined && { User: config.user }),
    ...(config.working_dir !== undefined && { WorkingDir: config.working_dir }),
    Env: Object.entries(env).map(([name, value]) => `${name}=${value}`),
    Labels: {
      ...config.labels,
      ...ownerLabels(keys, spec),
      [keys.tenantName]: spec.tenantName,
      [keys.generation]: String(spec.generation),
      [keys.configHash]: spec.configHash,
      [keys.config]: configLabel(spec.config),
    },
    StopTimeout: stopGraceSeconds(config),
    ...healthBody(config),
    ...(network === "host"
      ? {}
      : { ExposedPorts: Object.fromEntries(ports.map((port) => [portKey(port), {}])) }),
    HostConfig: hostConfig(spec, config, options),
  };
}

function hostConfig(
  spec: ComputeSpec,
  config: DockerConfig,
  { base, keys, engine, ports, network }: BodyOptions,
): Docker.HostConfig {
  const [policy = "unless-stopped", retries = "0"] = (config.restart_policy ?? "unless-stopped").split(":");
  const memory = config.resources?.memory;
  const cpu = config.resources?.cpu;
  const added = config.cap_add ?? [];
  const dropped = [...engine.dropCapabilities, ...(config.cap_drop ?? [])];
  return {
    NetworkMode: network,
    PortBindings:
      network === "host"
        ? {}
        : Object.fromEntries(
            ports.map((port) => [
              portKey(port),
              [{ HostIp: engine.publishAddress, HostPort: String(port.published) }],
            ]),
          ),
    RestartPolicy: { Name: policy, MaximumRetryCount: Number(retries) },
    Mounts: mounts(spec, config, { base, keys }),
    CapAdd: added,
    CapDrop: [...new Set(dropped)].filter((capability) => !added.includes(capability)),
    SecurityOpt: engine.noNewPrivileges ? ["no-new-privileges:true"] : [],
    ReadonlyRootfs: config.read_only ?? false,
    Init: config.init ?? false,
    PidsLimit: config.resources?.pids ?? engine.pidsLimit,
    ...(memory !== undefined && { Memory: memoryBytesOf(memory), MemorySwap: memoryBytesOf(memory) }),
    ...(cpu !== undefined && { NanoCpus: nanoCpusOf(cpu) }),
    // Always this driver: others may not hand logs back, and the daemon's own settings may have no limit.
    LogConfig: { Type: "json-file", Config: { "max-size": String(engine.logLimitBytes), "max-file": "2" } },
  };
}

function mounts(
  spec: ComputeSpec,
  config: DockerConfig,
  { base, keys }: Pick<BodyOptions, "base" | "keys">,
): Docker.MountSettings[] {
  return (config.volumes ?? []).map(({ type = "volume", source = "", target, read_only = false }) => {
    switch (type) {
      case "tmpfs":
        return { Type: "tmpfs", Source: "", Target: target, ReadOnly: read_only };
      case "bind":
        return { Type: "bind", Source: source, Target: target, ReadOnly: read_only };
      case "volume": {
        const labels = { ...ownerLabels(keys, spec), [keys.role]: "data" };
        return {
          Type: "volume",
          Source: volumeName(base, source),
          Target: target,
          ReadOnly: read_only,
          VolumeOptions: { NoCopy: false, Labels: labels, DriverConfig: { Name: "local", Options: {} } },
        };
      }
    }
  });
}

function healthBody(config: DockerConfig): Pick<Docker.ContainerCreateOptions, "Healthcheck"> {
  const check = healthCheckOf(config);
  switch (check.type) {
    case "image":
      return {};
    // The worker asks by itself; the image's own check would only cost.
    case "http":
    case "none":
      return { Healthcheck: { Test: ["NONE"] } };
    case "exec":
      return {
        Healthcheck: {
          Test: ["CMD", ...check.command],
          Interval: check.intervalMs * NANOSECONDS_PER_MS,
          Timeout: Math.max(check.timeoutMs, MIN_CHECK_TIMEOUT_MS) * NANOSECONDS_PER_MS,
          Retries: CHECK_RETRIES,
          StartPeriod: check.deadlineMs * NANOSECONDS_PER_MS,
        },
      };
  }
}
