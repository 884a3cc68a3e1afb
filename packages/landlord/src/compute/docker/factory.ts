/** Docker containers as a kind of compute. The server loads this and the description, never the provider. */
import type { ComputeProviderFactory } from "../provider.ts";
import { describeDocker, DOCKER_PROVIDER_NAME } from "./description.ts";
import { dockerEngineConfigSchema, resolveEngineConfig } from "./engine-config.ts";

export const dockerComputeFactory: ComputeProviderFactory = {
  name: DOCKER_PROVIDER_NAME,
  engineConfigSchema: dockerEngineConfigSchema,
  secretKeys: [],
  describe: describeDocker,
  async create(engineConfig, context) {
    const settings = resolveEngineConfig(engineConfig);
    const [{ default: Docker }, { connectionOf }, { createEngine }, { DockerComputeProvider }] =
      await Promise.all([
        import("dockerode"),
        import("./connection.ts"),
        import("./engine.ts"),
        import("./provider.ts"),
      ]);
    const connection = await connectionOf(settings, context.environment ?? {});
    const engine = createEngine(new Docker(connection.options), connection);
    return new DockerComputeProvider({ engine, settings, random: Math.random });
  },
};
