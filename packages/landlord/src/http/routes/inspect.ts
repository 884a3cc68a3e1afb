/** /v1/tenants/{id}/…: what would happen, what is the matter, and what it prints. */
import { explanationSchema, logsQuerySchema, logsSchema } from "../../contract/fleet.ts";
import { planRequestSchema, planSchema } from "../../contract/plan.ts";
import { generationListSchema, tenantParamsSchema } from "../../contract/tenant.ts";
import type { StoredTenant } from "../../store/store.ts";
import type { FastifyRequest } from "fastify";
import { notFound } from "../change.ts";
import type { HttpDependencies } from "../dependencies.ts";
import { explainTenant } from "../explaining.ts";
import { isVisible, principalOf } from "../principal.ts";
import { problems } from "../responses.ts";
import { renderGeneration } from "../render.ts";
import { updateTenant } from "../tenant-writes.ts";
import { contextOf, matchHeaders } from "../write-requests.ts";
import type { App } from "../app.ts";

const TAIL_DEFAULT_BYTES = 16_384;

export function registerInspectRoutes(app: App, dependencies: HttpDependencies): void {
  const { store, compute } = dependencies;
  const read = async (idOrName: string, request: FastifyRequest): Promise<StoredTenant> => {
    const stored = await store.getTenant({ idOrName });
    if (stored === null || !isVisible(principalOf(request), stored.tenant.labels)) throw notFound(idOrName);
    return stored;
  };

  app.post(
    "/v1/tenants/:id/plan",
    {
      schema: {
        operationId: "planTenant",
        tags: ["tenants"],
        summary: "What an update would change",
        description:
          "A worker looks at the compute as it is now. With an empty body: what is missing to the present desired state. Writes take `dry_run=true` to the same end.",
        params: tenantParamsSchema,
        headers: matchHeaders,
        body: planRequestSchema,
        response: { 200: planSchema, ...problems(400, 404, 409, 412, 413, 415, 503) },
      },
    },
    async (request) => {
      const context = contextOf(request, { dry_run: true });
      const result = await updateTenant(request.params.id, request.body, context, dependencies);
      if (result.kind !== "planned") throw new Error("a dry run was written");
      return result.plan;
    },
  );

  app.get(
    "/v1/tenants/:id/explain",
    {
      schema: {
        operationId: "explainTenant",
        tags: ["tenants"],
        summary: "Why a tenant is where it is",
        description: "One causal answer: settled, or waiting for what, since when, and what to do.",
        params: tenantParamsSchema,
        response: { 200: explanationSchema, ...problems(400, 404, 503) },
      },
    },
    (request) => explainTenant(request.params.id, principalOf(request), dependencies),
  );

  app.get(
    "/v1/tenants/:id/logs",
    {
      schema: {
        operationId: "getTenantLogs",
        tags: ["tenants"],
        summary: "The newest output of a tenant's compute",
        params: tenantParamsSchema,
        querystring: logsQuerySchema,
        response: { 200: logsSchema, ...problems(400, 404, 503) },
      },
    },
    async (request) => {
      const { tenant } = await read(request.params.id, request);
      return { logs: await compute.logs(tenant, request.query.tail_bytes ?? TAIL_DEFAULT_BYTES) };
    },
  );

  app.get(
    "/v1/tenants/:id/generations",
    {
      schema: {
        operationId: "listGenerations",
        tags: ["history"],
        summary: "The desired states that a tenant had, newest first",
        description: "The newest 100; those that a rollback can go back to.",
        params: tenantParamsSchema,
        response: { 200: generationListSchema, ...problems(400, 404, 503) },
      },
    },
    async (request) => {
      const { tenant } = await read(request.params.id, request);
      const generations = await store.listGenerations({ tenantId: tenant.id });
      return { generations: generations.map(renderGeneration) };
    },
  );
}
