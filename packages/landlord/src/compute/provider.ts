/**
 * The port to compute. A provider is stateless: it finds what it made by ownership labels (instance, tenant,
 * generation), never by memory of its process, so any worker can take over from any other at any line.
 */
import type { z } from "zod";
import type { JsonObject } from "../domain/json.ts";
import { LandlordError } from "../domain/errors.ts";
import type { Observation } from "../domain/observation.ts";
import type { PlannedChange } from "../domain/plan.ts";

export type { Observation, PlannedChange };

/** Who owns a resource. The instance is the database that the tenant lives in. */
export interface Owner {
  readonly instanceId: string;
  readonly tenantId: string;
}

/** Compute as it is wanted. */
export interface ComputeSpec extends Owner {
  readonly tenantName: string;
  readonly generation: number;
  readonly configHash: string;
  /** Validated, with defaults merged in. */
  readonly config: JsonObject;
  readonly labels: Readonly<Record<string, string>>;
}

/** A tenant's compute, wherever it is. */
export interface ComputeRef extends Owner {
  /** Where the control plane knows compute to have been created; may be empty when no job ever reported. */
  readonly scopes: readonly string[];
}

/** `stale`: reality is already at a higher generation (or at the same one with another config). Nothing was changed. */
export type ApplyResult =
  | { readonly kind: "applied"; readonly observation: Observation }
  | { readonly kind: "stale"; readonly generation: number };

/** Something the provider runs for some tenant. */
export interface OwnedResource extends Owner {
  readonly generation: number | null;
  readonly scope: string;
  readonly resourceIds: Readonly<Record<string, string>>;
}

export interface EffectOptions {
  /** The same key for every repetition of one step. */
  readonly idempotencyKey: string;
  /** Aborted when the execution was cancelled: stop as soon as it is safe. */
  readonly signal: AbortSignal;
  /** For people: what a slow effect is at, such as how far an image was pulled. Never waited for. */
  readonly onProgress?: (message: string) => void;
}

/**
 * Makes a tenant's compute real.
 *
 * Every method may be called twice, concurrently, by several workers, and killed at any line. `apply` and
 * `destroy` are fenced by the generation: after `apply(n)` or `destroy(n)` took effect, `apply(m)` with m < n
 * answers `stale`, and so does `apply(n)` after `destroy(n)`.
 * Failures are ComputeError.
 */
export interface ComputeProvider {
  readonly name: string;
  /** The host, daemon or cluster where `apply` of this config would act, in the words of an observation's `scope`. */
  scopeOf(config: JsonObject): Promise<string>;
  /** Looks at each ref; answers in the same order. */
  observe(refs: readonly ComputeRef[], signal: AbortSignal): Promise<readonly Observation[]>;
  /** What `apply` would do. Changes nothing. */
  plan(spec: ComputeSpec, observation: Observation): Promise<readonly PlannedChange[]>;
  /**
   * Brings compute to the spec and removes lower generations. Returns once it was started, not once it is
   * healthy. A workload that had ended is started again and reported by a retryable `workload_exited` error.
   */
  apply(spec: ComputeSpec, options: EffectOptions): Promise<ApplyResult>;
  /** Removes everything of the tenant up to and including `generation`, in every scope that it can see. */
  destroy(ref: ComputeRef & { readonly generation: number }, options: EffectOptions): Promise<Observation>;
  /** Everything this provider runs for the instance. */
  list(instanceId: string, signal: AbortSignal): Promise<readonly OwnedResource[]>;
  /** The newest output of the workload, at most `tailBytes` bytes of UTF-8. */
  logs(
    ref: ComputeRef,
    options: { readonly tailBytes: number; readonly signal: AbortSignal },
  ): Promise<string>;
}

/** One problem of a config: a JSON pointer (RFC 6901) and a sentence. */
export interface ConfigProblem {
  readonly pointer: string;
  readonly message: string;
}

/** What the server knows of a provider: enough to validate and document, without its SDK or credentials. */
export interface ComputeDescription {
  readonly name: string;
  /**
   * JSON Schema 2020-12 of a tenant's compute_config. It has to allow `compute_provider`, a string: the control plane
   * freezes the resolved provider into the config.
   */
  readonly configSchema: JsonObject;
  /** What the operator configured for tenants that leave keys out; null for none. */
  readonly configDefaults: JsonObject | null;
  /** Keys of compute_config that place the tenant and cannot change after creation. */
  readonly immutableKeys: readonly string[];
  /** All problems of a config with defaults merged in; empty when valid. */
  validateConfig(config: JsonObject): readonly ConfigProblem[];
}

export interface ComputeContext {
  /** Where the provider may keep files, when its own configuration names no place. */
  readonly dataDir: string;
  /** The worker's environment, for the variables that a vendor's tools have in common, such as DOCKER_HOST. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
}

/**
 * A kind of compute. `engineConfig` is the provider's block of the configuration (`compute.<name>`), parsed by
 * `engineConfigSchema`; its secrets never leave the process that read them.
 */
export interface ComputeProviderFactory {
  readonly name: string;
  /** The provider's block: a strict object, every key with a description; `defaults` holds a tenant's defaults. */
  readonly engineConfigSchema: z.ZodType<JsonObject>;
  /** Keys of the block that must not be sent to workers or shown. */
  readonly secretKeys: readonly string[];
  /** Only a worker in a tenant's own scope can do anything for it: its jobs are sent there. False when left out. */
  readonly boundToScope?: boolean;
  describe(engineConfig: JsonObject): ComputeDescription;
  /** Loads the vendor's library, if any. Only workers call this. */
  create(engineConfig: JsonObject, context: ComputeContext): Promise<ComputeProvider>;
}

/**
 * A failure of a provider. `retryable: false` rejects the desired state: the tenant becomes `failed` until it
 * is changed. Everything else is tried again.
 */
export class ComputeError extends LandlordError {
  readonly retryable: boolean;
  /** The provider's own words. */
  readonly providerError: string | null;

  constructor(
    code: string,
    message: string,
    options: { retryable: boolean; providerError?: string; cause?: unknown },
  ) {
    super(code, message, { cause: options.cause });
    this.retryable = options.retryable;
    this.providerError = options.providerError ?? null;
  }
}
