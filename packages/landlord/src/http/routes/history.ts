/** /v1/tenants/{id}/history and …/operations: what happened; they answer after the tenant is gone, too. */
import {
  historySchema,
  operationEventsSchema,
  operationListSchema,
  operationParamsSchema,
  PAGE_SIZE_DEFAULT,
  pageQuerySchema,
  tenantParamsSchema,
} from "../../contract/tenant.ts";
import { notFound } from "../change.ts";
import type { HttpDependencies } from "../dependencies.ts";
import { principalOf } from "../principal.ts";
import { HttpError } from "../problem.ts";
import { problems } from "../responses.ts";
import { renderOperation, renderTransition } from "../render.ts";
import type { App } from "../app.ts";

export function registerHistoryRoutes(app: App, dependencies: HttpDependencies): void {
  const { store } = dependencies;
  app.get(
    "/v1/tenants/:id/history",
    {
      schema: {
        operationId: "getHistory",
        tags: ["history"],
        summary: "Transitions, newest first",
        description: "By name it has every tenant that ever had that name.",
        params: tenantParamsSchema,
        querystring: pageQuerySchema,
        response: { 200: historySchema, ...problems(400, 404, 503) },
      },
    },
    async (request) => {
      const page = { limit: request.query.limit ?? PAGE_SIZE_DEFAULT, offset: request.query.offset ?? 0 };
      const { scope } = principalOf(request);
      const transitions = await store.listTransitions({ idOrName: request.params.id, scope, ...page });
      if (transitions.length === 0 && page.offset === 0) throw notFound(request.params.id);
      return { transitions: transitions.map(renderTransition) };
    },
  );

  app.get(
    "/v1/tenants/:id/operations",
    {
      schema: {
        operationId: "listOperations",
        tags: ["history"],
        summary: "The ledger: every attempt, newest first",
        params: tenantParamsSchema,
        querystring: pageQuerySchema,
        response: { 200: operationListSchema, ...problems(400, 404, 503) },
      },
    },
    async (request) => {
      const page = { limit: request.query.limit ?? PAGE_SIZE_DEFAULT, offset: request.query.offset ?? 0 };
      const { scope } = principalOf(request);
      const { id: idOrName } = request.params;
      const operations = await store.listOperations({ idOrName, scope, ...page });
      if (operations.length === 0) {
        const known = await store.listTransitions({ idOrName, scope, limit: 1, offset: 0 });
        if (known.length === 0) throw notFound(idOrName);
      }
      return { operations: operations.map(renderOperation) };
    },
  );

  app.get(
    "/v1/tenants/:id/operations/:operation_id/events",
    {
      schema: {
        operationId: "listOperationEvents",
        tags: ["history"],
        summary: "What a worker reported of an operation; the newest 100",
        params: operationParamsSchema,
        response: { 200: operationEventsSchema, ...problems(400, 404, 503) },
      },
    },
    async (request) => {
      const { operation_id: operationId, id: idOrName } = request.params;
      const { scope } = principalOf(request);
      const events = await store.listOperationEvents({ idOrName, scope, operationId });
      if (events === null) {
        throw new HttpError(
          404,
          "operation_not_found",
          `Tenant "${idOrName}" has no operation ${operationId}; GET /v1/tenants/${idOrName}/operations lists them.`,
        );
      }
      return { events: events.map((event) => ({ ...event, at: event.at.toISOString() })) };
    },
  );
}
