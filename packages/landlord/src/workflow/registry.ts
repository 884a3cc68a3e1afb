import { LandlordError } from "../domain/errors.ts";
import type { WorkflowProvider } from "./provider.ts";

/** The workflow providers of this process, by name. */
export interface WorkflowRegistry {
  /** @throws LandlordError `unknown_workflow_provider`, naming the known ones */
  get(name: string): WorkflowProvider;
  names(): readonly string[];
}

/** @throws LandlordError `duplicate_workflow_provider` */
export function createWorkflowRegistry(providers: readonly WorkflowProvider[]): WorkflowRegistry {
  const byName = new Map<string, WorkflowProvider>();
  for (const provider of providers) {
    if (byName.has(provider.name)) {
      throw new LandlordError(
        "duplicate_workflow_provider",
        `Two workflow providers are named "${provider.name}".`,
      );
    }
    byName.set(provider.name, provider);
  }
  return {
    names: () => [...byName.keys()],
    get(name) {
      const provider = byName.get(name);
      if (provider === undefined) {
        throw new LandlordError(
          "unknown_workflow_provider",
          `There is no workflow provider "${name}". Known: ${[...byName.keys()].join(", ") || "none"}.`,
        );
      }
      return provider;
    },
  };
}
