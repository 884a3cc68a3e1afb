/**
 * Every key of the configuration, once: its type, bounds, default and description. Loading, printing and the
 * reference page all derive from here. Durations are written like "1h30m" and become milliseconds.
 */
import { z } from "zod";
import type { JsonObject } from "../domain/json.ts";
import { authSection, rateLimitSection, tlsSection } from "./auth-schema.ts";
import { controllerSection } from "./controller-schema.ts";
import { ANY_SPAN, duration, HOUR, MINUTE, SECOND } from "./duration-schema.ts";

/** Workflow engines that come with Landlord; packages bring others. */
export const WORKFLOW_ENGINES = ["restate", "step-functions", "mock"] as const;
/** The block of each, where it is not the engine's own name. */
const ENGINE_BLOCKS: Readonly<Record<string, string>> = { "step-functions": "step_functions" };

/** The key under `workflow` that configures an engine. */
export function engineBlockOf(engine: string): string {
  return ENGINE_BLOCKS[engine] ?? engine;
}

const port = z.int().min(1).max(65_535);
const listenPort = z.int().min(0).max(65_535);
const hostName = z.string().min(1);
const httpUrl = z.url({ protocol: /^https?$/, error: "must be a URL that starts with http:// or https://" });

function isPostgresUrl(text: string): boolean {
  return /^postgres(?:ql)?:\/\//i.test(text) && URL.canParse(text);
}
const databaseUrl = z
  .string()
  .refine(isPostgresUrl, { error: "must be a URL like postgres://user:password@host:5432/database" });

const httpSection = z.strictObject({
  host: hostName.default("127.0.0.1").describe("Address that the API listens on."),
  port: listenPort.default(8081).describe("Port that the API listens on; 0 takes a free one."),
  public_url: httpUrl
    .optional()
    .describe("Base URL at which workers and clients reach this API. Without it: made from host and port."),
  read_timeout: duration()
    .default(10 * SECOND)
    .describe("A request must have arrived completely within this time."),
  write_timeout: duration()
    .default(30 * SECOND)
    .describe("An answer must have been written within this time."),
  idle_timeout: duration()
    .default(120 * SECOND)
    .describe("Idle keep-alive connections are closed after this time."),
  shutdown_timeout: duration()
    .default(30 * SECOND)
    .describe("How long a stop waits for requests in flight."),
  body_limit_bytes: z
    .int()
    .min(1024)
    .max(64 * 1024 * 1024)
    .default(1_048_576)
    .describe("Largest request body in bytes."),
  max_requests_in_flight: z
    .int()
    .min(1)
    .max(100_000)
    .default(1_000)
    .describe("Requests that one server works on at the same time; beyond, it answers 503 with Retry-After."),
  max_connections: z
    .int()
    .min(1)
    .max(1_000_000)
    .default(10_000)
    .describe("Open connections of one server; beyond, new ones are closed."),
  max_watchers: z
    .int()
    .min(0)
    .max(1_000_000)
    .default(5_000)
    .describe(
      "Streams of events and waits that one server holds at the same time; beyond, it answers 503 with Retry-After.",
    ),
  event_heartbeat: duration({ minMs: 100, maxMs: 30 * SECOND })
    .default(15 * SECOND)
    .describe("A stream of events that has nothing to say says so after this time."),
  event_buffer_bytes: z
    .int()
    .min(4_096)
    .max(64 * 1024 * 1024)
    .default(1_048_576)
    .describe(
      "What a watcher may leave unread, in bytes; beyond, its stream is ended and it resumes when it can.",
    ),
  idempotency_retention: duration(ANY_SPAN)
    .default(24 * HOUR)
    .describe("How long the answer to a creation with an Idempotency-Key is repeated."),
  trusted_proxies: z
    .array(z.string().min(1))
    .default([])
    .describe(
      "Addresses or networks (CIDR) of proxies whose X-Forwarded-For is believed: for the audit log and limits by address.",
    ),
  rate_limit: rateLimitSection.prefault({}).describe("How many requests one actor may make."),
  tls: tlsSection.optional().describe("TLS of the API. A block that is present turns it on."),
});

