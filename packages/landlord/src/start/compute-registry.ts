import { z } from "zod";
import { createComputeRegistry, type ComputeRegistry } from "../compute/registry.ts";
import { dockerComputeFactory } from "../compute/docker/factory.ts";
import { ecsComputeFactory } from "../compute/ecs/factory.ts";
import { mockComputeFactory } from "../compute/mock/provider.ts";
import { processComputeFactory } from "../compute/process/factory.ts";
import type { ComputeProviderFactory } from "../compute/provider.ts";
import { configHash, type Json, type JsonObject } from "../domain/json.ts";
import { redact } from "../domain/redact.ts";
import type { ComputeCatalog, ComputeEngine } from "../http/dependencies.ts";
import { PACKAGE_KEY, type ComputeSchemas } from "../config/schema.ts";

const BUILT_IN: readonly ComputeProviderFactory[] = [
  processComputeFactory,
  dockerComputeFactory,
  ecsComputeFactory,
  mockComputeFactory,
];

export const BUILT_IN_COMPUTE: readonly string[] = BUILT_IN.map(({ name }) => name);

/** Every kind of compute that this version has, and those that packages bring. */
export function computeRegistry(plugins: readonly ComputeProviderFactory[] = []): ComputeRegistry {
  return createComputeRegistry([...BUILT_IN, ...plugins]);
}

/** The schema of each provider's configuration block. */
export function computeSchemas(registry: ComputeRegistry): ComputeSchemas {
  return Object.fromEntries(
    registry.names().map((name) => {
      const { engineConfigSchema } = registry.get(name);
      return [
        name,
        BUILT_IN_COMPUTE.includes(name) ? engineConfigSchema : withPackageKey(engineConfigSchema),
      ];
    }),
  );
}

/** The block of a package's provider also names the package. */
export function withPackageKey(schema: z.ZodType): z.ZodType {
  const key = z.string().min(1).optional().describe("Package that brings the provider.");
  return (schema as z.ZodObject).extend({ [PACKAGE_KEY]: key });
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
      Object.entries(block)
        .filter(([key]) => !factory.secretKeys.includes(key))
        // A tenant's defaults are merged here, at the write: whoever asks for them needs no secret of them.
        .map(([key, value]) => [key, key === "defaults" ? (redact(value) as Json) : value]),
    );
    engines.set(name, {
      description: factory.describe(block),
      engineConfig,
      engineConfigHash: configHash(engineConfig),
      boundToScope: factory.boundToScope ?? false,
    });
  }
  const only = engines.size === 1 ? [...engines.keys()][0] : undefined;
  return {
    names: () => [...engines.keys()],
    get: (name) => engines.get(name) ?? null,
    defaultProvider: defaultProvider ?? only ?? null,
  };
}
