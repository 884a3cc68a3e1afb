/** What the tests of the ECS provider share: providers, specs, and looks behind the provider's back. */
import { randomUUID } from "node:crypto";
import { inject } from "vitest";
import { ecsComputeFactory } from "../../../src/compute/ecs/factory.ts";
import type {
  ComputeProvider,
  ComputeRef,
  ComputeSpec,
  Observation,
  Owner,
} from "../../../src/compute/provider.ts";
import { configHash, type JsonObject } from "../../../src/domain/json.ts";
import { askDocker } from "../../support/engines/docker-daemon.ts";
import { askEcs, ECS_CLUSTER_ARN, taskDefinitionArn } from "../../support/engines/ecs-emulator.ts";
import { eventually } from "../../support/eventually.ts";

// The emulator takes any identity; the SDK's default chain wants one.
process.env["AWS_ACCESS_KEY_ID"] ??= "test";
process.env["AWS_SECRET_ACCESS_KEY"] ??= "test";

export const ecsEngineConfig: JsonObject = { allowed_cluster_arns: [ECS_CLUSTER_ARN] };
export const options = { idempotencyKey: "key", signal: new AbortController().signal };

export function newProvider(
  engine: JsonObject = {},
  endpoint: string = inject("ecsEndpoint"),
): Promise<ComputeProvider> {
  const block = ecsComputeFactory.engineConfigSchema.parse({ ...ecsEngineConfig, endpoint, ...engine });
  return ecsComputeFactory.create(block, { dataDir: "/nonexistent", environment: {} });
}

export const webConfig = (revision = 1): JsonObject => ({
  cluster_arn: ECS_CLUSTER_ARN,
  task_definition_arn: taskDefinitionArn("web", revision),
  launch_type: "EC2",
});

export function newSpec(config: JsonObject = webConfig(), change: Partial<ComputeSpec> = {}): ComputeSpec {
  return {
    instanceId: randomUUID(),
    tenantId: randomUUID(),
    tenantName: "acme",
    generation: 1,
    configHash: configHash(config),
    config,
    labels: {},
    ...change,
  };
}

/** The same tenant, one generation on. */
export function next(spec: ComputeSpec, config: JsonObject = spec.config): ComputeSpec {
  return { ...spec, generation: spec.generation + 1, config, configHash: configHash(config) };
}

export const refOf = (spec: ComputeSpec, scopes: readonly string[] = []): ComputeRef => ({
  instanceId: spec.instanceId,
  tenantId: spec.tenantId,
  scopes,
});

export async function observe(provider: ComputeProvider, spec: ComputeSpec): Promise<Observation> {
  const ref = refOf(spec, [await provider.scopeOf(spec.config)]);
  const [observation] = await provider.observe([ref], options.signal);
  if (observation === undefined) throw new Error("no observation");
  return observation;
}

/** As the job does it: applies until the spec is healthy. Only retryable failures are repeated. */
export async function converge(provider: ComputeProvider, spec: ComputeSpec): Promise<Observation> {
  const outcome = await eventually(
    async () => {
      const result = await provider.apply(spec, options).catch((error: unknown) => {
        if ((error as { retryable?: boolean }).retryable === true) throw error;
        return { kind: "refused" as const, error };
      });
      if (result.kind === "stale") return { error: new Error(`stale(${result.generation})`) };
      if (result.kind === "refused") return result;
      return result.observation.health === "healthy" && result;
    },
    { what: `generation ${spec.generation} is healthy`, everyMs: 100, timeoutMs: 45_000 },
  );
  if ("error" in outcome) throw outcome.error;
  return outcome.observation;
}

/** As the job does it: destroys until absent. */
export async function remove(provider: ComputeProvider, spec: ComputeSpec): Promise<void> {
  const ref = { ...refOf(spec, [await provider.scopeOf(spec.config)]), generation: spec.generation };
  await eventually(async () => (await provider.destroy(ref, options)).presence === "absent", {
    what: `${spec.tenantId} is absent`,
    everyMs: 100,
    timeoutMs: 45_000,
  });
}

export interface EcsTask {
  readonly taskArn: string;
  readonly lastStatus: string;
  readonly group: string;
  readonly taskDefinitionArn: string;
}

export interface EcsService {
  readonly serviceArn: string;
  readonly serviceName: string;
  readonly status: string;
  readonly desiredCount: number;
  readonly taskDefinition: string;
  readonly launchType: string;
  readonly tags?: readonly { readonly key: string; readonly value: string }[];
}

