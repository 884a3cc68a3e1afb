/**
 * A compute provider that finds every tenant's compute as it was applied, at once: what is left of a look is what Landlord
 * itself costs. Benchmarks name this file as the package of the block `compute.steady`.
 */
import { z } from "zod";
import type { ComputePlugin, Observation } from "../../packages/landlord/src/plugin/compute.ts";

export const STEADY_SCOPE = "steady:everywhere";

/** What there is to be seen of each tenant. */
export const STEADY: Observation = {
  presence: "present",
  generation: 1,
  configHash: null,
  health: "healthy",
  message: null,
  config: null,
  resourceIds: {},
  endpoints: [],
  scope: STEADY_SCOPE,
};

const steadyCompute: ComputePlugin = {
  kind: "compute",
  portVersion: 1,
  name: "steady",
  engineConfigSchema: z.strictObject({}),
  secretKeys: [],
  describe: () => ({
    name: "steady",
    configSchema: { type: "object" },
    configDefaults: null,
    immutableKeys: [],
    validateConfig: () => [],
  }),
  create: () =>
    Promise.resolve({
      name: "steady",
      scopeOf: () => Promise.resolve(STEADY_SCOPE),
      observe: (refs) => Promise.resolve(refs.map(() => STEADY)),
      plan: () => Promise.resolve([]),
      apply: () => Promise.resolve({ kind: "applied" as const, observation: STEADY }),
      destroy: () => Promise.resolve(STEADY),
      list: () => Promise.resolve([]),
      logs: () => Promise.resolve(""),
    }),
};

export default steadyCompute;
