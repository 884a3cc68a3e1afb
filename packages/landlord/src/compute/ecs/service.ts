/** A tenant's service as ECS has it: found, compared with what it should be, and its tasks counted. */
import type { Service } from "@aws-sdk/client-ecs";
import type { Health } from "../../domain/tenant.ts";
import { ComputeError, type Owner } from "../provider.ts";
import type { Send } from "./client.ts";
import type { EcsConfig } from "./description.ts";
import { isGone } from "./errors.ts";
import { claimsOf, isOwnedBy, type Claims } from "./ownership.ts";
import { serviceNameOf, type Place } from "./place.ts";

/** What DescribeServices takes at once. */
const DESCRIBE_LIMIT = 10;
const LIST_PAGE = 100;
/** Quota of services in a cluster is 5,000; beyond this a list is refused, not cut. */
const SERVICE_LIMIT = 10_000;
const TASK_PAGE = 100;
/** Of tasks that have stopped within the last hour; more is not looked through, and so not known. */
const TASK_PAGE_LIMIT = 20;

export interface FoundService {
  readonly service: Service;
  readonly claims: Claims | null;
}

export interface OwnService extends FoundService {
  readonly claims: Claims;
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
): Promise<readonly OwnService[]> {
  const found: OwnService[] = [];
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
    if (nextToken !== undefined && seen >= SERVICE_LIMIT) {
      throw new ComputeError(
        "too_many_services",
        `The cluster ${place.cluster.arn} has more than ${SERVICE_LIMIT} services: spread tenants over several.`,
        { retryable: true },
      );
    }
  } while (nextToken !== undefined);
  return found;
}

export const isOwn = (found: FoundService, owner: Owner): found is OwnService =>
  isOwnedBy(found.claims, owner);

/** The tenant's own service at this place; by its tags where its name cannot be known. */
export async function findOwnService(
  send: Send,
  place: Place,
  owner: Owner,
  isNameKnown: boolean,
): Promise<OwnService | null> {
  const named = await describeService(send, place, serviceNameOf(place, owner));
  if (named !== null && isOwn(named, owner)) return named;
  if (isNameKnown) return null;
  const [found] = await listOwnServices(send, place, (claims) => isOwnedBy(claims, owner));
  return found ?? null;
}

/**
 * How many tasks of a service have not stopped, whatever became of the service. A task that ECS wants stopped may still
 * run.
 */
export async function countLiveTasks(send: Send, place: Place, serviceName: string): Promise<number> {
  let live = 0;
  for (const desiredStatus of ["RUNNING", "STOPPED"] as const) {
    let nextToken: string | undefined;
    let pages = 0;
    do {
      if (pages === TASK_PAGE_LIMIT) throw tooManyTasks(serviceName);
      const page = await listTasks(send, place, { serviceName, desiredStatus, nextToken });
      if (page.taskArns.length > 0) {
        const { tasks = [] } = await send((ecs, options) =>
          ecs.describeTasks({ cluster: place.cluster.arn, tasks: [...page.taskArns] }, options),
        );
        live += tasks.filter(({ lastStatus }) => lastStatus !== "STOPPED").length;
      }
      nextToken = page.nextToken;
      pages += 1;
    } while (nextToken !== undefined);
  }
  return live;
}

function tooManyTasks(serviceName: string): ComputeError {
  return new ComputeError(
    "too_many_tasks",
    `More than ${TASK_PAGE * TASK_PAGE_LIMIT} tasks of ${serviceName} stopped within the last hour; whether all have is known when ECS has forgotten some.`,
    { retryable: true },
  );
}

async function listTasks(
  send: Send,
  place: Place,
  {
    serviceName,
    desiredStatus,
    nextToken,
  }: {
    readonly serviceName: string;
    readonly desiredStatus: "RUNNING" | "STOPPED";
    readonly nextToken?: string | undefined;
  },
): Promise<{ readonly taskArns: readonly string[]; readonly nextToken: string | undefined }> {
  try {
    const listed = await send((ecs, options) =>
      ecs.listTasks(
        {
          cluster: place.cluster.arn,
          serviceName,
          desiredStatus,
          maxResults: TASK_PAGE,
          ...(nextToken === undefined ? {} : { nextToken }),
        },
        options,
      ),
    );
    return { taskArns: listed.taskArns ?? [], nextToken: listed.nextToken };
  } catch (error) {
    if (!isGone(error)) throw error;
    return { taskArns: [], nextToken: undefined };
  }
}

/** Why the newest tasks ended: the reasons that ECS keeps for an hour. */
export async function stopReasonsOf(
  send: Send,
  place: Place,
  serviceName: string,
): Promise<readonly string[]> {
  const listed = await listTasks(send, place, { serviceName, desiredStatus: "STOPPED" });
  const taskArns = listed.taskArns.slice(0, DESCRIBE_LIMIT);
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

/** Differs in something that an update cannot change. */
export function isOtherKind(service: Service, config: EcsConfig): boolean {
  const subnets = service.networkConfiguration?.awsvpcConfiguration?.subnets ?? [];
  return launchTypeOf(config) !== service.launchType || (subnets.length > 0 && !hasSubnets(config));
}

export const hasSubnets = (config: EcsConfig): boolean => (config.subnets ?? []).length > 0;

export const isDeploymentFailed = (service: Service): boolean =>
  primaryOf(service)?.rolloutState === "FAILED";

const primaryOf = (service: Service) => service.deployments?.find(({ status }) => status === "PRIMARY");

/** Is what the config says: what a service claims by its tags has to show here. */
export function isConfigured(service: Service, config: EcsConfig): boolean {
  const network = service.networkConfiguration?.awsvpcConfiguration;
  const same = (a: readonly string[] = [], b: readonly string[] = []): boolean =>
    [...a].sort().join() === [...b].sort().join();
  return (
    !isOtherKind(service, config) &&
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
  const primary = primaryOf(service);
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