const logSection = z.strictObject({
  level: z
    .enum(["trace", "debug", "info", "warn", "error"])
    .default("info")
    .describe("Least level that is written."),
  format: z
    .enum(["auto", "json", "pretty"])
    .default("auto")
    .describe("One JSON object a line, or text for people. auto: pretty when standard error is a terminal."),
});

const databaseSection = z.strictObject({
  url: databaseUrl.optional().describe("PostgreSQL URL. Excludes host, port, user, password and database."),
  listen_url: databaseUrl
    .optional()
    .describe("URL of a direct connection for LISTEN, when url leads to a transaction pooler."),
  host: hostName.optional().describe("Host of PostgreSQL, when url is not used."),
  port: port.default(5432).describe("Port of PostgreSQL, with host."),
  user: z.string().min(1).optional().describe("User, with host."),
  password: z.string().optional().describe("Password, with host. Secret."),
  database: z.string().min(1).optional().describe("Name of the database, with host."),
  ssl_mode: z
    .enum(["disable", "prefer", "require", "verify-full"])
    .default("prefer")
    .describe("TLS to PostgreSQL, with host; in a url it is the parameter sslmode."),
  max_connections: z
    .int()
    .min(1)
    .max(1000)
    .default(10)
    .describe("Size of the connection pool of each server."),
  connect_timeout: duration()
    .default(10 * SECOND)
    .describe("How long one connection attempt may take."),
  auto_migrate: z
    .boolean()
    .default(true)
    .describe("Migrate the schema at start. If false, run `landlord migrate`."),
});

const restateSection = z.strictObject({
  endpoint: httpUrl.default("http://127.0.0.1:8080").describe("Ingress of Restate."),
  admin_endpoint: httpUrl
    .default("http://127.0.0.1:9070")
    .describe("Admin API of Restate, as the server reaches it."),
  auth_token: z.string().min(1).optional().describe("Bearer token for ingress and admin API. Secret."),
  request_timeout: duration()
    .default(10 * SECOND)
    .describe("Longest time that one request to Restate may take."),
  worker_namespace: z
    .string()
    .regex(/^(?:[A-Za-z][A-Za-z0-9]*)?$/, {
      error: "must be empty, or a letter followed by letters and digits",
    })
    .default("")
    .describe(
      "Put before the names of Landlord's services, so that several installations share one Restate.",
    ),
  worker_service_prefix: z
    .string()
    .regex(/^[A-Za-z0-9_.-]*$/, { error: "may hold letters, digits, '_', '.' and '-'" })
    .default("")
    .describe("Put between the namespace and the names of the services; an older way to the same end."),
  worker_listen_host: hostName
    .default("127.0.0.1")
    .describe("Address on which a worker takes work from Restate."),
  worker_listen_port: listenPort
    .default(9080)
    .describe("Port on which a worker takes work; 0 takes a free one."),
  worker_advertised_url: httpUrl
    .optional()
    .describe("URL at which Restate reaches the worker. Replicas share it, and it must stay the same."),
  worker_admin_endpoint: httpUrl
    .optional()
    .describe("Admin API of Restate, as the worker reaches it. Without it: admin_endpoint."),
  worker_register_on_startup: z.boolean().default(true).describe("The worker registers itself with Restate."),
  worker_fail_fast: z
    .boolean()
    .default(false)
    .describe("A failed registration ends the worker instead of a retry."),
  result_retention: duration({ minMs: MINUTE, maxMs: 365 * 24 * HOUR })
    .default(24 * HOUR)
    .describe(
      "How long Restate keeps the results of ended jobs, as workers ask it to; longer than controller.start_timeout, so that a late start finds its id taken.",
    ),
  worker_identity_keys: z
    .array(z.string().startsWith("publickeyv1_", { error: "must start with publickeyv1_" }))
    .default([])
    .describe("Public keys of Restate; with any, requests that none of them signed are refused."),
});

