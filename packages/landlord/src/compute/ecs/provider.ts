/**
 * One ECS service for each tenant. The name of a service is its compare-and-set; its tags say whose it is and at which
 * generation, and are written before the configuration that they speak of; a family of task definitions remembers what
 * was deleted (fence.ts). So every order of two workers ends with the higher generation, or with nothing.
 */
import { createHash } from "node:crypto";
import {
  type ApplyResult,
  ComputeError,
  type ComputeProvider,
  type ComputeRef,
  type ComputeSpec,
  type EffectOptions,
  type Observation,
  type OwnedResource,
  type Owner,
  type PlannedChange,
} from "../provider.ts";
import type { JsonObject } from "../../domain/json.ts";
import { guarded, type EcsClients, type Send } from "./client.ts";
import {
  type EcsConfig,
  type EcsEngineConfig,
  ECS_PROVIDER_NAME,
  ecsConfigSchema,
  validateEcsConfig,
} from "./description.ts";
import { isGone, isNameTaken, nameOf } from "./errors.ts";
import { readFence, writeFence } from "./fence.ts";
import { type Claims, isOwnedBy, tagsOf } from "./ownership.ts";
import { planEcs } from "./plan.ts";
import { parseScope, placeOf, scopeOf, serviceNameOf, standardPlace, type Place } from "./place.ts";
import {
  describeService,
  findOwnService,
  type FoundService,
  healthOf,
  isConfigured,
  launchTypeOf,
  listOwnServices,
  liveTasksOf,
  stopReasonsOf,
} from "./service.ts";

/** Looks of one apply; more than two only when workers race. */
const APPLY_ROUNDS = 4;
/** Tenants that one observe looks at side by side. */
const OBSERVE_CONCURRENCY = 8;

export interface EcsProviderOptions {
  readonly engine: EcsEngineConfig;
  readonly clients: EcsClients;
}

export class EcsComputeProvider implements ComputeProvider {
  readonly name = ECS_PROVIDER_NAME;
  readonly #engine: EcsEngineConfig;
  readonly #clients: EcsClients;

  constructor({ engine, clients }: EcsProviderOptions) {
    this.#engine = engine;
    this.#clients = clients;
  }

  scopeOf(config: JsonObject): Promise<string> {
    const parsed = ecsConfigSchema.safeParse(config);
    if (parsed.success) return Promise.resolve(scopeOf(placeOf(parsed.data)));
    return Promise.reject(
      new ComputeError("invalid_config", "The compute_config names no cluster to act in.", {
        retryable: false,
      }),
    );
  }

