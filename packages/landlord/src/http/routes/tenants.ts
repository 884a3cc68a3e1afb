/** /v1/tenants: the desired state, and what became of it. */
import type { FastifyRequest } from "fastify";
import { z } from "zod";
import {
  createTenantSchema,
  historySchema,
  listTenantsQuerySchema,
  operationEventsSchema,
  operationListSchema,
  operationParamsSchema,
  PAGE_SIZE_DEFAULT,
  pageQuerySchema,
  patchTenantSchema,
  tenantListSchema,
  tenantParamsSchema,
  tenantSchema,
  updateTenantSchema,
} from "../../contract/tenant.ts";
import type { Lane } from "../../domain/tenant.ts";
import type { Actor } from "../../store/store.ts";
import type { HttpDependencies } from "../dependencies.ts";
import { problems } from "../responses.ts";
import { renderOperation, renderTenant, renderTransition } from "../render.ts";
import {
  createTenant,
  etagOf,
  notFound,
  patchTenant,
  removeTenant,
  updateTenant,
  type WriteResult,
} from "../tenant-writes.ts";
import type { App } from "../app.ts";

const prioritySchema = z.enum(["interactive", "bulk"]);
/** On every write. */
const priority = {
  "landlord-priority": prioritySchema
    .optional()
    .meta({ description: "`bulk` work waits while there is interactive work; without it: `interactive`." }),
};
const idempotencyHeaders = z.object({
  ...priority,
  "idempotency-key": z.string().min(1).max(255).optional().meta({
    description:
      "The same key and body answers the first answer again, for a day unless configured otherwise.",
  }),
});
/** RFC 9110, section 13.1.1. */
const IF_MATCH_PATTERN = /^\s*(?:\*|(?:W\/)?"[\x21\x23-\x7e]*"(?:\s*,\s*(?:W\/)?"[\x21\x23-\x7e]*")*)\s*$/;
const matchHeaders = z.object({
  ...priority,
  "if-match": z
    .string()
    .max(1_024)
    .regex(IF_MATCH_PATTERN, 'must be * or entity tags in quotes, such as "3"')
    .optional()
    .meta({ description: "The ETag that the write is based on; else 412." }),
});

export function registerTenantRoutes(app: App, dependencies: HttpDependencies): void {
  const { store } = dependencies;

  app.post(
    "/v1/tenants",
    {
      schema: {
        operationId: "createTenant",
        tags: ["tenants"],
        summary: "Create a tenant",
        description: "Stores the desired state and answers at once; the reconciler makes it real.",
        headers: idempotencyHeaders,
        body: createTenantSchema,
        response: { 201: tenantSchema, ...problems(400, 409, 413, 415, 422, 503) },
      },
    },
    async (request, reply) => {
      const key = request.headers["idempotency-key"];
      const context = { idempotencyKey: key, actor: actorOf(request), lane: laneOf(request) };
      const { tenant, replayed } = await createTenant(request.body, context, dependencies);
      if (replayed) void reply.header("idempotent-replayed", "true");
      void reply.header("location", `/v1/tenants/${tenant.id}`).header("etag", etagOf(tenant));
      return reply.status(201).send(renderTenant(tenant));
    },
  );

  app.get(
    "/v1/tenants",
    {
      schema: {
        operationId: "listTenants",
        tags: ["tenants"],
        summary: "List tenants",
        querystring: listTenantsQuerySchema,
        response: { 200: tenantListSchema, ...problems(400, 503) },
      },
    },
    async (request) => {
      const { query } = request;
      const limit = query.limit ?? PAGE_SIZE_DEFAULT;
      const offset = query.offset ?? 0;
      const [{ tenants, total }, breakers] = await Promise.all([
        store.listTenants({
          statuses: null,
          includeArchived: query.include_deleted ?? false,
          workflowSubState: query.workflow_sub_state ?? null,
          hasWorkflowError: query.has_workflow_error ?? null,
          minRetryCount: query.min_retry_count ?? null,
          limit,
          offset,
        }),
        dependencies.openBreakers(),
      ]);
      return { tenants: tenants.map((tenant) => renderTenant(tenant, breakers)), total, limit, offset };
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
        response: { 200: tenantSchema, ...problems(400, 404, 503) },
      },
    },
    async (request, reply) => {
      const [stored, breakers] = await Promise.all([
        store.getTenant({ idOrName: request.params.id }),
        dependencies.openBreakers(),
      ]);
      if (stored === null) throw notFound(request.params.id);
      void reply.header("etag", etagOf(stored.tenant));
      return reply.status(200).send(renderTenant(stored.tenant, breakers));
    },
  );
}

