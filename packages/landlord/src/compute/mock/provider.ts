/** Compute that exists in memory only, with the fences of the real ones: for unit tests, simulation and benchmarks. */
import { setTimeout as delay } from "node:timers/promises";
import type { JsonObject } from "../../domain/json.ts";
import { changedFields } from "../../domain/plan.ts";
import {
  type ApplyResult,
  ComputeError,
  type ComputeProvider,
  type ComputeProviderFactory,
  type ComputeRef,
  type ComputeSpec,
  type EffectOptions,
  type Observation,
  type OwnedResource,
  type PlannedChange,
} from "../provider.ts";
import {
  describeMock,
  MOCK_PROVIDER_NAME,
  type MockEngineConfig,
  mockEngineConfigSchema,
  resolveMockConfig,
  validateMockConfig,
} from "./description.ts";
import { type MockTenant, MockWorld, sharedMockWorld } from "./world.ts";

export interface MockProviderOptions {
  readonly config: MockEngineConfig;
  readonly world: MockWorld;
  /** Milliseconds; only differences count. */
  readonly now: () => number;
  /** 0 ≤ x < 1. */
  readonly random: () => number;
  readonly sleep: (durationMs: number, signal: AbortSignal) => Promise<void>;
}

const SCOPE = "mock:memory";

export class MockComputeProvider implements ComputeProvider {
  readonly name = MOCK_PROVIDER_NAME;
  readonly #options: MockProviderOptions;

  constructor(options: MockProviderOptions) {
    this.#options = options;
  }

  scopeOf(): Promise<string> {
    return Promise.resolve(SCOPE);
  }

  async observe(refs: readonly ComputeRef[], signal: AbortSignal): Promise<readonly Observation[]> {
    await this.#takeTime(signal);
    return refs.map((ref) => this.#look(ref));
  }

  plan(spec: ComputeSpec, observation: Observation): Promise<readonly PlannedChange[]> {
    const { presence, config } = observation;
    if (presence !== "present" || config === null) {
      return Promise.resolve([{ action: "create", resource: "mock", fields: [], downtime: false }]);
    }
    if (observation.configHash === spec.configHash && observation.generation === spec.generation) {
      return Promise.resolve([{ action: "none", resource: "mock", fields: [], downtime: false }]);
    }
    return Promise.resolve([
      { action: "replace", resource: "mock", fields: changedFields(config, spec.config), downtime: true },
    ]);
  }

  async apply(spec: ComputeSpec, { signal }: EffectOptions): Promise<ApplyResult> {
    await this.#takeTime(signal);
    // From here on nothing is awaited, so nobody comes in between.
    const tenant = this.#options.world.touch(spec);
    const { fence } = tenant;
    const isStale =
      fence !== null &&
      (fence.generation > spec.generation ||
        (fence.generation === spec.generation &&
          (fence.kind === "destroy" || fence.configHash !== spec.configHash)));
    if (isStale) return { kind: "stale", generation: fence.generation };
    this.#maybeFail(spec.config);
    tenant.fence = { generation: spec.generation, kind: "apply", configHash: spec.configHash };
    this.#start(tenant, spec);
    return { kind: "applied", observation: this.#look({ ...spec, scopes: [] }) };
  }

  async destroy(
    ref: ComputeRef & { readonly generation: number },
    { signal }: EffectOptions,
  ): Promise<Observation> {
    await this.#takeTime(signal);
    if (this.#options.random() < this.#options.config.failureRate) throw failure("retryable");
    const tenant = this.#options.world.touch(ref);
    if (tenant.fence === null || tenant.fence.generation <= ref.generation) {
      tenant.fence = { generation: ref.generation, kind: "destroy", configHash: "-" };
    }
    if (tenant.compute !== null && tenant.compute.generation <= ref.generation) tenant.compute = null;
    return this.#look(ref);
  }

  async list(instanceId: string, signal: AbortSignal): Promise<readonly OwnedResource[]> {
    await this.#takeTime(signal);
    return [...this.#options.world.running(instanceId)].map(({ tenantId, compute }) => ({
      instanceId,
      tenantId,
      generation: compute.generation,
      scope: SCOPE,
      resourceIds: { mock: `${instanceId}/${tenantId}-${compute.generation}` },
    }));
  }

  async logs(
    ref: ComputeRef,
    options: { readonly tailBytes: number; readonly signal: AbortSignal },
  ): Promise<string> {
    await this.#takeTime(options.signal);
    const compute = this.#options.world.find(ref)?.compute ?? null;
    return compute === null ? "" : `generation ${compute.generation} started\n`.slice(-options.tailBytes);
  }

  #start(tenant: MockTenant, spec: ComputeSpec): void {
    const { compute } = tenant;
    if (compute?.generation === spec.generation && compute.configHash === spec.configHash) return;
    const { generation, configHash, config } = spec;
    tenant.compute = { generation, configHash, config, startedAtMs: this.#options.now() };
    tenant.starts += 1;
  }

  #look(ref: ComputeRef): Observation {
    const foreign = ref.scopes.find((scope) => scope !== SCOPE);
    const compute = this.#options.world.find(ref)?.compute ?? null;
    const nothing: Observation = {
      presence: "absent",
      generation: null,
      configHash: null,
      health: "absent",
      message: null,
      config: null,
      resourceIds: {},
      endpoints: [],
      scope: SCOPE,
    };
    if (foreign !== undefined) {
      return {
        ...nothing,
        presence: "unknown",
        health: "unknown",
        message: `This worker cannot see ${foreign}.`,
      };
    }
    if (compute === null) return nothing;
    const isHealthy = this.#options.now() - compute.startedAtMs >= this.#options.config.healthAfterMs;
    return {
      ...nothing,
      presence: "present",
      generation: compute.generation,
      configHash: compute.configHash,
      health: isHealthy ? "healthy" : "starting",
      message: isHealthy ? null : "The mock is not healthy yet.",
      config: compute.config,
      resourceIds: { mock: `${ref.instanceId}/${ref.tenantId}-${compute.generation}` },
    };
  }