  async observe(refs: readonly ComputeRef[], signal: AbortSignal): Promise<readonly Observation[]> {
    const observations: Observation[] = [];
    for (let start = 0; start < refs.length; start += OBSERVE_CONCURRENCY) {
      const batch = refs.slice(start, start + OBSERVE_CONCURRENCY);
      observations.push(...(await Promise.all(batch.map((ref) => this.#observeOne(ref, signal)))));
    }
    return observations;
  }

  plan(spec: ComputeSpec, observation: Observation): Promise<readonly PlannedChange[]> {
    return Promise.resolve(planEcs(spec, observation));
  }

  apply(spec: ComputeSpec, { signal, idempotencyKey }: EffectOptions): Promise<ApplyResult> {
    const config = this.#parse(spec);
    const place = placeOf(config);
    return guarded(place.cluster.arn, () =>
      this.#apply(spec, config, place, { send: this.#clients.at(place, signal), idempotencyKey }),
    );
  }

  async destroy(
    ref: ComputeRef & { readonly generation: number },
    { signal }: EffectOptions,
  ): Promise<Observation> {
    for (const { place, isNameKnown } of this.#placesOf(ref)) {
      const send = this.#clients.at(place, signal);
      await guarded(place.cluster.arn, async () => {
        const found = await findOwnService(send, place, ref, isNameKnown);
        if (found !== null && found.claims.generation > ref.generation) return;
        // Before anything is removed: whoever creates later finds it, and undoes what it did.
        await writeFence(send, ref, ref.generation);
        const now = found ?? (await findOwnService(send, place, ref, true));
        if (now !== null && now.claims.generation <= ref.generation) {
          await deleteService(send, place, now.service.serviceName ?? "");
        }
      });
    }
    return this.#observeOne(ref, signal);
  }

  async list(instanceId: string, signal: AbortSignal): Promise<readonly OwnedResource[]> {
    const owned: OwnedResource[] = [];
    for (const arn of this.#engine.knownClusterArns) {
      const place = standardPlace(arn);
      const services = await guarded(arn, () =>
        listOwnServices(this.#clients.at(place, signal), place, (claims) => claims.instanceId === instanceId),
      );
      for (const { service, claims } of services) {
        const config = ecsConfigSchema.safeParse(claims.config);
        owned.push({
          instanceId,
          tenantId: claims.tenantId,
          generation: claims.generation,
          scope: scopeOf(config.success ? placeOf(config.data) : place),
          resourceIds: { service: service.serviceArn ?? "" },
        });
      }
    }
    return owned;
  }

  /** ECS keeps no output of tasks; it is where the task definition's log driver sends it. */
  logs(): Promise<string> {
    return Promise.resolve("");
  }

  async #apply(
    spec: ComputeSpec,
    config: EcsConfig,
    place: Place,
    { send, idempotencyKey }: { readonly send: Send; readonly idempotencyKey: string },
  ): Promise<ApplyResult> {
    const name = serviceNameOf(place, spec.tenantId);
    for (let round = 0; round < APPLY_ROUNDS; round += 1) {
      const found = await describeService(send, place, name);
      if (found !== null && !isOwnedBy(found.claims, spec)) throw nameTaken(name, place);
      const claims = found?.claims ?? null;
      if (claims !== null && isBeyond(claims, spec)) return { kind: "stale", generation: claims.generation };
      const isSettled =
        found?.service.status === "ACTIVE" &&
        claims?.generation === spec.generation &&
        isConfigured(found.service, config);
      if (found !== null && isSettled) {
        return { kind: "applied", observation: await this.#look(send, place, spec, found) };
      }
      const fence = await readFence(send, spec);
      if (fence >= spec.generation) {
        if (found !== null && found.service.status === "ACTIVE") await deleteService(send, place, name);
        return { kind: "stale", generation: fence };
      }
      if (found === null) await createService(send, place, { spec, config, name, idempotencyKey });
      else if (found.service.status !== "ACTIVE") throw draining(name);
      else if (launchTypeOf(config) !== found.service.launchType) await deleteService(send, place, name);
      else await updateService(send, place, { spec, config, found });
    }
    throw new ComputeError(
      "contended",
      "Other workers kept changing this tenant's service meanwhile, or ECS shows old facts. It is tried again.",
      { retryable: true },
    );
  }

  async #observeOne(ref: ComputeRef, signal: AbortSignal): Promise<Observation> {
    const places = this.#placesOf(ref);
    const unknown = (message: string): Observation => ({
      ...nothing(ref.scopes[0] ?? ECS_PROVIDER_NAME),
      presence: "unknown",
      health: "unknown",
      message,
    });
    if (places.length === 0) {
      return unknown("No cluster is known in which to look: set compute.ecs.defaults.cluster_arn.");
    }
    const absent: Observation[] = [];
    for (const { place, isNameKnown } of places) {
      const send = this.#clients.at(place, signal);
      try {
        const observation = await guarded(place.cluster.arn, () =>
          this.#observeAt(send, place, ref, isNameKnown),
        );
        if (observation.presence !== "absent") return observation;
        absent.push(observation);
      } catch (error) {
        // A cluster that is not there now may be one that this identity does not see.
        if (error instanceof ComputeError && error.code !== "aborted") return unknown(error.message);
        throw error;
      }
    }
    return absent[0] ?? unknown("Nothing was looked at.");
  }

  async #observeAt(send: Send, place: Place, ref: ComputeRef, isNameKnown: boolean): Promise<Observation> {
    const found = await findOwnService(send, place, ref, isNameKnown);
    if (found !== null) return this.#look(send, place, ref, found);
    const scope = scopeOf(place);
    // A service that is gone may leave tasks that are still stopping.
    const tasks = await liveTasksOf(send, place, serviceNameOf(place, ref.tenantId));
    if (tasks.length === 0) return nothing(scope);
    return {
      ...nothing(scope),
      presence: "present",
      health: "unknown",
      message: `The service is gone, and ${tasks.length} of its tasks are still stopping.`,
      resourceIds: { task: tasks[0]?.taskArn ?? "" },
    };
  }

  async #look(
    send: Send,
    place: Place,
    owner: Owner,
    { service, claims }: FoundService,
  ): Promise<Observation> {
    const config = ecsConfigSchema.safeParse(claims?.config);
    const present: Observation = {
      ...nothing(scopeOf(config.success ? placeOf(config.data) : place)),
      presence: "present",
      generation: claims?.generation ?? null,
      configHash: claims?.configHash ?? null,
      config: claims?.config ?? null,
      resourceIds: { service: service.serviceArn ?? "" },
    };
    if (service.status !== "ACTIVE") {
      return { ...present, health: "unknown", message: `The service is ${service.status ?? "unknown"}.` };
    }
    // Tags claim; the configuration decides. What was changed behind our back is not at this generation.
    if (config.success && !isConfigured(service, config.data)) {
      return {
        ...present,
        configHash: null,
        health: "unhealthy",
        message:
          "The service is not configured as its tags say: it was changed by somebody else, or a change is under way.",
      };
    }
    const { health, message } = healthOf(service);
    if (health !== "unhealthy") return { ...present, health, message };
    const reasons = await stopReasonsOf(send, place, serviceNameOf(place, owner.tenantId));
    return { ...present, health, message: [message, ...reasons].join(" ") };
  }

  /** Where a tenant may have compute. With no scope reported, wherever tenants are put without saying where. */
  #placesOf(ref: ComputeRef): readonly { readonly place: Place; readonly isNameKnown: boolean }[] {
    if (ref.scopes.length === 0) {
      return this.#engine.knownClusterArns.map((arn) => ({ place: standardPlace(arn), isNameKnown: false }));
    }
    return ref.scopes.map((scope) => {
      const place = parseScope(scope);
      if (place === null) {
        throw new ComputeError(
          "compute_unreachable",
          `The scope ${scope} is not one of ECS: a worker of another kind or version must look there.`,
          { retryable: true },
        );
      }
      return { place, isNameKnown: true };
    });
  }

  #parse(spec: ComputeSpec): EcsConfig {
    const problems = validateEcsConfig(spec.config, this.#engine);
    if (problems.length === 0) return ecsConfigSchema.parse(spec.config);
    const text = problems.map(({ pointer, message }) => `${pointer || "/"} ${message}`).join("; ");
    throw new ComputeError(
      "invalid_config",
      `The compute_config is not valid for ecs: ${text.slice(0, 2_000)}.`,
      { retryable: false },
    );
  }
}

interface Wanted {
  readonly spec: ComputeSpec;
  readonly config: EcsConfig;
}

/** With no task yet: the caller looks again, at the fence too, before anything runs. */
async function createService(
  send: Send,
  place: Place,
  { spec, config, name, idempotencyKey }: Wanted & { readonly name: string; readonly idempotencyKey: string },
): Promise<void> {
  const clientToken = createHash("sha256").update(`${idempotencyKey}/${name}`).digest("hex").slice(0, 36);
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
async function updateService(
  send: Send,
  place: Place,
  { spec, config, found }: Wanted & { readonly found: FoundService },
): Promise<void> {
  const { service, claims } = found;
  const arn = service.serviceArn ?? "";
  if (claims?.generation !== spec.generation) {
    await send((ecs, options) =>
      ecs.tagResource({ resourceArn: arn, tags: tagsOf(spec, config.tags ?? {}) }, options),
    );
    const now = await describeService(send, place, service.serviceName ?? "");
    if (now === null || now.claims === null || isBeyond(now.claims, spec)) return;
  }
  await send((ecs, options) =>
    ecs.updateService(
      {
        cluster: place.cluster.arn,
        service: arn,
        desiredCount: config.desired_count ?? 1,
        ...wantedOf(config),
      },
      options,
    ),
  ).catch((error: unknown) => {
    // Deleted meanwhile: the next look sees the fence.
    if (!isGone(error)) throw error;
  });
}

function wantedOf(config: EcsConfig) {
  const subnets = config.subnets ?? [];
  return {
    taskDefinition: config.task_definition_arn,
    ...(subnets.length === 0
      ? {}
      : {
          networkConfiguration: {
            awsvpcConfiguration: {
              subnets: [...subnets],
              securityGroups: [...(config.security_groups ?? [])],
              assignPublicIp: config.assign_public_ip === true ? ("ENABLED" as const) : ("DISABLED" as const),
            },
          },
        }),
  };
}

async function deleteService(send: Send, place: Place, name: string): Promise<void> {
  try {
    await send((ecs, options) =>
      ecs.deleteService({ cluster: place.cluster.arn, service: name, force: true }, options),
    );
  } catch (error) {
    if (!isGone(error) && nameOf(error) !== "InvalidParameterException") throw error;
  }
}

function isBeyond(claims: Claims, spec: ComputeSpec): boolean {
  if (claims.generation !== spec.generation) return claims.generation > spec.generation;
  return claims.configHash !== spec.configHash;
}

function nothing(scope: string): Observation {
  return {
    presence: "absent",
    generation: null,
    configHash: null,
    health: "absent",
    message: null,
    config: null,
    resourceIds: {},
    endpoints: [],
    scope,
  };
}

function nameTaken(name: string, place: Place): ComputeError {
  return new ComputeError(
    "service_name_taken",
    `The cluster ${place.cluster.arn} has a service ${name} that is not this tenant's. Choose another service_name or service_name_prefix.`,
    { retryable: false },
  );
}

function draining(name: string): ComputeError {
  return new ComputeError(
    "service_draining",
    `The service ${name} is still being deleted; its name is free when its tasks have stopped.`,
    { retryable: true },
  );
}
