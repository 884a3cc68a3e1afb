import { createComputeRegistry, type ComputeRegistry } from "../compute/registry.ts";
import { mockComputeFactory } from "../compute/mock/provider.ts";
import { processComputeFactory } from "../compute/process/factory.ts";
import { configHash, type JsonObject } from "../domain/json.ts";
import type { ComputeCatalog, ComputeEngine } from "../http/dependencies.ts";
import type { ComputeSchemas } from "../config/schema.ts";

/** Every kind of compute that this version has. */
export function builtInCompute(): ComputeRegistry {
  return createComputeRegistry([processComputeFactory, mockComputeFactory]);
}

/** The schema of each provider's configuration block. */
export function computeSchemas(registry: ComputeRegistry): ComputeSchemas {
  return Object.fromEntries(registry.names().map((name) => [name, registry.get(name).engineConfigSchema]));
}

/** What the server tells of the configured providers: descriptions and non-secret configuration, no SDK. */
export function createComputeCatalog(
  registry: ComputeRegistry,
  blocks: ReadonlyMap<string, JsonObject>,
  defaultProvider: string | null,
): ComputeCatalog {
  const engines = new Map<string, ComputeEngine>();
  for (const [name, block] of blocks) {
    const factory = registry.get(name);
    const engineConfig = Object.fromEntries(
      Object.entries(block).filter(([key]) => !factory.secretKeys.includes(key)),
    );
    engines.set(name, {
      description: factory.describe(block),
      engineConfig,
      engineConfigHash: configHash(engineConfig),
    });
  }
  const only = engines.size === 1 ? [...engines.keys()][0] : undefined;
  return {
    names: () => [...engines.keys()],
    get: (name) => engines.get(name) ?? null,
    defaultProvider: defaultProvider ?? only ?? null,
  };
}
