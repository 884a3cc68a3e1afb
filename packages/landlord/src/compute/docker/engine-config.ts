/** The block `compute.docker`: what the operator says. No I/O. */
import { z } from "zod";
import type { JsonObject } from "../../domain/json.ts";
import { tenantShape } from "./tenant-config.ts";

/** Left to a container: what common images need to change users and own files. These are not needed by any. */
const DROPPED_CAPABILITIES = ["AUDIT_WRITE", "MKNOD", "NET_RAW", "SETFCAP", "SETPCAP", "SYS_CHROOT"];

const file = z.string().min(1).max(4096);
const networkName = z
  .string()
  .max(128)
  .regex(/^[A-Za-z0-9][A-Za-z0-9_.-]*$/, "must be the name of a Docker network");
const capability = z.string().regex(/^[A-Z_]{1,64}$/, "must be a capability such as NET_RAW");
const address = z.union([z.ipv4(), z.ipv6()]);

const engineShape = {
  host: z
    .string()
    .regex(
      /^(?:unix:\/\/\/.+|tcp:\/\/[^/]+)$/,
      "must look like unix:///var/run/docker.sock or tcp://host:2376",
    )
    .optional()
    .describe("The daemon. Default: the worker's DOCKER_HOST, else unix:///var/run/docker.sock"),
  tls_ca_file: file
    .optional()
    .describe(
      "tcp: certificate of the authority that signed the daemon's, on the worker. Default: ca.pem in DOCKER_CERT_PATH",
    ),
  tls_cert_file: file
    .optional()
    .describe("tcp: the worker's certificate. Default: cert.pem in DOCKER_CERT_PATH"),
  tls_key_file: file.optional().describe("tcp: the worker's key. Default: key.pem in DOCKER_CERT_PATH"),
  network_name: networkName
    .optional()
    .describe("Network of tenants that name none; made if it does not exist. Default: Docker's bridge"),
  network_driver: z
    .string()
    .min(1)
    .max(64)
    .optional()
    .meta({ default: "bridge", description: "Driver of networks that are made" }),
  per_tenant_network: z
    .boolean()
    .optional()
    .meta({ default: false, description: "A network of its own for each tenant, made and removed with it" }),
  allowed_networks: z
    .array(networkName)
    .max(64)
    .optional()
    .describe("Further networks that tenants may name in network_mode. Default: none"),
  label_prefix: z
    .string()
    .regex(/^[a-z0-9](?:[a-z0-9.-]{0,30}[a-z0-9])?$/, "must be 1 to 32 characters of a-z, 0-9, . and -")
    .optional()
    .meta({
      default: "landlord",
      description:
        "Begins the labels and names of all that is made. What exists under another prefix is not seen",
    }),
  publish_address: address
    .optional()
    .meta({ default: "127.0.0.1", description: "Address of the daemon's host where ports are published" }),
  endpoint_host: z
    .string()
    .min(1)
    .max(255)
    .optional()
    .describe("Host that endpoints name. Default: publish_address, or the daemon's host for tcp"),
  port_min: z
    .int()
    .min(1024)
    .max(65_535)
    .optional()
    .meta({ default: 30_000, description: "First port to publish on when a tenant fixes none" }),
  port_max: z
    .int()
    .min(1024)
    .max(65_535)
    .optional()
    .meta({ default: 32_767, description: "Last port to publish on when a tenant fixes none" }),
  host_port_min: z
    .int()
    .min(1)
    .max(65_535)
    .optional()
    .meta({ default: 1024, description: "Lowest host_port that a tenant may fix" }),
  probe_via: z.enum(["auto", "published", "container"]).optional().meta({
    default: "auto",
    description:
      "How the worker's HTTP checks reach a container: at its published port, at its own address, or at whichever answers",
  }),
  allowed_bind_paths: z
    .array(file.regex(/^\//, "must be an absolute path"))
    .max(64)
    .optional()
    .describe("Folders of the daemon's host below which tenants may bind-mount. Default: none"),
  allow_host_network: z
    .boolean()
    .optional()
    .meta({ default: false, description: "Tenants may use network_mode host" }),
  allowed_capabilities: z
    .array(capability)
    .max(64)
    .optional()
    .describe("Capabilities that tenants may add. Default: none"),
  drop_capabilities: z.array(capability).max(64).optional().meta({
    default: DROPPED_CAPABILITIES,
    description: "Capabilities that every container loses; ALL for all",
  }),
  no_new_privileges: z
    .boolean()
    .optional()
    .meta({ default: true, description: "Programs cannot gain privileges, such as by setuid" }),
  pids_limit: z
    .int()
    .min(2)
    .max(1_000_000)
    .optional()
    .meta({ default: 1024, description: "Processes and threads of a tenant that sets no resources.pids" }),
  log_limit_bytes: z.int().min(4096).max(1_073_741_824).optional().meta({
    default: 10_485_760,
    description: "Size at which a container's log is rotated; one older part is kept",
  }),
  registry_auth_file: file
    .optional()
    .describe("A Docker config.json on the worker; its `auths` are what registry_auth refers to"),
  pull_timeout_seconds: z
    .number()
    .min(1)
    .max(86_400)
    .optional()
    .meta({ default: 600, description: "How long one pull of an image may take" }),
  drain_seconds: z.number().min(0).max(3600).optional().meta({
    default: 5,
    description: "How long a replaced container goes on serving after the new one is healthy",
  }),
  defaults: z
    .strictObject({ ...tenantShape, image: tenantShape.image.optional() })
    .optional()
    .describe("Keys of compute_config for tenants that leave them out"),
};

const engineSchema = z
  .strictObject(engineShape)
  .refine((value) => (value.port_min ?? 30_000) <= (value.port_max ?? 32_767), {
    path: ["port_max"],
    message: "must not be below port_min",
  })
  .refine((value) => (value.tls_cert_file === undefined) === (value.tls_key_file === undefined), {
    path: ["tls_key_file"],
    message: "tls_cert_file and tls_key_file belong together",
  });

/** The block `compute.docker`. */
export const dockerEngineConfigSchema = engineSchema as unknown as z.ZodType<JsonObject>;

/** The block with every default filled in. Throws a ZodError when it is invalid. */
export function resolveEngineConfig(engineConfig: JsonObject) {
  const parsed = engineSchema.parse(engineConfig);
  return {
    host: parsed.host ?? null,
    tlsCaFile: parsed.tls_ca_file ?? null,
    tlsCertFile: parsed.tls_cert_file ?? null,
    tlsKeyFile: parsed.tls_key_file ?? null,
    networkName: parsed.network_name ?? null,
    networkDriver: parsed.network_driver ?? "bridge",
    perTenantNetwork: parsed.per_tenant_network ?? false,
    allowedNetworks: parsed.allowed_networks ?? [],
    labelPrefix: parsed.label_prefix ?? "landlord",
    publishAddress: parsed.publish_address ?? "127.0.0.1",
    endpointHost: parsed.endpoint_host ?? null,
    portMin: parsed.port_min ?? 30_000,
    portMax: parsed.port_max ?? 32_767,
    hostPortMin: parsed.host_port_min ?? 1024,
    probeVia: parsed.probe_via ?? "auto",
    allowedBindPaths: parsed.allowed_bind_paths ?? [],
    allowHostNetwork: parsed.allow_host_network ?? false,
    allowedCapabilities: parsed.allowed_capabilities ?? [],
    dropCapabilities: parsed.drop_capabilities ?? DROPPED_CAPABILITIES,
    noNewPrivileges: parsed.no_new_privileges ?? true,
    pidsLimit: parsed.pids_limit ?? 1024,
    logLimitBytes: parsed.log_limit_bytes ?? 10_485_760,
    registryAuthFile: parsed.registry_auth_file ?? null,
    pullTimeoutMs: (parsed.pull_timeout_seconds ?? 600) * 1_000,
    drainMs: (parsed.drain_seconds ?? 5) * 1_000,
    defaults: (parsed.defaults ?? null) as JsonObject | null,
  };
}

export type EngineConfig = Readonly<ReturnType<typeof resolveEngineConfig>>;
