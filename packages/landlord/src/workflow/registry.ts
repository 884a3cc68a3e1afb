import { LandlordError } from "../domain/errors.ts";
import type { WorkflowProvider } from "./provider.ts";

/** An engine that is not configured here: nothing can be started on it, and nothing that runs there be watched. */
export class UnknownWorkflowProviderError extends LandlordError {
  constructor(name: string, known: readonly string[]) {
    super(
      "unknown_workflow_provider",
      `There is no workflow provider "${name}" here. Configured are: ${known.join(", ") || "none"}. An engine must stay configured until the operations that were started on it have ended.`,
    );
  }
}

/** The workflow providers of this process, by name. */
export interface WorkflowRegistry {
  /** @throws UnknownWorkflowProviderError */
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
        throw new UnknownWorkflowProviderError(name, [...byName.keys()]);
      }
      return provider;
    },
  };
}
