/** What a tenant may say about its ECS service, and the operator about ECS: schemas and validation. No I/O. */
import { z } from "zod";
import { jsonObject } from "../../contract/job.ts";
import { canonicalJson, type JsonObject, withDefaults } from "../../domain/json.ts";
import { pointerOf, schemaProblems, seconds } from "../config-schema.ts";
import type { ComputeDescription, ConfigProblem } from "../provider.ts";
import { CONFIG_LIMIT_BYTES } from "./ownership.ts";
import { parseClusterArn } from "./place.ts";

export const ECS_PROVIDER_NAME = "ecs";

const CLUSTER_ARN = /^arn:aws[a-z-]*:ecs:[a-z0-9-]+:\d{12}:cluster\/[A-Za-z0-9_-]{1,255}$/;
const TASK_DEFINITION_ARN =
  /^arn:aws[a-z-]*:ecs:[a-z0-9-]+:\d{12}:task-definition\/[A-Za-z0-9_-]{1,255}:\d{1,9}$/;
const ROLE_ARN = /^arn:aws[a-z-]*:iam::\d{12}:role\/[\w+=,.@/-]{1,512}$/;

const clusterArn = z.string().regex(CLUSTER_ARN, "must be the ARN of an ECS cluster");
const roleArn = z.string().regex(ROLE_ARN, "must be the ARN of an IAM role");
/** Names of services: letters, digits, - and _, at most 255; what follows a prefix takes 45. */
const serviceNamePart = (max: number) =>
  z
    .string()
    .min(1)
    .max(max)
    .regex(/^[A-Za-z0-9_-]+$/, "may hold letters, digits, - and _");

const ecsConfigShape = {
  compute_provider: z.string().optional().describe("The resolved provider; set by the control plane"),
  cluster_arn: clusterArn.describe("The cluster; cannot be changed"),
  task_definition_arn: z
    .string()
    .regex(TASK_DEFINITION_ARN, "must be the ARN of a task definition with its revision")
    .describe("What runs, with its revision"),
  service_name: serviceNamePart(255)
    .optional()
    .describe(
      "The service's name; cannot be changed. Default: service_name_prefix, the tenant's id and a mark of the database",
    ),
  service_name_prefix: serviceNamePart(200)
    .optional()
    .meta({ default: "landlord-", description: "Put before the tenant's id; cannot be changed" }),
  region: z
    .string()
    .regex(/^[a-z0-9-]{1,32}$/, "must be a region")
    .optional()
    .describe("Must be the cluster's; cannot be changed. Default: the cluster's"),
  desired_count: z
    .int()
    .min(1)
    .max(1_000)
    .optional()
    .meta({ default: 1, description: "Tasks that run at the same time" }),
  launch_type: z
    .enum(["FARGATE", "EC2", "EXTERNAL"])
    .optional()
    .meta({ default: "FARGATE", description: "Where tasks run; a change makes the service anew" }),
  subnets: z
    .array(z.string().min(1).max(64))
    .max(16)
    .optional()
    .describe("Subnets of tasks with a network of their own"),
  security_groups: z
    .array(z.string().min(1).max(64))
    .max(5)
    .optional()
    .describe("Security groups of these tasks"),
  assign_public_ip: z
    .boolean()
    .optional()
    .meta({ default: false, description: "Give these tasks public addresses" }),
  tags: z
    .record(
      z
        .string()
        .min(1)
        .max(128)
        .regex(/^(?!aws:|landlord:)/i, "must not start with aws: or landlord:"),
      z.string().max(256),
    )
    .refine((tags) => Object.keys(tags).length <= 20, "must be at most 20 tags")
    .optional()
    .describe("Further tags of the service and its tasks; at most 20"),
  assume_role: z
    .strictObject({
      role_arn: roleArn.describe(
        "The role; must be among the operator's allowed_role_arns; cannot be changed",
      ),
      external_id: z
        .string()
        .regex(/^[\w+=,.@:/-]{2,1224}$/, "must be an external id as IAM allows it")
        .optional()
        .describe("The external id that the role demands"),
      session_name: z
        .string()
        .regex(/^[\w+=,.@-]{2,64}$/, "must be a session name as IAM allows it")
        .optional()
        .meta({ default: "landlord", description: "Shown in AWS's logs" }),
    })
    .optional()
    .describe("A role of the tenant's account to take on. Default: the worker's own identity"),
  health_check: z
    .strictObject({
      interval_seconds: seconds(1, 300, 5, "Longest pause between two looks while a deployment goes on"),
      deadline_seconds: seconds(1, 3_600, 600, "How long the job waits for a steady service"),
    })
    .optional()
    .describe(
      "A tenant is healthy when its service is steady: one deployment, completed, with all of its tasks",
    ),
};

export const ecsConfigSchema = z.strictObject(ecsConfigShape);
export type EcsConfig = z.infer<typeof ecsConfigSchema>;

