/** /v1/tenants/{id}: changes of a tenant's desired state. */
import {
  applyTenantSchema,
  deletedTenantSchema,
  patchTenantSchema,
  tenantNameParamsSchema,
  tenantParamsSchema,
  tenantSchema,
  updateTenantSchema,
} from "../../contract/tenant.ts";
import { planSchema } from "../../contract/plan.ts";
import { etagOf } from "../change.ts";
import type { HttpDependencies } from "../dependencies.ts";
import { requireRole } from "../principal.ts";
import { problems } from "../responses.ts";
import { renderTenant } from "../render.ts";
import { forceDeleteTenant } from "../tenant-verbs.ts";
import { applyTenant, patchTenant, removeTenant, updateTenant } from "../tenant-writes.ts";
import {
  applyHeaders,
  contextOf,
  deleteQuery,
  matchHeaders,
  sendCreated,
  sendResult,
  tenantOrPlan,
  writeQuery,
} from "../write-requests.ts";
import type { App } from "../app.ts";

export function registerTenantWriteRoutes(app: App, dependencies: HttpDependencies): void {
  const response = {
    200: tenantOrPlan,
    202: tenantSchema,
    ...problems(400, 404, 409, 412, 413, 415, 503),
  };

  app.put(
    "/v1/tenants/by-name/:name",
    {
      schema: {
        operationId: "applyTenant",
        tags: ["tenants"],
        summary: "Create a tenant, or make it exactly what is given",
        description:
          "Declarative: labels and annotations that are left out go. The same again changes nothing and answers 200. 201 when it was created, 202 when work was started.",
        params: tenantNameParamsSchema,
        headers: applyHeaders,
        querystring: writeQuery,
        body: applyTenantSchema,
        response: { ...response, 201: tenantSchema },
      },
    },
    async (request, reply) => {
      const context = { ...contextOf(request, request.query), ifNoneMatch: request.headers["if-none-match"] };
      const result = await applyTenant(request.params.name, request.body, context, dependencies);
      const isCreated = result.kind === "written" && result.isCreated;
      return isCreated ? sendCreated(reply, result) : sendResult(reply, result);
    },
  );

  app.put(
    "/v1/tenants/:id",
    {
      schema: {
        operationId: "updateTenant",
        tags: ["tenants"],
        summary: "Change a tenant",
        description:
          "compute_config replaces the present one. 202 when work was started, 200 when nothing has to run.",
        params: tenantParamsSchema,
        headers: matchHeaders,
        querystring: writeQuery,
        body: updateTenantSchema,
        response,
      },
    },
    async (request, reply) =>
      sendResult(
        reply,
        await updateTenant(request.params.id, request.body, contextOf(request, request.query), dependencies),
      ),
  );

  app.patch(
    "/v1/tenants/:id",
    {
      schema: {
        operationId: "patchTenant",
        tags: ["tenants"],
        summary: "Change parts of a tenant (JSON merge patch)",
        params: tenantParamsSchema,
        headers: matchHeaders,
        querystring: writeQuery,
        body: patchTenantSchema,
        response,
      },
    },
    async (request, reply) =>
      sendResult(
        reply,
        await patchTenant(request.params.id, request.body, contextOf(request, request.query), dependencies),
      ),
  );

  registerRemovalRoutes(app, dependencies);
}

function registerRemovalRoutes(app: App, dependencies: HttpDependencies): void {
  app.post(
    "/v1/tenants/:id/archive",
    {
      schema: {
        operationId: "archiveTenant",
        tags: ["tenants"],
        summary: "Remove a tenant's compute and keep its record",
        params: tenantParamsSchema,
        headers: matchHeaders,
        querystring: writeQuery,
        response: { 200: tenantOrPlan, 202: tenantSchema, ...problems(400, 404, 409, 412, 503) },
      },
    },
    async (request, reply) =>
      sendResult(
        reply,
        await removeTenant(request.params.id, "archived", contextOf(request, request.query), dependencies),
      ),
  );

  app.delete(
    "/v1/tenants/:id",
    {
      schema: {
        operationId: "deleteTenant",
        tags: ["tenants"],
        summary: "Remove a tenant's compute and its record; the history stays",
        params: tenantParamsSchema,
        headers: matchHeaders,
        querystring: deleteQuery,
        response: { 200: planSchema, 202: deletedTenantSchema, ...problems(400, 403, 404, 409, 412, 503) },
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      const context = contextOf(request, request.query);
      if (request.query.force !== true) {
        const result = await removeTenant(id, "deleted", context, dependencies);
        if (result.kind === "planned") return reply.status(200).send(result.plan);
        void reply.header("etag", etagOf(result.tenant));
        return reply.status(202).send(renderTenant(result.tenant));
      }
      requireRole(request, "admin");
      const removed = await forceDeleteTenant(id, context, dependencies);
      if ("plan" in removed) return reply.status(200).send(removed.plan);
      const { tenant, executionId } = removed;
      const remains = {
        scopes: [...tenant.observed.scopes],
        resource_ids: { ...tenant.observed.resourceIds },
        execution_id: executionId,
      };
      request.auditDetail = { force: true, may_remain: remains };
      return reply.status(202).send({ ...renderTenant(tenant), may_remain: remains });
    },
  );
}
