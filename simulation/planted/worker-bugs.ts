/** Bugs of somebody who wrote the job or a compute provider in a hurry. */
import { VOID_RESULT } from "../../packages/landlord/src/contract/job.ts";
import type { Plant } from "../planted.ts";

const noStartBefore: Plant = {
  name: "no-start-before",
  title: "a job begins however late it was started",
  wrapJobDependencies: (dependencies) => ({ ...dependencies, now: () => 0 }),
};

const namesWithoutGeneration: Plant = {
  name: "names-without-generation",
  title: "a resource is named after its tenant only",
  host: { nameOf: ({ tenantId }) => tenantId, comparesSpecs: false },
};

const successWithoutObservation: Plant = {
  name: "success-without-observation",
  title: "what was started is reported healthy without having been looked at",
  wrapCompute: (compute) => ({
    ...compute,
    async apply(spec, options) {
      const result = await compute.apply(spec, options);
      if (result.kind === "stale") return result;
      return { ...result, observation: { ...result.observation, presence: "present", health: "healthy" } };
    },
  }),
};

const staleApplied: Plant = {
  name: "stale-generation-applied",
  title: "compute keeps no fence: whoever comes last wins",
  host: { hasFences: false },
};

const orphanAfterFailedCreate: Plant = {
  name: "orphan-after-failed-create",
  title: "a tenant of which no resource was ever reported has nothing to remove",
  wrapJob: (run) => (request, steps, dependencies) => {
    const { operation, observed_resource_ids: known, tenant_id, generation, metadata } = request;
    if (operation !== "delete" || Object.keys(known).length > 0) return run(request, steps, dependencies);
    return Promise.resolve({
      ...VOID_RESULT,
      outcome: "succeeded",
      tenant_id,
      generation,
      config_hash: metadata.config_hash,
      health: "absent",
      absent_observations: 2,
    });
  },
};

export const WORKER_BUGS: readonly Plant[] = [
  noStartBefore,
  namesWithoutGeneration,
  successWithoutObservation,
  staleApplied,
  orphanAfterFailedCreate,
];
