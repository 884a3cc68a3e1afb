/** Health, readiness, worker progress, and the documents of the API itself. */
import { z } from "zod";
import { healthSchema, readinessSchema } from "../../contract/system.ts";
import { executionParamsSchema, progressSchema } from "../../contract/tenant.ts";
import type { HttpDependencies } from "../dependencies.ts";
import { HttpError } from "../problem.ts";
import { problems } from "../responses.ts";
import { DOCS_PAGE } from "../docs-page.ts";
import type { App } from "../app.ts";

/** Checks whose failure means that this server should get no traffic; the others only inform. */
const DECISIVE_CHECKS = ["database", "controller"];

export function registerSystemRoutes(app: App, dependencies: HttpDependencies): void {
  app.get(
    "/health",
    {
      schema: {
        operationId: "getHealth",
        tags: ["system"],
        summary: "The process lives",
        response: { 200: healthSchema },
      },
    },
    () => Promise.resolve({ status: "ok" as const, time: new Date().toISOString() }),
  );

  app.get(
    "/ready",
    {
      schema: {
        operationId: "getReadiness",
        tags: ["system"],
        summary: "The server can do its work",
        response: { 200: readinessSchema, 503: readinessSchema },
      },
    },
    async (_request, reply) => {
      const results = await dependencies.readiness();
      const checks = Object.fromEntries(
        Object.entries(results).map(([name, problem]) => [name, problem ?? "ok"]),
      );
      const failed = DECISIVE_CHECKS.filter((name) => (results[name] ?? null) !== null);
      const time = new Date().toISOString();
      if (failed.length === 0) return reply.status(200).send({ status: "ready", checks, time });
      const error = failed.map((name) => `${name}: ${checks[name]}`).join("; ");
      return reply.status(503).send({ status: "unavailable", checks, error, time });
    },
  );

  app.post(
    "/v1/executions/:execution_id/progress",
    {
      schema: {
        operationId: "reportProgress",
        tags: ["workers"],
        summary: "A worker's hint about a running job",
        description: "Kept with the operation for people to read; never changes a tenant's status.",
        params: executionParamsSchema,
        body: progressSchema,
        response: { 204: z.null(), ...problems(400, 404, 413, 415, 503) },
      },
    },
    async (request, reply) => {
      const { phase, message } = request.body;
      const executionId = request.params.execution_id;
      const known = await dependencies.store.recordProgress({ executionId, phase, message });
      if (!known) throw new HttpError(404, "execution_not_found", `There is no execution "${executionId}".`);
      return reply.status(204).send(null);
    },
  );

  const document = { schema: { hide: true } };
  for (const path of ["/v1/openapi.json", "/v1/swagger.json"]) {
    app.get(path, document, (_request, reply) => reply.type("application/json").send(openApiOf(app)));
  }
  app.get("/v1/docs", document, (_request, reply) =>
    reply
      .type("text/html; charset=utf-8")
      .header(
        "content-security-policy",
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'",
      )
      .send(DOCS_PAGE),
  );
}

function openApiOf(app: App): unknown {
  return app.swagger();
}
