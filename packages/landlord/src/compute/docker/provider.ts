/**
 * Real containers. All that is known of a tenant is in names and labels at the daemon, so any worker goes on where
 * another one stopped, at any line. An update always replaces: the new generation starts beside the old one, which is
 * retired once the new one is healthy. How late workers are kept out is argued in fence.ts.
 */
import { setTimeout as delay } from "node:timers/promises";
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
import { applyGeneration } from "./apply.ts";
import { DOCKER_PROVIDER_NAME, parseDockerConfig } from "./description.ts";
import type { EngineConfig } from "./engine-config.ts";
import type { Engine } from "./engine.ts";
import { aborted, guarded } from "./errors.ts";
import { removeLowerFences, isFenced, writeFence } from "./fence.ts";
import { tailLogs } from "./logs.ts";
import { removeNetworks } from "./network.ts";
import { observeTenant, unseen } from "./observation.ts";
import { labelKeys, ownerFilter } from "./ownership.ts";
import { planDocker } from "./plan.ts";
import { Retirement } from "./retirement.ts";
import {
  listOwnContainers,
  lookAtTenant,
  ownContainer,
  type OwnContainer,
  sortContainers,
  type TenantKeys,
} from "./tenant-state.ts";
import { removeContainer, type Work } from "./work.ts";

/** Rounds of look and remove before a destroy says what is left. */
const DESTROY_ROUNDS = 8;
const DESTROY_PAUSE_MS = 100;
/** Tenants that one observe looks at side by side. */
const OBSERVE_CONCURRENCY = 16;

export interface DockerProviderOptions {
  readonly engine: Engine;
  readonly settings: EngineConfig;
  /** 0 ≤ x < 1; where the search for a free port begins. */
  readonly random: () => number;
}

export class DockerComputeProvider implements ComputeProvider {
  readonly name = DOCKER_PROVIDER_NAME;
  readonly #options: DockerProviderOptions;
  readonly #tenant: TenantKeys;
  readonly #retirement: Retirement;
  #lastScope: string | null = null;

  constructor(options: DockerProviderOptions) {
    this.#options = options;
    const prefix = options.settings.labelPrefix;
    this.#tenant = { prefix, keys: labelKeys(prefix) };
    this.#retirement = new Retirement(options.engine, this.#tenant);
    this.#retirement.sweepSoon();
  }