const stepFunctionsSection = z.strictObject({
  region: z.string().min(1).optional().describe("AWS region. Without it: AWS_REGION or AWS_DEFAULT_REGION."),
  endpoint: httpUrl
    .optional()
    .describe("Another endpoint than AWS's own, for an emulator or a VPC endpoint."),
  role_arn: z
    .string()
    .regex(/^arn:[^:]+:iam::\d{12}:role\/.+$/, { error: "must be the ARN of an IAM role" })
    .describe("Role that the state machines run as."),
  assume_role: z
    .strictObject({
      role_arn: z.string().min(1).describe("Role to take on before Step Functions is called."),
      external_id: z.string().min(1).optional().describe("External id that the role demands."),
      session_name: z.string().min(1).default("landlord").describe("Name of the session, for AWS's logs."),
    })
    .optional()
    .describe(
      "Role of the server and the worker themselves. Without it: the credentials that the AWS SDK finds.",
    ),
  name_prefix: z
    .string()
    .regex(/^[A-Za-z0-9_-]{0,24}$/, { error: "may hold up to 24 letters, digits, '_' and '-'" })
    .default("landlord-")
    .describe(
      "Put before the names of state machines and activities, so that several installations share an account.",
    ),
  request_timeout: duration()
    .default(10 * SECOND)
    .describe("Longest time that one request to Step Functions may take."),
  query_timeout: duration()
    .default(10 * SECOND)
    .describe("Longest time that a worker may take to answer a question."),
  heartbeat: duration({ minMs: 2 * SECOND, maxMs: 10 * MINUTE })
    .default(30 * SECOND)
    .describe(
      "Time of silence, in whole seconds, after which a worker counts as dead and its job goes to another.",
    ),
  worker_concurrency: z
    .int()
    .min(1)
    .max(1000)
    .default(32)
    .describe("Jobs that one worker runs at the same time."),
  worker_fail_fast: z
    .boolean()
    .default(false)
    .describe("A failed registration ends the worker instead of a retry."),
  tags: z.record(z.string(), z.string()).default({}).describe("Tags of state machines and activities."),
});

const payloadKey = z
  .string()
  .regex(/^[A-Za-z0-9_-]{43}=?$/, { error: "must be 32 random bytes in base64url (43 characters)" });

const workflowSection = (
  engineName: z.ZodType<string, string>,
  blocks: Readonly<Record<string, z.ZodType>>,
) =>
  z.strictObject({
    default_provider: engineName.default("restate").describe("Workflow engine of server and worker."),
    encryption_key: payloadKey
      .optional()
      .describe("Key with which server and workers encrypt what travels through the engine. Secret."),
    encryption_keys: z
      .array(payloadKey)
      .min(1)
      .optional()
      .describe(
        "Instead of encryption_key, while keys change: the newest encrypts, all of them decrypt. Secret.",
      ),
    require_encryption: z
      .boolean()
      .default(false)
      .describe("Workers refuse what is not encrypted. Set it once every server has a key."),
    allow_mock: z
      .boolean()
      .default(false)
      .describe("Let `serve` run on the mock engine, which forgets everything."),
    restate: restateSection.prefault({}).describe("Restate."),
    step_functions: stepFunctionsSection
      .optional()
      .describe("AWS Step Functions. A block that is present makes the engine known."),
    mock: z
      .strictObject({
        latency_ms: z.int().min(0).max(60_000).default(0).describe("Delay of every call, in ms."),
      })
      .prefault({})
      .describe("The engine for unit tests and benchmarks."),
    ...blocks,
  });

type ComputeOverrides = Readonly<Record<string, JsonObject | undefined>>;

function workerSection(
  engineName: z.ZodType<string, string>,
  overrides: z.ZodType<ComputeOverrides, ComputeOverrides>,
) {
  return z.strictObject({
    engine: engineName
      .optional()
      .describe("Engine that the worker serves. Without it: workflow.default_provider."),
    api_url: httpUrl
      .optional()
      .describe("Base URL of the Landlord API, from which the worker reads compute engines."),
    api_token: z.string().min(1).optional().describe("Token with the role worker. Secret."),
    compute_cache_ttl: duration({ minMs: 0 })
      .default(5 * MINUTE)
      .describe("How long the configuration of a compute engine is used before it is read again."),
    progress: z.boolean().default(true).describe("Report the progress of jobs to the API."),
    shutdown_timeout: duration()
      .default(30 * SECOND)
      .describe("How long a stop waits for jobs in flight."),
    absence_settle: duration()
      .default(500)
      .describe("Time between the two observations that prove compute to be absent."),
    compute_overrides: overrides
      .prefault({})
      .describe("Provider to engine configuration; used instead of what the API says."),
  });
}