/** Services of the cluster that are tagged as the owner's, and are not gone. */
export async function servicesOf(
  owner: Partial<Owner>,
  endpoint: string = inject("ecsEndpoint"),
): Promise<readonly EcsService[]> {
  const cluster = ECS_CLUSTER_ARN;
  const { serviceArns } = await askEcs<{ serviceArns: readonly string[] }>(endpoint, "ListServices", {
    cluster,
  });
  if (serviceArns.length === 0) return [];
  const { services } = await askEcs<{ services: readonly EcsService[] }>(endpoint, "DescribeServices", {
    cluster,
    services: serviceArns,
    include: ["TAGS"],
  });
  return services.filter((service) => {
    const tags = tagsOf(service);
    return (
      service.status !== "INACTIVE" &&
      (owner.instanceId === undefined || tags["landlord:instance"] === owner.instanceId) &&
      (owner.tenantId === undefined || tags["landlord:tenant"] === owner.tenantId)
    );
  });
}

export const tagsOf = (service: EcsService): Readonly<Record<string, string>> =>
  Object.fromEntries((service.tags ?? []).map(({ key, value }) => [key, value]));

export interface TaskContainer {
  readonly id: string;
  readonly taskDefinitionArn: string;
  readonly serviceName: string;
  /** ECS says that its task has stopped, or knows none. */
  readonly isForgotten: boolean;
}

/** Containers that run for tasks of this tenant by Docker's word, whatever ECS says. */
export async function containersOf(
  { tenantId }: Pick<Owner, "tenantId">,
  endpoint: string = inject("ecsEndpoint"),
): Promise<readonly TaskContainer[]> {
  const port = new URL(endpoint).port;
  const listed = await askDocker(inject("dockerHost"), "GET", "/containers/json");
  const containers = (
    JSON.parse(listed.body) as { Id: string; Labels: Readonly<Record<string, string>> }[]
  ).filter(({ Labels }) => Labels["ministack.instance"]?.endsWith(`:${port}`) === true);
  const taskArns = [...new Set(containers.map(({ Labels }) => Labels["com.amazonaws.ecs.task-arn"] ?? ""))];
  if (taskArns.length === 0) return [];
  const { tasks } = await askEcs<{ tasks: readonly EcsTask[] }>(endpoint, "DescribeTasks", {
    cluster: ECS_CLUSTER_ARN,
    tasks: taskArns,
  });
  return containers.flatMap(({ Id, Labels }) => {
    const task = tasks.find(({ taskArn }) => taskArn === Labels["com.amazonaws.ecs.task-arn"]);
    // A container whose task ECS has forgotten is nobody's, and counts for everybody.
    const group = task?.group ?? `service:${tenantId}`;
    if (!group.includes(tenantId)) return [];
    const serviceName = group.replace("service:", "");
    const isForgotten = task === undefined || task.lastStatus === "STOPPED";
    return [{ id: Id, taskDefinitionArn: task?.taskDefinitionArn ?? "", serviceName, isForgotten }];
  });
}

/**
 * A generation for each service of the owner, and 0 for each set of containers that no service of theirs says it runs:
 * those of another task definition, or of a service that is gone.
 */
export async function censusOf(owner: Owner, endpoint?: string): Promise<readonly number[]> {
  let census: readonly number[] = [];
  // The emulator says that a task has stopped, and ends its container then; and a task that it is about to place when a
  // service is deleted may begin once more. The service does neither. What stays longer is counted.
  await eventually(
    async () => {
      census = await countOf(owner, endpoint);
      return !census.includes(0);
    },
    { what: "nothing runs that no service says it runs", timeoutMs: 10_000, everyMs: 100 },
  ).catch(() => undefined);
  return census;
}

async function countOf(owner: Owner, endpoint?: string): Promise<readonly number[]> {
  const all = await servicesOf({ tenantId: owner.tenantId }, endpoint);
  const services = all.filter((service) => tagsOf(service)["landlord:instance"] === owner.instanceId);
  const others = all.filter((service) => !services.includes(service));
  const strays = (await containersOf(owner, endpoint)).filter(
    (container) =>
      !others.some((other) => other.serviceName === container.serviceName) &&
      !services.some(
        (service) =>
          service.serviceName === container.serviceName &&
          service.taskDefinition === container.taskDefinitionArn &&
          !container.isForgotten,
      ),
  );
  const sets = new Set(strays.map((stray) => `${stray.serviceName} ${stray.taskDefinitionArn}`));
  return [
    ...services.map((service) => Number(tagsOf(service)["landlord:generation"])),
    ...Array.from(sets, () => 0),
  ];
}