const engineSchema = z.strictObject({
  region: z
    .string()
    .min(1)
    .optional()
    .describe("Region of calls that no cluster decides. Default: the default cluster's"),
  endpoint: z
    .url({ protocol: /^https?$/, error: "must be a URL that starts with http:// or https://" })
    .optional()
    .describe("Another endpoint than AWS's own, for an emulator or a VPC endpoint"),
  allowed_role_arns: z
    .array(roleArn)
    .max(1_000)
    .optional()
    .describe("Roles that tenants may name in assume_role. Default: none"),
  allowed_cluster_arns: z
    .array(clusterArn)
    .max(100)
    .optional()
    .describe(
      "Clusters that tenants may name, and that are looked through for what belongs to nobody. Default: any; only the default cluster is looked through",
    ),
  request_timeout_seconds: z
    .number()
    .min(1)
    .max(300)
    .optional()
    .meta({ default: 10, description: "Longest time that one request may take, the SDK's retries included" }),
  defaults: jsonObject.optional().describe("Keys of compute_config for tenants that leave them out"),
});

/** The block `compute.ecs`. */
export const ecsEngineConfigSchema = engineSchema as unknown as z.ZodType<JsonObject>;

/** The block with its defaults filled in. Throws a ZodError when it is invalid. */
export function resolveEcsEngineConfig(engineConfig: JsonObject) {
  const parsed = engineSchema.parse(engineConfig);
  const standard = parsed.defaults?.["cluster_arn"];
  const clusters = [
    ...(parsed.allowed_cluster_arns ?? []),
    ...(typeof standard === "string" ? [standard] : []),
  ];
  return {
    endpoint: parsed.endpoint ?? null,
    allowedRoleArns: parsed.allowed_role_arns ?? [],
    /** Null: any. */
    allowedClusterArns: parsed.allowed_cluster_arns === undefined ? null : clusters,
    /** Where what has no known scope is looked for. */
    knownClusterArns: [...new Set(clusters)],
    requestTimeoutMs: (parsed.request_timeout_seconds ?? 10) * 1_000,
  };
}
export type EcsEngineConfig = ReturnType<typeof resolveEcsEngineConfig>;

/** Problems of a config that are not of its shape: what the operator did not allow, and what does not fit together. */
function policyProblems(config: EcsConfig, engine: EcsEngineConfig): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const add = (path: readonly string[], message: string): void => {
    problems.push({ pointer: pointerOf(path), message });
  };
  const cluster = parseClusterArn(config.cluster_arn);
  if (config.region !== undefined && config.region !== cluster.region) {
    add(["region"], `must be the cluster's, ${cluster.region}`);
  }
  if (!config.task_definition_arn.includes(`:ecs:${cluster.region}:${cluster.account}:`)) {
    add(["task_definition_arn"], "must be of the cluster's region and account");
  }
  if (config.service_name !== undefined && config.service_name_prefix !== undefined) {
    add(["service_name_prefix"], "cannot be combined with service_name");
  }
  if (engine.allowedClusterArns !== null && !engine.allowedClusterArns.includes(config.cluster_arn)) {
    add(
      ["cluster_arn"],
      "is not among the clusters that the operator allows (compute.ecs.allowed_cluster_arns)",
    );
  }
  const role = config.assume_role?.role_arn;
  if (role !== undefined && !engine.allowedRoleArns.includes(role)) {
    add(
      ["assume_role", "role_arn"],
      "is not among the roles that the operator allows (compute.ecs.allowed_role_arns)",
    );
  }
  if (
    config.launch_type !== "EC2" &&
    config.launch_type !== "EXTERNAL" &&
    (config.subnets ?? []).length === 0
  ) {
    add(["subnets"], "a service on Fargate needs at least one subnet");
  }
  if ((config.subnets ?? []).length === 0 && (config.security_groups ?? []).length > 0) {
    add(["security_groups"], "need subnets");
  }
  return problems;
}

export function validateEcsConfig(config: JsonObject, engine: EcsEngineConfig): readonly ConfigProblem[] {
  const parsed = ecsConfigSchema.safeParse(config);
  if (!parsed.success) return schemaProblems(parsed.error);
  const problems = policyProblems(parsed.data, engine);
  return Buffer.byteLength(canonicalJson(config)) <= CONFIG_LIMIT_BYTES
    ? problems
    : [
        ...problems,
        {
          pointer: "",
          message: `must have at most ${CONFIG_LIMIT_BYTES} bytes as JSON: it is kept in the service's tags`,
        },
      ];
}

/** The description that the server loads. */
export function describeEcs(engineConfig: JsonObject): ComputeDescription {
  const engine = resolveEcsEngineConfig(engineConfig);
  const defaults = engineSchema.parse(engineConfig).defaults;
  return {
    name: ECS_PROVIDER_NAME,
    configSchema: z.toJSONSchema(ecsConfigSchema, {
      target: "draft-2020-12",
      io: "input",
    }) as unknown as JsonObject,
    configDefaults: defaults === undefined ? null : withDefaults(defaults, {}),
    immutableKeys: ["cluster_arn", "region", "service_name", "service_name_prefix", "assume_role"],
    validateConfig: (config) => validateEcsConfig(config, engine),
  };
}