/** The block of each compute provider, by provider name. */
export type ComputeSchemas = Readonly<Record<string, z.ZodType>>;
/** The block of each workflow engine that comes from a package, by its name. */
export type WorkflowSchemas = Readonly<Record<string, z.ZodType>>;

/**
 * The schema of the whole configuration, with a block for each compute provider under `compute` and
 * `worker.compute_overrides`. `withDatabase: false` is the worker's: it has no `database` section at all.
 */
export function configSchema(
  computeSchemas: ComputeSchemas,
  options: { readonly withDatabase: boolean; readonly workflowSchemas?: WorkflowSchemas },
) {
  const { workflowSchemas = {} } = options;
  const engineName = z.enum([...WORKFLOW_ENGINES, ...Object.keys(workflowSchemas)]);
  const engineBlocks = Object.fromEntries(
    Object.entries(workflowSchemas).map(([name, block]) => [name, block.optional()]),
  );
  const blocks = Object.fromEntries(
    Object.entries(computeSchemas).map(([name, schema]) => [name, schema.optional()]),
  );
  const overrides = z.strictObject(blocks) as unknown as z.ZodType<ComputeOverrides, ComputeOverrides>;
  const compute = z.strictObject({
    default_provider: z
      .string()
      .optional()
      .describe("Provider of tenants that name none. Without it: the only one that is configured."),
    ...blocks,
  });
  const schema = z.strictObject({
    data_dir: z
      .string()
      .min(1)
      .default(".landlord")
      .describe("Folder for state on disk; relative to the start folder."),
    http: httpSection.prefault({}).describe("The HTTP API."),
    auth: authSection.prefault({}).describe("Who may use the API. Never needed by a worker."),
    log: logSection.prefault({}).describe("Logs, written to standard error."),
    database: databaseSection.prefault({}).describe("PostgreSQL. Never read by a worker."),
    controller: controllerSection(engineName).prefault({}).describe("The reconciler."),
    workflow: workflowSection(engineName, engineBlocks).prefault({}).describe("Workflow engines."),
    worker: workerSection(engineName, overrides).prefault({}).describe("The worker."),
    compute: compute
      .prefault({})
      .describe("Compute providers. A block that is present, even an empty one, enables its provider."),
  });
  return options.withDatabase ? schema : (schema.omit({ database: true }) as unknown as typeof schema);
}

type Parsed = z.infer<ReturnType<typeof configSchema>>;

/** The `compute` section; see `computeBlocks` for the providers in it. */
export interface ComputeSection {
  readonly default_provider?: string | undefined;
  readonly [provider: string]: JsonObject | string | undefined;
}

/** The validated configuration under its own key names. Durations are milliseconds. */
export interface Config extends Omit<Parsed, "compute" | "controller" | "worker"> {
  readonly controller: Omit<Parsed["controller"], "workflow_provider"> & {
    readonly workflow_provider: string;
  };
  readonly worker: Omit<Parsed["worker"], "engine"> & { readonly engine: string };
  readonly compute: ComputeSection;
}

/** What a worker knows: everything but the database. */
export type WorkerConfig = Omit<Config, "database">;

/** The key of a block that names the package of its provider; the provider itself is not shown it. */
export const PACKAGE_KEY = "package";

export function withoutPackage(block: JsonObject): JsonObject {
  const { [PACKAGE_KEY]: _, ...rest } = block;
  return rest;
}

/** The enabled compute providers and their engine configuration, in the order of the configuration. */
export function computeBlocks(compute: ComputeSection): ReadonlyMap<string, JsonObject> {
  const blocks = new Map<string, JsonObject>();
  for (const [name, block] of Object.entries<JsonObject | string | undefined>({ ...compute })) {
    if (name !== "default_provider" && typeof block === "object") blocks.set(name, withoutPackage(block));
  }
  return blocks;
}
