/** What a tenant may say about its process, and what the operator may: schema, defaults and validation. No I/O. */
import { z } from "zod";
import type { ComputeDescription, ConfigProblem } from "../provider.ts";
import { environment, reservedEnvProblems, schemaProblems, seconds, text } from "../config-schema.ts";
import { type JsonObject, withDefaults } from "../../domain/json.ts";

export const PROCESS_PROVIDER_NAME = "process";

/** The name of a port that the tenant gave none. */
const DEFAULT_PORT_NAME = "default";
const MAX_PORTS = 16;
const MAX_ARGUMENTS = 256;

const argument = text(65_536);
const command = z
  .array(argument)
  .min(1)
  .max(MAX_ARGUMENTS)
  .refine((value) => value[0] !== "" && value[0]?.startsWith("-") !== true, {
    message: "must start with the name or path of a program",
  });
const portName = z
  .string()
  .regex(/^[a-z0-9_-]{1,63}$/, "must be 1 to 63 characters of a-z, 0-9, _ and -")
  .describe("Name of a port");

const healthCheckSchema = z
  .strictObject({
    type: z
      .enum(["http", "tcp", "exec", "none"])
      .optional()
      .describe("How health is asked. Default: tcp when a port is declared, else none (alive is healthy)"),
    path: text(2048)
      .regex(/^\/[\x21-\x7e]*$/, "must start with / and hold no spaces")
      .optional()
      .meta({
        default: "/",
        description: "http: the path to GET; any 2xx is healthy, redirects are not followed",
      }),
    port: portName.optional().describe("http, tcp: the port's name. Default: the first port"),
    command: command.optional().describe("exec: the program that answers 0 when the workload is healthy"),
    interval_seconds: seconds(0.1, 300, 1, "Pause between two looks while health is awaited"),
    timeout_seconds: seconds(0.1, 30, 2, "How long one look may take"),
    deadline_seconds: seconds(1, 3600, 60, "How long after its start the workload counts as starting"),
  })
  .describe("How to tell whether the workload serves");

const resourcesSchema = z
  .strictObject({
    cpu: z.int().min(10).max(1_024_000).optional().describe("CPU limit in thousandths of a core"),
    memory: z.int().min(4).max(16_777_216).optional().describe("Memory limit in MiB"),
    pids: z.int().min(2).max(1_000_000).optional().describe("How many processes and threads may exist"),
  })
  .describe("Limits, enforced by cgroups where the host lets the worker use them");

