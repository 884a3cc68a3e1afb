/** /v1/tenants/{id}/retry, pause, resume, restore, rollback. */
import { rollbackSchema, tenantParamsSchema, tenantSchema } from "../../contract/tenant.ts";
import type { HttpDependencies } from "../dependencies.ts";
import { problems } from "../responses.ts";
import { pauseTenant, restoreTenant, resumeTenant, retryTenant, rollbackTenant } from "../tenant-verbs.ts";
import { contextOf, matchHeaders, sendResult, tenantOrPlan, writeQuery } from "../write-requests.ts";
import type { App } from "../app.ts";

const VERBS = [
  {
    path: "retry",
    operationId: "retryTenant",
    summary: "Try again now",
    description:
      "A failed tenant leaves `failed`, a backoff ends; of one that is settled the compute is looked at now. Also while it is being deleted.",
    perform: retryTenant,
  },
  {
    path: "pause",
    operationId: "pauseTenant",
    summary: "Start nothing more for a tenant",
    description:
      "What is in flight ends and is recorded. Drift is noted and not repaired. Holds a delete up, too.",
    perform: pauseTenant,
  },
  {
    path: "resume",
    operationId: "resumeTenant",
    summary: "End a pause",
    description: "What was held up goes on, and its compute is looked at.",
    perform: resumeTenant,
  },
  {
    path: "restore",
    operationId: "restoreTenant",
    summary: "Bring an archived tenant back",
    description: "With the configuration that it had.",
    perform: restoreTenant,
  },
] as const;

export function registerTenantVerbRoutes(app: App, dependencies: HttpDependencies): void {
  const common = {
    tags: ["tenants"],
    params: tenantParamsSchema,
    headers: matchHeaders,
    querystring: writeQuery,
    response: { 200: tenantOrPlan, 202: tenantSchema, ...problems(400, 404, 409, 412, 503) },
  };
  for (const { path, operationId, summary, description, perform } of VERBS) {
    app.post(
      `/v1/tenants/:id/${path}`,
      { schema: { ...common, operationId, summary, description } },
      async (request, reply) =>
        sendResult(reply, await perform(request.params.id, contextOf(request, request.query), dependencies)),
    );
  }

  app.post(
    "/v1/tenants/:id/rollback",
    {
      schema: {
        ...common,
        operationId: "rollbackTenant",
        summary: "Go back to the configuration of an earlier generation",
        description: "It becomes a new generation. Labels and annotations stay.",
        body: rollbackSchema,
        response: { ...common.response, ...problems(413, 415) },
      },
    },
    async (request, reply) => {
      const { generation = null } = request.body;
      const context = contextOf(request, request.query);
      return sendResult(reply, await rollbackTenant(request.params.id, generation, context, dependencies));
    },
  );
}
