/** A tenant's compute_config for `docker`: its schema, and what follows from it when keys are left out. No I/O. */
import { z } from "zod";
import { environment, seconds, text } from "../config-schema.ts";

const MAX_ARGUMENTS = 256;
const MAX_PORTS = 16;
const MAX_VOLUMES = 32;
const MAX_LABELS = 64;
const MAX_CAPABILITIES = 64;
const MIB = 1024 * 1024;

const command = z.array(text(65_536)).min(1).max(MAX_ARGUMENTS);

const absolutePath = text(4096).regex(/^\//, "must be an absolute path");
const portNumber = z.int().min(1).max(65_535);
const portName = z.string().regex(/^[a-z0-9_-]{1,63}$/, "must be 1 to 63 characters of a-z, 0-9, _ and -");

const MEMORY = /^([1-9][0-9]{0,17})(?:([kmgt])(?:i?b)?|b)$/i;
const CPU = /^(?:([1-9][0-9]{0,6})m|([0-9]{1,4}(?:\.[0-9]{1,3})?))$/;

const resourcesSchema = z
  .strictObject({
    cpu: z
      .union([z.int().min(10).max(1_024_000), z.string().regex(CPU, 'must look like "250m" or "0.5"')])
      .optional()
      .describe('CPU limit: a number of thousandths of a core, or text: "250m", "0.5"'),
    memory: z
      .union([z.int().min(6).max(16_777_216), z.string().regex(MEMORY, 'must look like "256m" or "1GiB"')])
      .optional()
      .describe(
        'Memory limit, swap included: a number of MiB, or text with a unit: "256m", "1GiB" (powers of 1024)',
      ),
    pids: z.int().min(2).max(1_000_000).optional().describe("How many processes and threads may exist"),
  })
  .describe("Limits, enforced by the daemon");

const healthCheckSchema = z
  .strictObject({
    type: z
      .enum(["http", "exec", "none"])
      .optional()
      .describe(
        "How health is asked. Default: exec with a command, http with a path or port, else the image's own HEALTHCHECK, else none (it runs and stays up)",
      ),
    path: text(2048)
      .regex(/^\/[\x21-\x7e]*$/, "must start with / and hold no spaces")
      .optional()
      .meta({
        default: "/",
        description: "http: the path to GET; any 2xx is healthy, redirects are not followed",
      }),
    port: z
      .union([portNumber, portName])
      .optional()
      .describe("http: a declared port, by its name or container_port. Default: the first tcp port"),
    command: command
      .optional()
      .describe("exec: run inside the container by the daemon, without a shell; 0 is healthy"),
    interval_seconds: seconds(
      1,
      300,
      1,
      "Pause between two looks while health is awaited; for exec, between two runs for as long as it lives (default 5)",
    ),
    timeout_seconds: seconds(0.1, 30, 2, "How long one look may take; for exec at least 1"),
    deadline_seconds: seconds(1, 3600, 60, "How long after its start the workload counts as starting"),
  })
  .describe("How to tell whether the workload serves");

const volumeSchema = z.strictObject({
  type: z.enum(["volume", "bind", "tmpfs"]).optional().meta({
    default: "volume",
    description: "volume: the tenant's own, kept for ever; bind: a path of the daemon's host",
  }),
  source: text(4096)
    .optional()
    .describe("volume: a name, the tenant's own; bind: an absolute path below allowed_bind_paths"),
  target: absolutePath.describe("Where it is mounted in the container"),
  read_only: z
    .boolean()
    .optional()
    .meta({ default: false, description: "Mounted without the right to write" }),
  shared: z.boolean().optional().meta({
    default: false,
    description:
      "Two generations may write to it at once. Without it, an update stops the old container before the new one starts",
  }),
});

export const tenantShape = {
  compute_provider: z.string().optional().describe("The resolved provider; set by the control plane"),
  image: text(512)
    .regex(/^[\w.:@/-]+$/, "must be an image reference such as registry.example.com/app:1.2")
    .describe("The image: name with tag or digest"),
  command: command.optional().describe("Arguments in the place of the image's CMD; run without a shell"),
  entrypoint: command.optional().describe("Program in the place of the image's ENTRYPOINT"),
  user: text(128).min(1).optional().describe("User and group, such as 1000:1000. Default: the image's"),
  working_dir: absolutePath.optional().describe("Working folder in the container. Default: the image's"),
  env: environment
    .optional()
    .describe("Environment variables, over those of the image. Never logged; visible to users of the daemon"),
  volumes: z.array(volumeSchema).max(MAX_VOLUMES).optional().describe("What is mounted into the container"),
  network_mode: text(128)
    .regex(/^[A-Za-z0-9][A-Za-z0-9_.-]*$/, "must be bridge, none, host or the name of a network")
    .optional()
    .describe("bridge, none, host (if the operator allows it) or an allowed network's name"),
  ports: z
    .array(
      z.strictObject({
        name: portName.optional().describe("Name of the endpoint. Default: the container port"),
        container_port: portNumber.describe("The port that the workload listens on"),
        host_port: portNumber
          .optional()
          .describe(
            "A fixed port of the daemon's host: updates then stop first. Default: a free one of the range",
          ),
        protocol: z.enum(["tcp", "udp"]).optional().meta({ default: "tcp", description: "tcp or udp" }),
      }),
    )
    .max(MAX_PORTS)
    .optional()
    .describe("Ports to publish; each is an endpoint of the tenant"),
  restart_policy: z
    .string()
    .regex(
      /^(?:no|always|unless-stopped|on-failure(?::[1-9][0-9]{0,2})?)$/,
      "must be no, always, unless-stopped, on-failure or on-failure:<times>",
    )
    .optional()
    .meta({ default: "unless-stopped", description: "When the daemon starts an ended container again" }),
  labels: z
    .record(text(256).min(1), text(4096))
    .refine((labels) => Object.keys(labels).length <= MAX_LABELS, `must have at most ${MAX_LABELS} entries`)
    .optional()
    .describe("Labels of the container"),
  resources: resourcesSchema.optional(),
  health_check: healthCheckSchema.optional(),
  pull_policy: z.enum(["always", "missing", "never"]).optional().meta({
    default: "missing",
    description: "When the image is pulled before a container is created",
  }),
  registry_auth: text(512)
    .min(1)
    .optional()
    .describe(
      "By reference: the key under `auths` of the worker's registry_auth_file. Must be the image's registry",
    ),
  stop_grace_seconds: z
    .int()
    .min(0)
    .max(600)
    .optional()
    .meta({ default: 5, description: "How long the workload may take to end after SIGTERM" }),
  init: z
    .boolean()
    .optional()
    .meta({ default: false, description: "Run an init that forwards signals and reaps children" }),
  read_only: z.boolean().optional().meta({ default: false, description: "A read-only root file system" }),
  cap_add: z
    .array(z.string().regex(/^[A-Z_]{1,64}$/, "must be a capability such as NET_ADMIN"))
    .max(MAX_CAPABILITIES)
    .optional()
    .describe("Capabilities to add; each must be in allowed_capabilities"),
  cap_drop: z
    .array(z.string().regex(/^[A-Z_]{1,64}$/, "must be ALL or a capability such as CHOWN"))
    .max(MAX_CAPABILITIES)
    .optional()
    .describe("Capabilities to drop besides the operator's"),
};

/** A tenant's compute_config for `docker`. */
export const dockerConfigSchema = z.strictObject(tenantShape);
export type DockerConfig = z.infer<typeof dockerConfigSchema>;

export interface DeclaredPort {
  readonly name: string;
  readonly containerPort: number;
  /** Null when the provider chooses one. */
  readonly hostPort: number | null;
  readonly protocol: "tcp" | "udp";
}

/** The declared ports, in order, with every default filled in. */
export function declaredPorts(config: DockerConfig): readonly DeclaredPort[] {
  return (config.ports ?? []).map(({ name, container_port, host_port, protocol = "tcp" }) => ({
    name: name ?? (protocol === "tcp" ? String(container_port) : `${container_port}-udp`),
    containerPort: container_port,
    hostPort: host_port ?? null,
    protocol,
  }));
}

/** A declared port as Docker writes it: `8080/tcp`. */
export function portKey(port: DeclaredPort): string {
  return `${port.containerPort}/${port.protocol}`;
}

export interface HealthCheck {
  /** `image`: whatever the image itself says, or nothing. */
  readonly type: "http" | "exec" | "image" | "none";
  readonly path: string;
  /** Null for all but http, and for http when there is no such port. */
  readonly port: DeclaredPort | null;
  readonly command: readonly string[];
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly deadlineMs: number;
}

/** The health check with every default filled in. */
export function healthCheckOf(config: DockerConfig): HealthCheck {
  const check = config.health_check ?? {};
  const isHttp = check.path !== undefined || check.port !== undefined;
  const type = check.type ?? (check.command !== undefined ? "exec" : isHttp ? "http" : "image");
  const tcpPorts = declaredPorts(config).filter(({ protocol }) => protocol === "tcp");
  const wanted = check.port;
  const found =
    wanted === undefined
      ? tcpPorts[0]
      : tcpPorts.find(({ name, containerPort }) => name === wanted || containerPort === wanted);
  return {
    type,
    path: check.path ?? "/",
    port: type === "http" ? (found ?? null) : null,
    command: check.command ?? [],
    intervalMs: (check.interval_seconds ?? (type === "exec" ? 5 : 1)) * 1_000,
    timeoutMs: (check.timeout_seconds ?? 2) * 1_000,
    deadlineMs: (check.deadline_seconds ?? 60) * 1_000,
  };
}

/** How long the workload may take to end after SIGTERM, in seconds. */
export function stopGraceSeconds(config: DockerConfig): number {
  return config.stop_grace_seconds ?? 5;
}

/** Billionths of a core. */
export function nanoCpusOf(cpu: number | string): number {
  if (typeof cpu === "number") return cpu * 1_000_000;
  const [, thousandths, cores] = CPU.exec(cpu) ?? [];
  return Math.round(
    thousandths !== undefined ? Number(thousandths) * 1_000_000 : Number(cores) * 1_000_000_000,
  );
}

/** Bytes. */
export function memoryBytesOf(memory: number | string): number {
  if (typeof memory === "number") return memory * MIB;
  const [, amount, unit] = MEMORY.exec(memory) ?? [];
  const power = unit === undefined ? 0 : "kmgt".indexOf(unit.toLowerCase()) + 1;
  return Number(amount) * 1024 ** power;
}

/** What only one container of a tenant can have at a time: two that want the same one cannot run side by side. */
export function exclusivesOf(config: DockerConfig): ReadonlySet<string> {
  const isHostNetwork = config.network_mode === "host";
  const ports = declaredPorts(config).flatMap((declared) => {
    const hostPort = isHostNetwork ? declared.containerPort : declared.hostPort;
    return hostPort === null ? [] : [`port ${hostPort}/${declared.protocol}`];
  });
  const volumes = (config.volumes ?? []).flatMap(({ type = "volume", source, read_only, shared }) =>
    type === "tmpfs" || read_only === true || shared === true ? [] : [`${type} ${source ?? ""}`],
  );
  return new Set([...ports, ...volumes]);
}
