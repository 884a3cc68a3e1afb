/** /v1/sweep: compute without a tenant. A request only makes the chore due; a server's reconciler does it. */
import type { z } from "zod";
import { SWEEP_CHORE, sweepReportSchema, sweepRequestSchema, sweepSchema } from "../../contract/system.ts";
import type { App } from "../app.ts";
import type { HttpDependencies } from "../dependencies.ts";
import { problems } from "../responses.ts";

const ORPHANS_LIMIT = 500;

export function registerSweepRoutes(app: App, dependencies: HttpDependencies): void {
  const { store } = dependencies;
  const present = async (): Promise<z.infer<typeof sweepSchema>> => {
    const [chore, orphans] = await Promise.all([
      store.getChore({ name: SWEEP_CHORE }),
      store.listOrphans({ limit: ORPHANS_LIMIT }),
    ]);
    const report = sweepReportSchema.safeParse(chore?.report);
    return {
      requested_at: chore?.requestedAt?.toISOString() ?? null,
      finished_at: chore?.finishedAt?.toISOString() ?? null,
      report: report.success ? report.data : null,
      orphans: orphans.map((orphan) => ({
        compute_provider: orphan.computeProvider,
        scope: orphan.scope,
        tenant_id: orphan.tenantId,
        generation: orphan.generation,
        resource_ids: { ...orphan.resourceIds },
        first_seen_at: orphan.firstSeenAt.toISOString(),
        last_seen_at: orphan.lastSeenAt.toISOString(),
      })),
    };
  };

  app.get(
    "/v1/sweep",
    {
      schema: {
        operationId: "getSweep",
        tags: ["compute"],
        summary: "What the last orphan sweep found",
        response: { 200: sweepSchema, ...problems(503) },
      },
    },
    () => present(),
  );

  app.post(
    "/v1/sweep",
    {
      schema: {
        operationId: "requestSweep",
        tags: ["compute"],
        summary: "Ask for an orphan sweep",
        description:
          "A server compares, within seconds, what compute providers run with what tenants there are. Finished when finished_at is later than requested_at.",
        body: sweepRequestSchema,
        response: { 202: sweepSchema, ...problems(400, 413, 415, 503) },
      },
    },
    async (request, reply) => {
      await store.requestChore({ name: SWEEP_CHORE, options: { ...request.body } });
      dependencies.onWrite();
      return reply.status(202).send(await present());
    },
  );
}
