/** The fleet at a glance, its engines and its workers. */
import { z } from "zod";
import {
  summarySchema,
  workerListSchema,
  workerParamsSchema,
  workerReportSchema,
  workflowProviderListSchema,
} from "../../contract/fleet.ts";
import { formatSelector } from "../../domain/selector.ts";
import type { CountedSince, FleetSummary } from "../../store/fleet-store.ts";
import type { HttpDependencies } from "../dependencies.ts";
import { renderWorker } from "../explaining.ts";
import { principalOf } from "../principal.ts";
import { recently } from "../recently.ts";
import { problems } from "../responses.ts";
import type { App } from "../app.ts";

const WORKERS_LIMIT = 500;
/** A summary reads every tenant: all who ask within this time get the same one. */
const SUMMARY_MAX_AGE_MS = 2_000;
const SCOPES_LIMIT = 100;

export function registerFleetRoutes(app: App, dependencies: HttpDependencies): void {
  const { fleet } = dependencies;
  const summaries = new Map<string, () => Promise<FleetSummary>>();

  app.get(
    "/v1/summary",
    {
      schema: {
        operationId: "getSummary",
        tags: ["system"],
        summary: "The fleet at a glance",
        response: { 200: summarySchema, ...problems(503) },
      },
    },
    async (request) => {
      const { scope } = principalOf(request);
      const key = scope === null ? "" : formatSelector(scope);
      let read = summaries.get(key);
      if (read === undefined) {
        if (summaries.size >= SCOPES_LIMIT) summaries.clear();
        read = recently(
          () => fleet.summarize({ scope }),
          SUMMARY_MAX_AGE_MS,
          () => performance.now(),
        );
        summaries.set(key, read);
      }
      return renderSummary(await read());
    },
  );

  app.get(
    "/v1/workers",
    {
      schema: {
        operationId: "listWorkers",
        tags: ["workers"],
        summary: "Workers that reported, those that were seen last first",
        response: { 200: workerListSchema, ...problems(503) },
      },
    },
    async () => ({ workers: (await fleet.listWorkers({ limit: WORKERS_LIMIT })).map(renderWorker) }),
  );

  app.put(
    "/v1/workers/:id",
    {
      schema: {
        operationId: "reportWorker",
        tags: ["workers"],
        summary: "A worker tells what it serves, every 15 s",
        description: "For people to read; nothing is decided by it.",
        params: workerParamsSchema,
        body: workerReportSchema,
        response: { 204: z.null(), ...problems(400, 413, 415, 503) },
      },
    },
    async (request, reply) => {
      const { body } = request;
      await fleet.recordWorker({
        id: request.params.id,
        engine: body.engine,
        workflows: body.workflows,
        computeProviders: body.compute_providers,
        scopes: body.scopes,
        version: body.version,
        startedAt: new Date(body.started_at),
        registeredAt: body.registered_at === null ? null : new Date(body.registered_at),
        lastError: body.last_error,
      });
      return reply.status(204).send(null);
    },
  );

  app.delete(
    "/v1/workers/:id",
    {
      schema: {
        operationId: "removeWorker",
        tags: ["workers"],
        summary: "A worker that ends says so",
        params: workerParamsSchema,
        response: { 204: z.null(), ...problems(400, 503) },
      },
    },
    async (request, reply) => {
      await fleet.removeWorker({ id: request.params.id });
      return reply.status(204).send(null);
    },
  );

  app.get(
    "/v1/workflow/providers",
    {
      schema: {
        operationId: "listWorkflowProviders",
        tags: ["system"],
        summary: "The configured workflow engines",
        response: { 200: workflowProviderListSchema, ...problems(503) },
      },
    },
    async () => {
      const breakers = await dependencies.openBreakers();
      const { names, name: used } = dependencies.engine;
      return {
        providers: names.map((name) => {
          const outage = breakers.find(({ key, state }) => key === `engine:${name}` && state === "open");
          return {
            name,
            default: name === used,
            reachable: outage === undefined,
            error: outage?.lastError ?? null,
            unreachable_since: outage?.openedAt?.toISOString() ?? null,
          };
        }),
      };
    },
  );
}

function renderSummary(summary: FleetSummary): z.infer<typeof summarySchema> {
  const counts = (
    map: ReadonlyMap<string, CountedSince>,
  ): Record<string, { count: number; oldest_at: string }> =>
    Object.fromEntries(
      [...map].map(([name, { count, oldestAt }]) => [name, { count, oldest_at: oldestAt.toISOString() }]),
    );
  return {
    total: [...summary.byStatus.values()].reduce((sum, { count }) => sum + count, 0),
    by_status: counts(summary.byStatus),
    by_reason: counts(summary.byReason),
    paused: summary.paused,
    operations_in_flight: summary.operationsInFlight,
    at: summary.at.toISOString(),
  };
}
