/** A durable engine in memory: a journal that a resumed job replays, and a clock that only sleeps move. */
import { ComputeError, type ComputeProvider, type Observation } from "../../src/compute/provider.ts";
import { createMockComputeProvider } from "../../src/compute/mock/provider.ts";
import { MockWorld } from "../../src/compute/mock/world.ts";
import type { ProvisionRequest } from "../../src/contract/job.ts";
import type { JsonObject } from "../../src/domain/json.ts";
import type { JobDependencies } from "../../src/worker/job.ts";
import type { DurableSteps } from "../../src/worker/steps.ts";

const START_MS = Date.parse("2026-01-01T12:00:00.000Z");

export function requestWith(change: Partial<ProvisionRequest> = {}): ProvisionRequest {
  return {
    tenant_id: "11111111-1111-4111-8111-111111111111",
    tenant_name: "acme",
    operation: "create",
    desired_config: { compute_provider: "mock" },
    compute_provider: "mock",
    generation: 1,
    execution_id: "33333333-3333-4333-8333-333333333333",
    start_before: new Date(START_MS + 300_000).toISOString(),
    scopes: [],
    observed_resource_ids: {},
    labels: {},
    annotations: {},
    api_base_url: "http://127.0.0.1:1",
    metadata: { config_hash: "hash-1", instance_id: "22222222-2222-4222-8222-222222222222" },
    ...change,
  };
}

/** The host of a job: its world outlives every crash, its clock too. */
export class Host {
  readonly world = new MockWorld();
  nowMs = START_MS;
  readonly progress: string[] = [];
  readonly compute: ComputeProvider;

  constructor(
    engineConfig: JsonObject = {},
    wrap: (compute: ComputeProvider) => ComputeProvider = (compute) => compute,
  ) {
    this.compute = wrap(
      createMockComputeProvider(engineConfig, {
        world: this.world,
        now: () => this.nowMs,
        random: () => 0.999,
      }),
    );
  }

  get dependencies(): JobDependencies {
    return {
      resolveCompute: () => Promise.resolve(this.compute),
      reportProgress: (_request, phase, message) =>
        void this.progress.push(phase === "applying" ? `${phase}: ${message}` : phase),
      absenceSettleMs: 500,
      now: () => this.nowMs,
    };
  }

  /** What runs for the tenant of `requestWith`. */
  get tenant() {
    const { tenant_id: tenantId, metadata } = requestWith();
    return this.world.find({ tenantId, instanceId: metadata.instance_id });
  }
}

/** The worker died: thrown out of the job, which never sees it as its own failure. */
export class Crash extends Error {}

export interface JournalEntry {
  readonly name: string;
  readonly value: unknown;
}

export interface JournalOptions {
  readonly journal?: readonly JournalEntry[];
  readonly signal?: AbortSignal;
  /** Dies once the journal has this many entries: before the effect, or after it and before it was remembered. */
  readonly crashAt?: number;
  readonly crashAfterEffect?: boolean;
  readonly maxAttempts?: number;
}

/** Replays `journal`, then appends to it. A step that throws is retried like an engine does. */
export class JournalSteps implements DurableSteps {
  readonly journal: JournalEntry[];
  readonly signal: AbortSignal;
  readonly keys: string[] = [];
  attempts = 0;
  readonly #host: Host;
  readonly #options: JournalOptions;
  #position = 0;

  constructor(host: Host, options: JournalOptions = {}) {
    this.#host = host;
    this.#options = options;
    this.journal = [...(options.journal ?? [])];
    this.signal = options.signal ?? new AbortController().signal;
  }

  async #step<T>(name: string, effect: () => Promise<T>): Promise<T> {
    const remembered = this.journal[this.#position];
    this.#position += 1;
    if (remembered !== undefined) {
      if (remembered.name !== name)
        throw new Error(`journal mismatch: ${name} where ${remembered.name} is remembered`);
      return remembered.value as T;
    }
    const dies = this.journal.length === this.#options.crashAt;
    if (dies && this.#options.crashAfterEffect !== true) throw new Crash();
    const value = await effect();
    if (dies) throw new Crash();
    // Engines keep bytes: what does not survive JSON would differ on replay.
    const bytes = JSON.stringify(value ?? null);
    this.journal.push({ name, value: JSON.parse(bytes) as unknown });
    return JSON.parse(bytes) as T;
  }

  run<T>(name: string, effect: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return this.#step(name, async () => {
      for (let attempt = 1; ; attempt++) {
        this.attempts += 1;
        try {
          return await effect(this.signal);
        } catch (error) {
          if (this.signal.aborted || attempt >= (this.#options.maxAttempts ?? 5)) throw error;
        }
      }
    });
  }

  async sleep(durationMs: number): Promise<void> {
    await this.#step("sleep", () => {
      this.#host.nowMs += durationMs;
      return Promise.resolve(null);
    });
  }

  idempotencyKey(name: string): string {
    const key = `execution/${name}`;
    this.keys.push(key);
    return key;
  }

  announceWaiting(): void {
    const remembered = this.journal[this.#position];
    this.#position += 1;
    if (remembered === undefined) this.journal.push({ name: "waiting", value: null });
    else if (remembered.name !== "waiting")
      throw new Error(`journal mismatch: waiting where ${remembered.name} is remembered`);
  }
}

export const ABSENT: Observation = {
  presence: "absent",
  generation: null,
  configHash: null,
  health: "absent",
  message: null,
  config: null,
  resourceIds: {},
  endpoints: [],
  scope: "test:host",
};
export const PRESENT: Observation = {
  ...ABSENT,
  presence: "present",
  generation: 1,
  configHash: "hash-1",
  health: "healthy",
  config: {},
};
export const retryable = (code = "busy"): ComputeError =>
  new ComputeError(code, "try again", { retryable: true });

/** A provider of which some methods are replaced. */
export function withMethods(compute: ComputeProvider, methods: Partial<ComputeProvider>): ComputeProvider {
  return {
    name: compute.name,
    scopeOf: (config) => compute.scopeOf(config),
    observe: (refs, signal) => compute.observe(refs, signal),
    plan: (spec, observation) => compute.plan(spec, observation),
    apply: (spec, options) => compute.apply(spec, options),
    destroy: (ref, options) => compute.destroy(ref, options),
    list: (instanceId, signal) => compute.list(instanceId, signal),
    logs: (ref, options) => compute.logs(ref, options),
    ...methods,
  };
}
