/** /v1/compute: what kinds of compute there are, for people and for workers. */
import {
  computeConfigQuerySchema,
  computeConfigResponseSchema,
  computeEngineListSchema,
  computeEngineParamsSchema,
  computeEngineSchema,
} from "../../contract/system.ts";
import type { z } from "zod";
import type { HttpDependencies, ComputeEngine } from "../dependencies.ts";
import { HttpError } from "../problem.ts";
import { problems } from "../responses.ts";
import { redact } from "../../domain/redact.ts";
import type { JsonObject } from "../../domain/json.ts";
import type { App } from "../app.ts";

export function registerComputeRoutes(app: App, { catalog }: HttpDependencies): void {
  const choices = (): string => `Configured: ${catalog.names().join(", ") || "none"}.`;

  app.get(
    "/v1/compute/config",
    {
      schema: {
        operationId: "getComputeConfig",
        tags: ["compute"],
        summary: "Schema and defaults of a provider's compute_config",
        querystring: computeConfigQuerySchema,
        response: { 200: computeConfigResponseSchema, ...problems(400) },
      },
    },
    (request) => {
      const { provider } = request.query;
      const engine = catalog.get(provider);
      if (engine === null) {
        throw new HttpError(
          400,
          "unknown_compute_provider",
          `There is no compute provider "${provider}". ${choices()}`,
          [`/provider: ${choices()}`],
        );
      }
      const { configSchema, configDefaults } = engine.description;
      return Promise.resolve({
        provider,
        schema: configSchema,
        ...(configDefaults === null ? {} : { defaults: redact(configDefaults) as JsonObject }),
      });
    },
  );

  app.get(
    "/v1/compute/engines",
    {
      schema: {
        operationId: "listComputeEngines",
        tags: ["compute"],
        summary: "The configured compute providers",
        response: { 200: computeEngineListSchema },
      },
    },
    () =>
      Promise.resolve({
        engines: catalog.names().flatMap((name) => {
          const engine = catalog.get(name);
          return engine === null ? [] : [renderEngine(engine)];
        }),
      }),
  );

  app.get(
    "/v1/compute/engines/:name",
    {
      schema: {
        operationId: "getComputeEngine",
        tags: ["compute"],
        summary: "One compute provider, as workers fetch it",
        params: computeEngineParamsSchema,
        response: { 200: computeEngineSchema, ...problems(400, 404) },
      },
    },
    (request) => {
      const engine = catalog.get(request.params.name);
      if (engine === null) {
        throw new HttpError(
          404,
          "unknown_compute_provider",
          `There is no compute provider "${request.params.name}". ${choices()}`,
        );
      }
      return Promise.resolve(renderEngine(engine));
    },
  );
}

function renderEngine(engine: ComputeEngine): z.infer<typeof computeEngineSchema> {
  const { description } = engine;
  return {
    name: description.name,
    schema: description.configSchema,
    defaults: description.configDefaults === null ? null : (redact(description.configDefaults) as JsonObject),
    immutable_keys: [...description.immutableKeys],
    engine_config: engine.engineConfig,
    engine_config_hash: engine.engineConfigHash,
  };
}
