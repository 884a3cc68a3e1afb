/** A tenant's service as ECS has it: found, compared with what it should be, and its tasks counted. */
import type { Service, Task } from "@aws-sdk/client-ecs";
import type { Health } from "../../domain/tenant.ts";
import type { Owner } from "../provider.ts";
import type { Send } from "./client.ts";
import type { EcsConfig } from "./description.ts";
import { isGone, nameOf } from "./errors.ts";
import { claimsOf, isOwnedBy, type Claims } from "./ownership.ts";
import { serviceNameOf, type Place } from "./place.ts";

/** What DescribeServices takes at once. */
const DESCRIBE_LIMIT = 10;
const LIST_PAGE = 100;
/** Quota of services in a cluster is 5,000; beyond this a list is refused, not cut. */
const SERVICE_LIMIT = 10_000;
const TASK_LIMIT = 100;

export interface FoundService {
  readonly service: Service;
  readonly claims: Claims | null;
}

/** The service of that name, unless it is gone. */
export async function describeService(send: Send, place: Place, name: string): Promise<FoundService | null> {
  const { services = [] } = await send((ecs, options) =>
    ecs.describeServices({ cluster: place.cluster.arn, services: [name], include: ["TAGS"] }, options),
  );
  const [service] = services;
  if (service === undefined || service.status === "INACTIVE") return null;
  return { service, claims: claimsOf(service.tags) };
}

/** Every service of the cluster that has our tags, in pages. */
export async function listOwnServices(
  send: Send,
  place: Place,
  isWanted: (claims: Claims) => boolean,
): Promise<readonly { readonly service: Service; readonly claims: Claims }[]> {
  const found: { service: Service; claims: Claims }[] = [];
  let nextToken: string | undefined;
  let seen = 0;
  do {
    const token: string | undefined = nextToken;
    const page = await send((ecs, options) =>
      ecs.listServices(
        {
          cluster: place.cluster.arn,
          maxResults: LIST_PAGE,
          ...(token === undefined ? {} : { nextToken: token }),
        },
        options,
      ),
    );
    const arns = page.serviceArns ?? [];
    seen += arns.length;
    for (let start = 0; start < arns.length; start += DESCRIBE_LIMIT) {
      const services = arns.slice(start, start + DESCRIBE_LIMIT);
      const described = await send((ecs, options) =>
        ecs.describeServices({ cluster: place.cluster.arn, services, include: ["TAGS"] }, options),
      );
      for (const service of described.services ?? []) {
        const claims = claimsOf(service.tags);
        if (service.status !== "INACTIVE" && claims !== null && isWanted(claims))
          found.push({ service, claims });
      }
    }
    nextToken = page.nextToken;
  } while (nextToken !== undefined && seen < SERVICE_LIMIT);
  return found;
}

/** The tenant's own service at this place; by its tags where its name cannot be known. */
export async function findOwnService(
  send: Send,
  place: Place,
  owner: Owner,
  isNameKnown: boolean,
): Promise<{ readonly service: Service; readonly claims: Claims } | null> {
  const named = await describeService(send, place, serviceNameOf(place, owner.tenantId));
  if (named !== null && isOwnedBy(named.claims, owner)) {
    return { service: named.service, claims: named.claims };
  }
  if (isNameKnown) return null;
  const [found] = await listOwnServices(send, place, (claims) => isOwnedBy(claims, owner));
  return found ?? null;
}

/** Tasks of a service that have not stopped, whatever became of the service. */
export async function liveTasksOf(send: Send, place: Place, serviceName: string): Promise<readonly Task[]> {
  const arns: string[] = [];
  for (const desiredStatus of ["RUNNING", "STOPPED"] as const) {
    try {
      const listed = await send((ecs, options) =>
        ecs.listTasks(
          { cluster: place.cluster.arn, serviceName, desiredStatus, maxResults: TASK_LIMIT },
          options,
        ),
      );
      arns.push(...(listed.taskArns ?? []));
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  }
  if (arns.length === 0) return [];
  const { tasks = [] } = await send((ecs, options) =>
    ecs.describeTasks({ cluster: place.cluster.arn, tasks: arns.slice(0, TASK_LIMIT) }, options),
  );
  return tasks.filter(({ lastStatus }) => lastStatus !== "STOPPED");
}

/** Why the newest tasks ended: the reasons that ECS keeps for an hour. */
export async function stopReasonsOf(
  send: Send,
  place: Place,
  serviceName: string,
): Promise<readonly string[]> {
  const { taskArns = [] } = await send((ecs, options) =>
    ecs.listTasks(
      { cluster: place.cluster.arn, serviceName, desiredStatus: "STOPPED", maxResults: DESCRIBE_LIMIT },
      options,
    ),
  ).catch((error: unknown) => {
    if (nameOf(error) === "") throw error;
    return { taskArns: [] };
  });
  if (taskArns.length === 0) return [];
  const { tasks = [] } = await send((ecs, options) =>
    ecs.describeTasks({ cluster: place.cluster.arn, tasks: taskArns }, options),
  );
  const reasons = tasks.flatMap(({ stoppedReason, containers = [] }) => [
    ...(stoppedReason === undefined ? [] : [stoppedReason]),
    ...containers.flatMap(({ name, reason, exitCode }) =>
      reason !== undefined
        ? [`${name}: ${reason}`]
        : exitCode !== undefined && exitCode !== 0
          ? [`${name} ended with ${exitCode}`]
          : [],
    ),
  ]);
  return [...new Set(reasons)].slice(0, 3);
}

export const launchTypeOf = (config: EcsConfig): "FARGATE" | "EC2" | "EXTERNAL" =>
  config.launch_type ?? "FARGATE";

/** Differs in something that an update can change. */
export function isConfigured(service: Service, config: EcsConfig): boolean {
  const network = service.networkConfiguration?.awsvpcConfiguration;
  const same = (a: readonly string[] = [], b: readonly string[] = []): boolean =>
    [...a].sort().join() === [...b].sort().join();
  return (
    service.taskDefinition === config.task_definition_arn &&
    service.desiredCount === (config.desired_count ?? 1) &&
    same(network?.subnets, config.subnets) &&
    same(network?.securityGroups, config.security_groups) &&
    (network === undefined || (network.assignPublicIp === "ENABLED") === (config.assign_public_ip ?? false))
  );
}

/** Steady: one deployment, completed, and all of its tasks run. */
export function healthOf(service: Service): { readonly health: Health; readonly message: string | null } {
  const deployments = service.deployments ?? [];
  const primary = deployments.find(({ status }) => status === "PRIMARY");
  const wanted = service.desiredCount ?? 0;
  const running = primary?.runningCount ?? 0;
  if (primary?.rolloutState === "FAILED") {
    return {
      health: "unhealthy",
      message: `The deployment failed: ${primary.rolloutStateReason ?? "no reason given"}`,
    };
  }
  const others = deployments.filter(
    ({ status, runningCount = 0 }) => status !== "PRIMARY" && runningCount > 0,
  );
  const isSteady =
    primary !== undefined &&
    (primary.rolloutState === undefined || primary.rolloutState === "COMPLETED") &&
    others.length === 0 &&
    wanted > 0 &&
    running >= wanted &&
    (service.pendingCount ?? 0) === 0;
  if (isSteady) return { health: "healthy", message: null };
  const failed = primary?.failedTasks ?? 0;
  const message = `${running} of ${wanted} tasks run${failed > 0 ? `, ${failed} have failed` : ""}; the deployment is ${primary?.rolloutState ?? "new"}.`;
  return { health: failed > 0 ? "unhealthy" : "starting", message };
}
