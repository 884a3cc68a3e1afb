/**
 * From the name in a job's payload to a ready provider. The worker is stateless: where compute lives and how is
 * configured at the server, and fetched; credentials are the worker's own. So targets change without redeploying
 * workers, and a worker that knows them already goes on without the API.
 */
import type { ProvisionRequest } from "../contract/job.ts";
import type { ComputeContext, ComputeProvider } from "../compute/provider.ts";
import type { ComputeRegistry } from "../compute/registry.ts";
import { LandlordError, messageOf } from "../domain/errors.ts";
import { configHash, type JsonObject } from "../domain/json.ts";
import type { LandlordApi } from "./landlord-api.ts";
import type { Logger } from "../telemetry/logger.ts";

export interface ComputeResolverSettings {
  readonly cacheTtlMs: number;
  /** Provider name to engine configuration: used instead of the API's answer, and needs no API. */
  readonly overrides: Readonly<Record<string, JsonObject>>;
  readonly context: ComputeContext;
}

export interface ComputeResolver {
  /**
   * @param expectedHash hash of the engine configuration that the sender has; a cached one with another hash is
   * fetched anew, so that a change applies to the next job
   */
  resolve(name: string, expectedHash: string | null): Promise<ComputeProvider>;
  resolveForRequest(request: ProvisionRequest): Promise<ComputeProvider>;
}

interface CacheEntry {
  readonly provider: ComputeProvider;
  readonly hash: string;
  freshUntilMs: number;
}

/** After a failed fetch a stale answer is used for this long before the API is asked again. */
const STALE_RETRY_MS = 5_000;

export function createComputeResolver(
  registry: ComputeRegistry,
  api: LandlordApi | null,
  settings: ComputeResolverSettings,
  logger: Logger,
  nowMs: () => number,
): ComputeResolver {
  // One entry for each known provider: bounded by the registry.
  const cache = new Map<string, CacheEntry>();
  const fetches = new Map<string, Promise<ComputeProvider>>();

  async function build(name: string, block: JsonObject, hash: string): Promise<ComputeProvider> {
    const cached = cache.get(name);
    if (cached !== undefined && cached.hash === hash) {
      cached.freshUntilMs = nowMs() + settings.cacheTtlMs;
      return cached.provider;
    }
    const factory = registry.get(name);
    const parsed = factory.engineConfigSchema.safeParse(block);
    if (!parsed.success) {
      throw new LandlordError(
        "invalid_engine_config",
        `The configuration of compute provider "${name}" is not valid here: ${parsed.error.message}`,
      );
    }
    const provider = await factory.create(parsed.data, settings.context);
    cache.set(name, { provider, hash, freshUntilMs: nowMs() + settings.cacheTtlMs });
    return provider;
  }

  async function fetchAndBuild(name: string): Promise<ComputeProvider> {
    const override = settings.overrides[name];
    if (override !== undefined) return build(name, override, configHash(override));
    if (api === null) {
      throw new LandlordError(
        "no_engine_config",
        `Compute provider "${name}" has no local override, and worker.api_url is not set.`,
      );
    }
    try {
      const { engineConfig, hash } = await api.getEngineConfig(name);
      return await build(name, engineConfig, hash);
    } catch (error) {
      const cached = cache.get(name);
      if (cached === undefined) throw error;
      logger.warn(
        { compute_provider: name, error: messageOf(error) },
        "engine configuration not fetched; using the last one",
      );
      cached.freshUntilMs = nowMs() + STALE_RETRY_MS;
      return cached.provider;
    }
  }

  async function resolve(name: string, expectedHash: string | null): Promise<ComputeProvider> {
    registry.get(name);
    const cached = cache.get(name);
    const overridden = settings.overrides[name] !== undefined;
    const asExpected = overridden || expectedHash === null || cached?.hash === expectedHash;
    if (cached !== undefined && asExpected && cached.freshUntilMs > nowMs()) return cached.provider;
    // One fetch at a time for each provider, however many jobs want it.
    const running = fetches.get(name);
    if (running !== undefined) return running;
    const fetch = fetchAndBuild(name).finally(() => fetches.delete(name));
    fetches.set(name, fetch);
    return fetch;
  }

  return {
    resolve,
    async resolveForRequest(request) {
      const expectedHash = request.metadata.engine_config_hash ?? null;
      if (request.compute_provider !== undefined) return resolve(request.compute_provider, expectedHash);
      if (api === null) {
        throw new LandlordError(
          "no_compute_provider",
          "The payload names no compute provider, and worker.api_url is not set.",
        );
      }
      const tenant = await api.getTenant(request.tenant_id);
      if (tenant.generation !== request.generation) {
        throw new LandlordError(
          "generation_mismatch",
          `The payload is for generation ${request.generation}, the API knows ${tenant.generation}: its provider is not used.`,
        );
      }
      return resolve(tenant.computeProvider, null);
    },
  };
}
