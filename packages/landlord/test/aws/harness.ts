/** ECS itself, in somebody's account. A census asks ECS by a client of its own: what runs below is not to be seen. */
import type { ECS, Service } from "@aws-sdk/client-ecs";
import { randomUUID } from "node:crypto";
import { ecsComputeFactory } from "../../src/compute/ecs/factory.ts";
import type { Owner } from "../../src/compute/provider.ts";
import type { JsonObject } from "../../src/domain/json.ts";
import { startFaultProxy, type ComputeHarness, type ConformanceSubject } from "../../src/plugin/testing.ts";
import { startSigningProxy } from "./signing-proxy.ts";

export interface AwsSettings {
  readonly clusterArn: string;
  /** Two that run, and differ. */
  readonly taskDefinitionArns: readonly [string, string];
  readonly launchType: "FARGATE" | "EC2" | "EXTERNAL";
  readonly subnets: readonly string[];
  readonly securityGroups: readonly string[];
  readonly assignPublicIp: boolean;
  readonly role: { readonly roleArn: string; readonly externalId: string | null } | null;
  /** Null: AWS's own. */
  readonly endpoint: string | null;
}

/** Fargate needs about a minute to start a task, and as long again to call a deployment completed. */
const CONVERGE_TIMEOUT_MS = 15 * 60_000;

export function awsCompute(settings: AwsSettings): ConformanceSubject<ComputeHarness> {
  return {
    name: "ecs (aws)",
    gaps: { logs: "ECS keeps no output: a task's log driver sends it elsewhere, such as to CloudWatch Logs" },
    open: () => openAwsHarness(settings),
  };
}

async function openAwsHarness(settings: AwsSettings): Promise<ComputeHarness> {
  const cluster = settings.clusterArn;
  const ecs = await connect(settings);
  const proxy = await startSigningProxy(ecs);
  const closers: (() => Promise<unknown>)[] = [() => proxy.close()];
  const instances = new Set<string>();
  const engineConfig = { allowed_cluster_arns: [cluster] };
  const openAt = (endpoint: string) =>
    // The role is the signing proxy's: a provider that assumed it would reach past the proxy.
    ecsComputeFactory.create(
      { ...engineConfig, endpoint, request_timeout_seconds: 60 },
      { dataDir: "/nonexistent" },
    );
  const config = (variant: number): JsonObject => ({
    cluster_arn: cluster,
    task_definition_arn: settings.taskDefinitionArns[variant === 1 ? 0 : 1],
    launch_type: settings.launchType,
    ...(settings.subnets.length === 0
      ? {}
      : {
          subnets: [...settings.subnets],
          security_groups: [...settings.securityGroups],
          assign_public_ip: settings.assignPublicIp,
        }),
  });
  const remove = (service: string) => ecs.deleteService({ cluster, service, force: true });
  const theirs = `landlord-conformance-${randomUUID()}`;
  await ecs.createService({
    cluster,
    serviceName: theirs,
    desiredCount: 0,
    taskDefinition: settings.taskDefinitionArns[0],
    launchType: settings.launchType,
    ...(settings.subnets.length === 0
      ? {}
      : { networkConfiguration: { awsvpcConfiguration: { subnets: [...settings.subnets] } } }),
  });
  closers.push(() => remove(theirs));

  return {
    factory: ecsComputeFactory,
    engineConfig,
    async open(faults) {
      const faulty = await startFaultProxy({
        target: proxy.url,
        faults,
        isEffect: ({ headers }) => !/\.(?:Describe|List)/.test(String(headers["x-amz-target"])),
      });
      closers.push(() => faulty.close());
      return openAt(faulty.url);
    },
    openUnreachable: () => openAt("http://127.0.0.1:1"),
    config,
    unhealthyConfig: null,
    rejectedConfig: { ...config(1), service_name: theirs },
    invalidConfig: { cluster_arn: "not a cluster" },
    loggedText: () => null,
    async census(owner) {
      instances.add(owner.instanceId);
      const services = await servicesOf(ecs, cluster, owner);
      const strays = await Promise.all(services.map((service) => strayTasks(ecs, cluster, service)));
      return services.flatMap((service, index) => [
        Number(tagOf(service, "landlord:generation")),
        ...(strays[index] === true ? [0] : []),
      ]);
    },
    async endWorkload(owner) {
      for (const { serviceName = "" } of await servicesOf(ecs, cluster, owner)) {
        const { taskArns = [] } = await ecs.listTasks({ cluster, serviceName });
        for (const task of taskArns) await ecs.stopTask({ cluster, task, reason: "conformance" });
      }
    },
    convergeTimeoutMs: CONVERGE_TIMEOUT_MS,
    parallel: 4,
    async close() {
      for (const instanceId of instances) {
        for (const { serviceName = "" } of await servicesOf(ecs, cluster, { instanceId }))
          await remove(serviceName);
      }
      for (const close of closers.reverse()) await close();
      ecs.destroy();
    },
  };
}

async function connect({ clusterArn, endpoint, role }: AwsSettings): Promise<ECS> {
  const { ECS: Client } = await import("@aws-sdk/client-ecs");
  const { fromTemporaryCredentials } = await import("@aws-sdk/credential-providers");
  return new Client({
    region: clusterArn.split(":")[3] ?? "",
    ...(endpoint === null ? {} : { endpoint }),
    ...(role === null
      ? {}
      : {
          credentials: fromTemporaryCredentials({
            params: {
              RoleArn: role.roleArn,
              RoleSessionName: "landlord-conformance",
              ...(role.externalId === null ? {} : { ExternalId: role.externalId }),
            },
          }),
        }),
  });
}

const tagOf = ({ tags = [] }: Service, key: string): string | undefined =>
  tags.find((tag) => tag.key === key)?.value;

/** The owner's services that are not gone. */
async function servicesOf(ecs: ECS, cluster: string, owner: Partial<Owner>): Promise<readonly Service[]> {
  const found: Service[] = [];
  let nextToken: string | undefined;
  do {
    const page = await ecs.listServices({
      cluster,
      maxResults: 10,
      ...(nextToken === undefined ? {} : { nextToken }),
    });
    const arns = page.serviceArns ?? [];
    for (let start = 0; start < arns.length; start += 10) {
      const described = await ecs.describeServices({
        cluster,
        services: arns.slice(start, start + 10),
        include: ["TAGS"],
      });
      found.push(...(described.services ?? []));
    }
    nextToken = page.nextToken;
  } while (nextToken !== undefined);
  return found.filter(
    (service) =>
      service.status !== "INACTIVE" &&
      tagOf(service, "landlord:instance") === owner.instanceId &&
      (owner.tenantId === undefined || tagOf(service, "landlord:tenant") === owner.tenantId),
  );
}

/** Whether a task runs that is not of the service's task definition. */
async function strayTasks(
  ecs: ECS,
  cluster: string,
  { serviceName = "", taskDefinition }: Service,
): Promise<boolean> {
  const { taskArns: tasks = [] } = await ecs.listTasks({ cluster, serviceName });
  if (tasks.length === 0) return false;
  const described = await ecs.describeTasks({ cluster, tasks });
  return (described.tasks ?? []).some((task) => task.taskDefinitionArn !== taskDefinition);
}
