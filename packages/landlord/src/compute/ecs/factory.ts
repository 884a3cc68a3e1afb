/** ECS services as a kind of compute. The server loads this and the description, never the SDK or credentials. */
import type { ComputeProviderFactory } from "../provider.ts";
import {
  describeEcs,
  ECS_PROVIDER_NAME,
  ecsEngineConfigSchema,
  resolveEcsEngineConfig,
} from "./description.ts";

export const ecsComputeFactory: ComputeProviderFactory = {
  name: ECS_PROVIDER_NAME,
  engineConfigSchema: ecsEngineConfigSchema,
  secretKeys: [],
  describe: describeEcs,
  async create(engineConfig) {
    const engine = resolveEcsEngineConfig(engineConfig);
    const [{ EcsComputeProvider }, { createEcsClients }] = await Promise.all([
      import("./provider.ts"),
      import("./client.ts"),
    ]);
    return new EcsComputeProvider({ engine, clients: createEcsClients(engine) });
  },
};