  #maybeFail(config: JsonObject): void {
    const { failApply, failureRate } = this.#options.config;
    if (validateMockConfig(config).length > 0) {
      throw new ComputeError(
        "invalid_config",
        "`fail` of compute_config is neither retryable nor terminal.",
        {
          retryable: false,
        },
      );
    }
    const wanted = config["fail"] ?? (failApply === "none" ? undefined : failApply);
    if (wanted === "retryable" || wanted === "terminal") throw failure(wanted);
    if (this.#options.random() < failureRate) throw failure("retryable");
  }

  async #takeTime(signal: AbortSignal): Promise<void> {
    if (this.#options.config.latencyMs > 0 && !signal.aborted) {
      await this.#options.sleep(this.#options.config.latencyMs, signal).catch(() => undefined);
    }
    if (signal.aborted) {
      throw new ComputeError("aborted", "The execution was cancelled before the provider was done.", {
        retryable: true,
      });
    }
  }
}

function failure(kind: "retryable" | "terminal"): ComputeError {
  return new ComputeError(`mock_${kind}`, `The mock provider was told to fail (${kind}).`, {
    retryable: kind === "retryable",
  });
}

/** A mock provider; whatever is left out is real, and the world is its own. */
export function createMockComputeProvider(
  engineConfig: JsonObject = {},
  options: Partial<Omit<MockProviderOptions, "config">> = {},
): MockComputeProvider {
  return new MockComputeProvider({
    config: resolveMockConfig(engineConfig),
    world: options.world ?? new MockWorld(),
    now: options.now ?? (() => performance.now()),
    random: options.random ?? Math.random,
    sleep: options.sleep ?? ((durationMs, signal) => delay(durationMs, undefined, { signal })),
  });
}

/** The mock as a kind of compute. All its providers of this process share one world. */
export const mockComputeFactory: ComputeProviderFactory = {
  name: MOCK_PROVIDER_NAME,
  engineConfigSchema: mockEngineConfigSchema,
  secretKeys: [],
  describe: describeMock,
  create: (engineConfig) =>
    Promise.resolve(createMockComputeProvider(engineConfig, { world: sharedMockWorld })),
};
