/** Bare Fastify routes over the statements that the API uses, and nothing else: what there is to be lost. */
import Fastify from "fastify";
import type { AddressInfo } from "node:net";
import type { NewTenant, TenantFilter } from "../packages/landlord/src/store/store.ts";
import { openPostgresStore } from "../packages/landlord/src/store/postgres/postgres-store.ts";
import { requestedTenant } from "../packages/landlord/src/domain/new-tenant.ts";
import { randomUUID } from "node:crypto";

const store = await openPostgresStore(
  {
    url: process.argv[2] ?? "",
    maxConnections: 10,
    connectTimeoutMs: 5_000,
    statementTimeoutMs: 8_000,
    applicationName: "raw",
    autoMigrate: true,
  },
  () => undefined,
);
const FILTER: TenantFilter = {
  statuses: null,
  includeArchived: false,
  workflowSubState: null,
  hasWorkflowError: null,
  minRetryCount: null,
  limit: 100,
  offset: 0,
};
const app = Fastify();
app.get<{ Params: { id: string } }>("/tenants/:id", ({ params }) => store.getTenant({ idOrName: params.id }));
app.get<{ Querystring: { after?: string } }>("/tenants", ({ query }) =>
  store.listTenants({ ...FILTER, after: query.after ?? null, isCounted: query.after === undefined }),
);
app.post<{ Body: { name: string } }>("/tenants", async ({ body }, reply) => {
  const own = {
    id: randomUUID(),
    name: body.name,
    computeProvider: "mock",
    desiredConfig: {},
    configHash: "",
    labels: {},
    annotations: {},
  };
  const tenant: NewTenant = requestedTenant(own, new Date(), { operationDeadlineMs: 1 });
  const actor = { name: "raw", requestId: null };
  const outcome = await store.createTenant({ tenant, actor, lane: "interactive", idempotency: null });
  return reply.status(201).send(outcome.kind === "created" ? outcome.tenant : null);
});
await app.listen({ host: "127.0.0.1", port: 0 });
process.send?.({ port: (app.server.address() as AddressInfo).port });
