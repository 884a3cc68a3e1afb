import { LandlordError } from "../domain/errors.ts";
import type { ComputeProviderFactory } from "./provider.ts";

/** The kinds of compute that this process knows, by name. */
export interface ComputeRegistry {
  /** @throws LandlordError `unknown_compute_provider`, naming the known ones */
  get(name: string): ComputeProviderFactory;
  names(): readonly string[];
}

/** @throws LandlordError `duplicate_compute_provider` */
export function createComputeRegistry(factories: readonly ComputeProviderFactory[]): ComputeRegistry {
  const byName = new Map<string, ComputeProviderFactory>();
  for (const factory of factories) {
    if (byName.has(factory.name)) {
      throw new LandlordError(
        "duplicate_compute_provider",
        `Two compute providers are named "${factory.name}".`,
      );
    }
    byName.set(factory.name, factory);
  }
  return {
    names: () => [...byName.keys()],
    get(name) {
      const factory = byName.get(name);
      if (factory === undefined) {
        throw new LandlordError(
          "unknown_compute_provider",
          `There is no compute provider "${name}". Known: ${[...byName.keys()].join(", ") || "none"}.`,
        );
      }
      return factory;
    },
  };
}
