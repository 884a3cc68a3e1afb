/** /v1/tenants: creating, finding and reading tenants. */
import {
  createTenantSchema,
  listTenantsQuerySchema,
  PAGE_SIZE_DEFAULT,
  tenantListSchema,
  tenantParamsSchema,
  tenantSchema,
} from "../../contract/tenant.ts";
import type { z } from "zod";
import { waitQuerySchema } from "../../contract/events.ts";
import { planSchema } from "../../contract/plan.ts";
import type { TenantFilter } from "../../store/store.ts";
import { etagOf, notFound } from "../change.ts";
import type { HttpDependencies } from "../dependencies.ts";
import { openPageToken, sealPageToken } from "../page-token.ts";
import { principalOf } from "../principal.ts";
import { problems } from "../responses.ts";
import { renderTenant } from "../render.ts";
import { createTenant } from "../tenant-writes.ts";
import { contextOf, createHeaders, sendCreated, writeQuery } from "../write-requests.ts";
import type { Watching } from "../watching.ts";
import type { App } from "../app.ts";

export function registerTenantRoutes(app: App, dependencies: HttpDependencies, watching: Watching): void {
  const { store } = dependencies;

  app.post(
    "/v1/tenants",
    {
      schema: {
        operationId: "createTenant",
        tags: ["tenants"],
        summary: "Create a tenant",
        description: "Stores the desired state and answers at once; the reconciler makes it real.",
        headers: createHeaders,
        querystring: writeQuery,
        body: createTenantSchema,
        response: { 200: planSchema, 201: tenantSchema, ...problems(400, 409, 412, 413, 415, 422, 503) },
      },
    },
    async (request, reply) => {
      const idempotencyKey = request.headers["idempotency-key"];
      const context = { ...contextOf(request, request.query), idempotencyKey };
      const result = await createTenant(request.body, context, dependencies);
      return result.kind === "planned" ? reply.status(200).send(result.plan) : sendCreated(reply, result);
    },
  );

  app.get(
    "/v1/tenants",
    {
      schema: {
        operationId: "listTenants",
        tags: ["tenants"],
        summary: "List tenants",
        description:
          "Oldest first. Page by page_token: the last page costs what the first one costs. Offsets are for older clients.",
        querystring: listTenantsQuerySchema,
        response: { 200: tenantListSchema, ...problems(400, 503) },
      },
    },
    async (request) => {
      const { query } = request;
      const { scope } = principalOf(request);
      const limit = query.limit ?? PAGE_SIZE_DEFAULT;
      const filter = filterOf(query);
      const token = query.page_token === undefined ? null : openPageToken(query.page_token, filter);
      const [page, breakers] = await Promise.all([
        store.listTenants({
          ...filter,
          selectors: [query.selector ?? [], scope ?? []],
          limit,
          offset: token === null ? (query.offset ?? 0) : 0,
          after: token?.after ?? null,
          isCounted: token === null,
        }),
        dependencies.openBreakers(),
      ]);
      const total = page.total ?? token?.total ?? 0;
      return {
        tenants: page.tenants.map((tenant) => renderTenant(tenant, breakers)),
        total,
        limit,
        offset: query.offset ?? 0,
        next_page_token: page.next === null ? null : sealPageToken({ after: page.next, total }, filter),
      };
    },
  );

  app.get(
    "/v1/tenants/:id",
    {
      schema: {
        operationId: "getTenant",
        tags: ["tenants"],
        summary: "Get a tenant by UUID or name",
        params: tenantParamsSchema,
        querystring: waitQuerySchema,
        response: { 200: tenantSchema, ...problems(400, 404, 503) },
      },
    },
    async (request, reply) => {
      const { params, query } = request;
      const stored = await watching.readTenant(request, reply, { idOrName: params.id, query });
      if (stored === null) throw notFound(params.id);
      const breakers = await dependencies.openBreakers();
      void reply.header("etag", etagOf(stored.tenant));
      return reply.status(200).send(renderTenant(stored.tenant, breakers));
    },
  );
}

/** Everything that a page token is bound to. */
function filterOf(
  query: z.infer<typeof listTenantsQuerySchema>,
): Omit<TenantFilter, "limit" | "offset" | "after" | "isCounted"> {
  return {
    statuses: query.status ?? null,
    selectors: [query.selector ?? []],
    namePrefix: query.name_prefix ?? null,
    includeArchived: (query.include_deleted ?? false) || (query.status?.includes("archived") ?? false),
    workflowSubState: query.workflow_sub_state ?? null,
    hasWorkflowError: query.has_workflow_error ?? null,
    minRetryCount: query.min_retry_count ?? null,
  };
}
