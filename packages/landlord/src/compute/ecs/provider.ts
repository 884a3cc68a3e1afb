/**
 * One ECS service for each tenant. The name of a service is its compare-and-set; its tags say whose it is and at which
 * generation, and are written before the configuration that they speak of; a family of task definitions remembers what
 * was deleted (fence.ts). Two workers in any order end with the higher generation, or with nothing; a worker that is frozen
 * between two calls may put an older configuration back, until the service is looked at again.
 */
import {
  type ApplyResult,
  ComputeError,
  type ComputeProvider,
  type ComputeRef,
  type ComputeSpec,
  type EffectOptions,
  type Observation,
  type OwnedResource,
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
import { createService, deleteService, isBeyond, updateService } from "./effects.ts";
import { asRetryable } from "./errors.ts";
import { readFence, writeFence } from "./fence.ts";
import { planEcs } from "./plan.ts";
import { parseScope, placeOf, scopeOf, serviceNameOf, standardPlace, type Place } from "./place.ts";
import {
  countLiveTasks,
  describeService,
  findOwnService,
  healthOf,
  isConfigured,
  isDeploymentFailed,
  isOtherKind,
  isOwn,
  listOwnServices,
  type OwnService,
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

  async apply(spec: ComputeSpec, { signal, idempotencyKey }: EffectOptions): Promise<ApplyResult> {
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
    const failures: ComputeError[] = [];
    for (const { place, isNameKnown } of this.#placesOf(ref)) {
      const send = this.#clients.at(place, signal);
      // One cluster that is out of reach does not keep compute in another one alive.
      await guarded(place.cluster.arn, () => destroyAt(send, place, ref, isNameKnown)).catch(
        (error: unknown) => failures.push(error as ComputeError),
      );
    }
    const [failure] = failures;
    if (failure !== undefined) throw asRetryable(failure);
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
    const name = serviceNameOf(place, spec);
    for (let round = 0; round < APPLY_ROUNDS; round += 1) {
      const found = await describeService(send, place, name);
      if (found !== null && !isOwn(found, spec)) throw nameTaken(name, place);
      if (found !== null && isBeyond(found.claims, spec)) {
        return { kind: "stale", generation: found.claims.generation };
      }
      const isActive = found?.service.status === "ACTIVE";
      const isReached = isActive && found?.claims.generation === spec.generation;
      if (isReached && isConfigured(found.service, config) && !isDeploymentFailed(found.service)) {
        return { kind: "applied", observation: await this.#look(send, place, found) };
      }
      const fence = await readFence(send, spec);
      if (fence >= spec.generation) {
        if (isActive) await deleteService(send, place, name);
        return { kind: "stale", generation: fence };
      }
      if (found === null) await createService(send, place, { spec, config, name, idempotencyKey });
      else if (!isActive) throw draining(name);
      else if (isOtherKind(found.service, config)) await deleteService(send, place, name);
      else {
        const reasons =
          isReached && isDeploymentFailed(found.service) ? await this.#look(send, place, found) : null;
        await updateService(send, place, { spec, config, found });
        if (reasons !== null) throw deploymentFailed(reasons);
      }
    }
    throw new ComputeError(
      "contended",
      "Other workers kept changing this tenant's service meanwhile, or ECS shows old facts. It is tried again.",
      { retryable: true },
    );
  }

  async #observeOne(ref: ComputeRef, signal: AbortSignal): Promise<Observation> {
    const unknown = (message: string): Observation => ({
      ...nothing(ref.scopes[0] ?? ECS_PROVIDER_NAME),
      presence: "unknown",
      health: "unknown",
      message,
    });
    let absent: Observation | null = null;
    try {
      for (const { place, isNameKnown } of this.#placesOf(ref)) {
        const observation = await guarded(place.cluster.arn, () =>
          this.#observeAt(this.#clients.at(place, signal), place, ref, isNameKnown),
        );
        if (observation.presence !== "absent") return observation;
        absent ??= observation;
      }
    } catch (error) {
      // A cluster that is not there now may be one that this identity does not see.
      if (error instanceof ComputeError && error.code !== "aborted") return unknown(error.message);
      throw error;
    }
    return absent ?? unknown("No cluster is known in which to look: set compute.ecs.defaults.cluster_arn.");
  }

  async #observeAt(send: Send, place: Place, ref: ComputeRef, isNameKnown: boolean): Promise<Observation> {
    const found = await findOwnService(send, place, ref, isNameKnown);
    if (found !== null) return this.#look(send, place, found);
    const absent = nothing(scopeOf(place));
    const name = serviceNameOf(place, ref);
    const named = await describeService(send, place, name);
    if (named !== null && named.claims === null && "prefix" in place.naming) throw withoutTags(name);
    // What runs under the name of somebody else's service is theirs.
    if (named !== null) return absent;
    const live = await countLiveTasks(send, place, name);
    if (live === 0) return absent;
    return {
      ...absent,
      presence: "present",
      health: "unknown",
      message: `The service is gone, and ${live} of its tasks are still stopping.`,
    };
  }

  async #look(send: Send, place: Place, { service, claims }: OwnService): Promise<Observation> {
    const config = ecsConfigSchema.safeParse(claims.config);
    const present: Observation = {
      ...nothing(scopeOf(config.success ? placeOf(config.data) : place)),
      presence: "present",
      generation: claims.generation,
      configHash: claims.configHash,
      config: claims.config,
      resourceIds: { service: service.serviceArn ?? "" },
    };
    if (service.status !== "ACTIVE") {
      return { ...present, health: "unknown", message: `The service is ${service.status ?? "unknown"}.` };
    }
    // Tags claim; the configuration decides. What was changed behind our back is not at this generation.
    if (!config.success || !isConfigured(service, config.data)) {
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
    const reasons = await stopReasonsOf(send, place, service.serviceName ?? "");
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

async function destroyAt(
  send: Send,
  place: Place,
  ref: ComputeRef & { readonly generation: number },
  isNameKnown: boolean,
): Promise<void> {
  const found = await findOwnService(send, place, ref, isNameKnown);
  if (found !== null && found.claims.generation > ref.generation) return;
  // Before anything is removed: whoever creates later finds it, and undoes what it did.
  await writeFence(send, ref, ref.generation);
  const now = await findOwnService(send, place, ref, isNameKnown);
  if (now !== null && now.claims.generation <= ref.generation && now.service.status === "ACTIVE") {
    await deleteService(send, place, now.service.serviceName ?? "");
  }
}

/** The name is the tenant's own, so the service is: it must not pass for absent because somebody took its tags away. */
function withoutTags(name: string): ComputeError {
  return new ComputeError(
    "service_without_tags",
    `The service ${name} has lost the tags that say whose it is. Tag it again (landlord:instance, landlord:tenant, landlord:generation, landlord:config-hash), or delete it.`,
    { retryable: true },
  );
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

function deploymentFailed({ message }: Observation): ComputeError {
  return new ComputeError("workload_exited", `${message ?? "The deployment failed."} It is tried again.`, {
    retryable: true,
  });
}
