/** What changes a tenant's service. Each effect may be repeated, and lose a race: the caller looks again after each. */
import { createHash } from "node:crypto";
import type { ComputeSpec } from "../provider.ts";
import type { Send } from "./client.ts";
import type { EcsConfig } from "./description.ts";
import { isNameTaken } from "./errors.ts";
import { type Claims, tagsOf } from "./ownership.ts";
import type { Place } from "./place.ts";
import { describeService, hasSubnets, isDeploymentFailed, launchTypeOf, type OwnService } from "./service.ts";

export interface Wanted {
  readonly spec: ComputeSpec;
  readonly config: EcsConfig;
}

/** With no task yet: the caller looks again, at the fence too, before anything runs. */
export async function createService(
  send: Send,
  place: Place,
  { spec, config, name, idempotencyKey }: Wanted & { readonly name: string; readonly idempotencyKey: string },
): Promise<void> {
  const clientToken = createHash("sha256")
    .update(`${idempotencyKey}/${name}/${spec.generation}`)
    .digest("hex")
    .slice(0, 36);
  try {
    await send((ecs, options) =>
      ecs.createService(
        {
          cluster: place.cluster.arn,
          serviceName: name,
          desiredCount: 0,
          clientToken,
          launchType: launchTypeOf(config),
          tags: tagsOf(spec, config.tags ?? {}),
          propagateTags: "SERVICE",
          // Without a rollback: it would bring a configuration back that nobody wants any more.
          deploymentConfiguration: { deploymentCircuitBreaker: { enable: true, rollback: false } },
          ...wantedOf(config),
        },
        options,
      ),
    );
  } catch (error) {
    // Somebody was faster, or an answer was lost: the next look tells whose it is.
    if (!isNameTaken(error)) throw error;
  }
}

/** Tags first: a worker that dies in between leaves a service that is not as its tags say, which the next one mends. */
export async function updateService(
  send: Send,
  place: Place,
  { spec, config, found }: Wanted & { readonly found: OwnService },
): Promise<void> {
  const { service, claims } = found;
  const resourceArn = service.serviceArn ?? "";
  const name = service.serviceName ?? "";
  if (claims.generation !== spec.generation) {
    const isTagged = await unlessGone(send, place, name, async () => {
      const unwanted = ownTagKeys(claims).filter((key) => config.tags?.[key] === undefined);
      if (unwanted.length > 0) {
        await send((ecs, options) => ecs.untagResource({ resourceArn, tagKeys: unwanted }, options));
      }
      await send((ecs, options) =>
        ecs.tagResource({ resourceArn, tags: tagsOf(spec, config.tags ?? {}) }, options),
      );
    });
    if (!isTagged) return;
    const now = await describeService(send, place, name);
    if (now === null || now.claims === null || isBeyond(now.claims, spec)) return;
  }
  await unlessGone(send, place, name, () =>
    send((ecs, options) =>
      ecs.updateService(
        {
          cluster: place.cluster.arn,
          service: resourceArn,
          desiredCount: config.desired_count ?? 1,
          // A count that is raised is no deployment, so no circuit breaker would watch the first tasks; and a deployment
          // that failed is not tried again without.
          forceNewDeployment: service.desiredCount === 0 || isDeploymentFailed(service),
          ...wantedOf(config),
        },
        options,
      ),
    ),
  );
}

function wantedOf(config: EcsConfig) {
  return {
    taskDefinition: config.task_definition_arn,
    ...(hasSubnets(config)
      ? {
          networkConfiguration: {
            awsvpcConfiguration: {
              subnets: [...(config.subnets ?? [])],
              securityGroups: [...(config.security_groups ?? [])],
              assignPublicIp: config.assign_public_ip === true ? ("ENABLED" as const) : ("DISABLED" as const),
            },
          },
        }
      : {}),
  };
}

/** Its tasks are stopped by ECS; until they are, the service is DRAINING. */
export async function deleteService(send: Send, place: Place, name: string): Promise<void> {
  await unlessGone(send, place, name, () =>
    send((ecs, options) =>
      ecs.deleteService({ cluster: place.cluster.arn, service: name, force: true }, options),
    ),
  );
}

/** False when the call failed because the service was deleted meanwhile; AWS has several names for that. */
async function unlessGone(
  send: Send,
  place: Place,
  name: string,
  work: () => Promise<unknown>,
): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (error) {
    const now = await describeService(send, place, name).catch(() => {
      throw error;
    });
    if (now?.service.status === "ACTIVE") throw error;
    return false;
  }
}

function ownTagKeys({ config }: Claims): readonly string[] {
  const tags = config?.["tags"];
  return typeof tags === "object" && tags !== null ? Object.keys(tags) : [];
}

/** What is there is newer, or another config of the same generation. */
export function isBeyond(claims: Claims, spec: ComputeSpec): boolean {
  if (claims.generation !== spec.generation) return claims.generation > spec.generation;
  return claims.configHash !== spec.configHash;
}