/** Changes of a tenant's desired state; all may be bound to a version. */
export function registerTenantWriteRoutes(app: App, dependencies: HttpDependencies): void {
  const writeResponses = {
    200: tenantSchema,
    202: tenantSchema,
    ...problems(400, 404, 409, 412, 413, 415, 503),
  };
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
        body: updateTenantSchema,
        response: writeResponses,
      },
    },
    async (request, reply) => {
      const result = await updateTenant(request.params.id, request.body, contextOf(request), dependencies);
      return sendWritten(reply, result);
    },
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
        body: patchTenantSchema,
        response: writeResponses,
      },
    },
    async (request, reply) => {
      const result = await patchTenant(request.params.id, request.body, contextOf(request), dependencies);
      return sendWritten(reply, result);
    },
  );

  app.post(
    "/v1/tenants/:id/archive",
    {
      schema: {
        operationId: "archiveTenant",
        tags: ["tenants"],
        summary: "Remove a tenant's compute and keep its record",
        params: tenantParamsSchema,
        headers: matchHeaders,
        response: { 200: tenantSchema, 202: tenantSchema, ...problems(400, 404, 409, 412, 503) },
      },
    },
    async (request, reply) => {
      const result = await removeTenant(request.params.id, "archived", contextOf(request), dependencies);
      return sendWritten(reply, result);
    },
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
        response: { 202: tenantSchema, ...problems(400, 404, 412, 503) },
      },
    },
    async (request, reply) => {
      const { tenant } = await removeTenant(request.params.id, "deleted", contextOf(request), dependencies);
      void reply.header("etag", etagOf(tenant));
      return reply.status(202).send(renderTenant(tenant));
    },
  );
}

/** What happened to a tenant; both answer after its deletion too. */
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
      const transitions = await store.listTransitions({ idOrName: request.params.id, ...page });
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
      const operations = await store.listOperations({ idOrName: request.params.id, ...page });
      if (operations.length === 0 && (await store.getTenant({ idOrName: request.params.id })) === null) {
        const known = await store.listTransitions({ idOrName: request.params.id, limit: 1, offset: 0 });
        if (known.length === 0) throw notFound(request.params.id);
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
        response: { 200: operationEventsSchema, ...problems(400, 503) },
      },
    },
    async (request) => {
      const events = await store.listOperationEvents({ operationId: request.params.operation_id });
      return { events: events.map((event) => ({ ...event, at: event.at.toISOString() })) };
    },
  );
}

function actorOf(request: FastifyRequest): Actor {
  return { name: "anonymous", requestId: request.id };
}

function contextOf(
  request: {
    readonly headers: {
      readonly "if-match"?: string | undefined;
      readonly "landlord-priority"?: z.infer<typeof prioritySchema> | undefined;
    };
  } & FastifyRequest,
): {
  readonly actor: Actor;
  readonly ifMatch: string | undefined;
  readonly lane: Lane;
} {
  return { actor: actorOf(request), ifMatch: request.headers["if-match"], lane: laneOf(request) };
}

/** Bulk work waits behind what somebody waits for. */
function laneOf(request: {
  readonly headers: { readonly "landlord-priority"?: z.infer<typeof prioritySchema> | undefined };
}): Lane {
  return request.headers["landlord-priority"] === "bulk" ? "background" : "interactive";
}

/** As much of a reply as the sender needs; every write route's own reply type has it. */
interface WriteReply<Sent> {
  header(name: string, value: string): unknown;
  status(code: 200 | 202): { send(body: ReturnType<typeof renderTenant>): Sent };
}

function sendWritten<Sent>(reply: WriteReply<Sent>, { tenant, started }: WriteResult): Sent {
  reply.header("etag", etagOf(tenant));
  return reply.status(started ? 202 : 200).send(renderTenant(tenant));
}