const tenantShape = {
  compute_provider: z.string().optional().describe("The resolved provider; set by the control plane"),
  command: command.describe("The program and its arguments; run without a shell"),
  env: environment
    .optional()
    .describe("Environment variables. Nothing of the worker's own environment is passed on"),
  cwd: text(4096)
    .regex(/^\//, "must be an absolute path")
    .optional()
    .describe("Working folder. Default: a folder of the tenant's own, removed with it"),
  ports: z
    .array(z.strictObject({ name: portName.optional() }))
    .max(MAX_PORTS)
    .optional()
    .describe("Ports to reserve on loopback; the workload reads them from PORT and PORT_<NAME>"),
  health_check: healthCheckSchema.optional(),
  resources: resourcesSchema.optional(),
  stop_grace_seconds: seconds(0, 600, 5, "How long the workload may take to end after SIGTERM"),
};

/** A tenant's compute_config for `process`. */
export const processConfigSchema = z.strictObject(tenantShape);
export type ProcessConfig = z.infer<typeof processConfigSchema>;

const engineConfigShape = {
  data_dir: z
    .string()
    .min(1)
    .optional()
    .describe("Where state, work folders and logs live. Default: <data dir>/process"),
  port_min: z
    .int()
    .min(1024)
    .max(65_535)
    .optional()
    .meta({ default: 20_000, description: "First port to give out" }),
  port_max: z
    .int()
    .min(1024)
    .max(65_535)
    .optional()
    .meta({ default: 29_999, description: "Last port to give out" }),
  cgroup: z.enum(["auto", "off"]).optional().meta({
    default: "auto",
    description: "auto: limits and complete kills by cgroups where the host allows it; off: never",
  }),
  log_limit_bytes: z.int().min(4096).max(1_073_741_824).optional().meta({
    default: 10_485_760,
    description: "Size of a tenant's log beyond which it is cut; one older part is kept",
  }),
  allow_beyond_loopback: z.boolean().optional().meta({
    default: false,
    description:
      "Let this provider be used by a server whose API listens beyond loopback: whoever may write tenants there runs commands on the workers' hosts",
  }),
  defaults: z
    .strictObject({ ...tenantShape, command: tenantShape.command.optional() })
    .optional()
    .describe("Keys of compute_config for tenants that leave them out"),
};

const engineSchema = z
  .strictObject(engineConfigShape)
  .refine((value) => (value.port_min ?? 20_000) <= (value.port_max ?? 29_999), {
    path: ["port_max"],
    message: "must not be below port_min",
  });

/** The block `compute.process`. */
export const processEngineConfigSchema = engineSchema as unknown as z.ZodType<JsonObject>;

/** The block with every default filled in. Throws a ZodError when it is invalid. */
export function resolveEngineConfig(engineConfig: JsonObject) {
  const parsed = engineSchema.parse(engineConfig);
  return {
    dataDir: parsed.data_dir ?? null,
    portMin: parsed.port_min ?? 20_000,
    portMax: parsed.port_max ?? 29_999,
    cgroup: parsed.cgroup ?? "auto",
    logLimitBytes: parsed.log_limit_bytes ?? 10_485_760,
  };
}

export interface HealthCheck {
  readonly type: "http" | "tcp" | "exec" | "none";
  readonly path: string;
  /** Null for exec and none. */
  readonly portName: string | null;
  readonly command: readonly string[] | null;
  readonly timeoutMs: number;
  readonly deadlineMs: number;
}

/** The names of the declared ports, in order. */
export function portNames(config: ProcessConfig): readonly string[] {
  return (config.ports ?? []).map((port) => port.name ?? DEFAULT_PORT_NAME);
}

/** The variable by which the workload reads a port. */
export function portVariable(name: string): string {
  return `PORT_${name.toUpperCase().replaceAll("-", "_")}`;
}

/** The health check with every default filled in. */
export function healthCheckOf(config: ProcessConfig): HealthCheck {
  const check = config.health_check ?? {};
  const names = portNames(config);
  const type = check.type ?? (names.length > 0 ? "tcp" : "none");
  return {
    type,
    path: check.path ?? "/",
    portName: type === "http" || type === "tcp" ? (check.port ?? names[0] ?? null) : null,
    command: check.command ?? null,
    timeoutMs: (check.timeout_seconds ?? 2) * 1000,
    deadlineMs: (check.deadline_seconds ?? 60) * 1000,
  };
}

/** How long the workload may take to end after SIGTERM, in milliseconds. */
export function stopGraceMs(config: ProcessConfig): number {
  return (config.stop_grace_seconds ?? 5) * 1000;
}

function portProblems(config: ProcessConfig): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const seen = new Set<string>();
  for (const [index, name] of portNames(config).entries()) {
    const variable = portVariable(name);
    if (seen.has(variable)) {
      const message = `the name "${name}" is taken by another port, or differs from it only by - and _`;
      problems.push({
        pointer: `/ports/${index}${config.ports?.[index]?.name === undefined ? "" : "/name"}`,
        message,
      });
    }
    seen.add(variable);
  }
  return problems;
}

function healthCheckProblems(config: ProcessConfig): ConfigProblem[] {
  const check = config.health_check;
  if (check === undefined) return [];
  const { type } = healthCheckOf(config);
  const names = portNames(config);
  const problems: ConfigProblem[] = [];
  if ((type === "http" || type === "tcp") && names.length === 0) {
    problems.push({
      pointer: "/health_check/type",
      message: `a check of type ${type} needs a port: declare one in ports`,
    });
  } else if (check.port !== undefined && !names.includes(check.port)) {
    problems.push({ pointer: "/health_check/port", message: `no port is named "${check.port}"` });
  }
  if (type === "exec" && check.command === undefined) {
    problems.push({ pointer: "/health_check/command", message: "a check of type exec needs a command" });
  }
  return problems;
}

/** All problems of a tenant's config, operator defaults merged in; empty when it is valid. */
export function validateProcessConfig(config: JsonObject): readonly ConfigProblem[] {
  const parsed = processConfigSchema.safeParse(config);
  if (!parsed.success) return schemaProblems(parsed.error);
  return [
    ...portProblems(parsed.data),
    ...healthCheckProblems(parsed.data),
    ...reservedEnvProblems(parsed.data.env),
  ];
}

/** The description that the server loads. */
export function describeProcess(engineConfig: JsonObject): ComputeDescription {
  const defaults = engineSchema.parse(engineConfig).defaults;
  return {
    name: PROCESS_PROVIDER_NAME,
    configSchema: z.toJSONSchema(processConfigSchema, {
      target: "draft-2020-12",
      io: "input",
    }) as unknown as JsonObject,
    configDefaults: defaults === undefined ? null : withDefaults(defaults as unknown as JsonObject, {}),
    // The host is chosen by where the worker runs, never by the config.
    immutableKeys: [],
    validateConfig: validateProcessConfig,
  };
}