  scopeOf(): Promise<string> {
    const { signal } = new AbortController();
    return guarded(async () => (await this.#work(signal)).daemon.scope);
  }

  observe(refs: readonly ComputeRef[], signal: AbortSignal): Promise<readonly Observation[]> {
    return guarded(() => this.#observe(refs, signal));
  }

  async plan(spec: ComputeSpec, observation: Observation): Promise<readonly PlannedChange[]> {
    const { settings } = this.#options;
    return planDocker(spec, parseDockerConfig(spec, settings), observation, settings);
  }

  apply(spec: ComputeSpec, options: EffectOptions): Promise<ApplyResult> {
    return guarded(async () => {
      const config = parseDockerConfig(spec, this.#options.settings);
      return applyGeneration(await this.#work(options.signal), spec, config, options);
    });
  }

  destroy(
    ref: ComputeRef & { readonly generation: number },
    { signal }: EffectOptions,
  ): Promise<Observation> {
    return guarded(async () => this.#destroy(await this.#work(signal), ref));
  }

  list(instanceId: string, signal: AbortSignal): Promise<readonly OwnedResource[]> {
    return guarded(async () => this.#list(await this.#work(signal), instanceId));
  }

  logs(
    ref: ComputeRef,
    { tailBytes, signal }: { readonly tailBytes: number; readonly signal: AbortSignal },
  ): Promise<string> {
    return guarded(async () => {
      const { engine } = this.#options;
      const all = sortContainers(await listOwnContainers(engine, this.#tenant, ref, signal));
      const newest = all.containers.at(-1) ?? all.retired.at(-1);
      return newest === undefined ? "" : tailLogs(engine, newest.id, { tailBytes, signal });
    });
  }

  /** Asks the daemon who it is each time: behind the same address there may be another one by now. */
  async #work(signal: AbortSignal): Promise<Work> {
    const daemon = await this.#options.engine.daemon(signal);
    this.#lastScope = daemon.scope;
    return { ...this.#options, tenant: this.#tenant, retirement: this.#retirement, daemon, signal };
  }

  async #observe(refs: readonly ComputeRef[], signal: AbortSignal): Promise<readonly Observation[]> {
    let work: Work;
    try {
      work = await this.#work(signal);
    } catch (error) {
      if (!(error instanceof ComputeError) || error.code !== "compute_unreachable") throw error;
      return refs.map((ref) => unseen(this.#lastScope ?? ref.scopes[0] ?? "docker:unknown", error.message));
    }
    const observations: Observation[] = [];
    for (let start = 0; start < refs.length; start += OBSERVE_CONCURRENCY) {
      const batch = refs.slice(start, start + OBSERVE_CONCURRENCY);
      observations.push(...(await Promise.all(batch.map((ref) => this.#observeOne(work, ref)))));
    }
    return observations;
  }

  async #observeOne(work: Work, ref: ComputeRef): Promise<Observation> {
    const { scope } = work.daemon;
    const foreign = ref.scopes.find((each) => each !== scope);
    if (foreign !== undefined)
      return unseen(scope, `This worker sees ${scope}, not ${foreign}: ask a worker of that daemon.`);
    return observeTenant(work, ref, await listOwnContainers(work.engine, work.tenant, ref, work.signal));
  }

  async #destroy(work: Work, ref: ComputeRef & { readonly generation: number }): Promise<Observation> {
    const { engine, tenant, signal } = work;
    const fence = { generation: ref.generation, kind: "destroyed", configHash: "" } as const;
    const before = await lookAtTenant(engine, tenant, ref, signal);
    // Before anything is removed, see fence.ts: from here on no apply up to this generation starts anything.
    if (!isFenced(before, fence)) await writeFence(engine, tenant, ref, fence, signal);
    for (let round = 0; round < DESTROY_ROUNDS; round += 1) {
      if (signal.aborted) throw aborted();
      const state = await lookAtTenant(engine, tenant, ref, signal);
      const all = [...state.containers, ...state.retired];
      const targets = all.filter(({ generation }) => generation <= ref.generation);
      await Promise.all(targets.map((container) => removeContainer(work, container)));
      if (targets.length > 0) {
        await delay(round === 0 ? 0 : DESTROY_PAUSE_MS, undefined, { signal }).catch(() => undefined);
        continue;
      }
      if (all.length === 0) await removeNetworks(engine, tenant, ref, signal);
      await removeLowerFences(engine, state, signal);
      break;
    }
    return this.#observeOne(work, ref);
  }

  async #list(work: Work, instanceId: string): Promise<readonly OwnedResource[]> {
    const { engine, tenant, signal, daemon } = work;
    const { keys } = tenant;
    const filter = ownerFilter(keys, { instanceId });
    const infos = await engine.containers(filter, { all: true, signal });
    const networks = await engine.networks(ownerFilter(keys, { instanceId }, "network"), signal);
    const networkOf = new Map(networks.map(({ Id, Labels }) => [Labels?.[keys.tenant] ?? "", Id]));
    const withContainer = new Set<string>();
    const owned: OwnedResource[] = [];
    const retired: OwnContainer[] = [];
    for (const info of infos) {
      const owner = { instanceId, tenantId: info.Labels[keys.tenant] ?? "" };
      const container = owner.tenantId === "" ? null : ownContainer(tenant, owner, info);
      if (container === null) continue;
      if (container.retiredUntilSeconds !== null) retired.push(container);
      const network = networkOf.get(owner.tenantId);
      withContainer.add(owner.tenantId);
      const resourceIds = {
        container: container.id,
        container_name: container.name,
        ...(network && { network }),
      };
      owned.push({ ...owner, generation: container.generation, scope: daemon.scope, resourceIds });
    }
    // Whose container is gone, or never came: still something that a destroy has to remove.
    for (const [tenantId, network] of networkOf) {
      if (withContainer.has(tenantId)) continue;
      owned.push({ instanceId, tenantId, generation: null, scope: daemon.scope, resourceIds: { network } });
    }
    this.#retirement.notice(retired, daemon.clockOffsetMs);
    return owned;
  }
}
