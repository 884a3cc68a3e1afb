/** /v1/events: every transition as it happens. */
import { z } from "zod";
import { eventsHeadersSchema, eventsQuerySchema, tenantEventSchema } from "../../contract/events.ts";
import type { App } from "../app.ts";
import { problems } from "../responses.ts";
import type { Watching } from "../watching.ts";

export function registerEventRoutes(app: App, watching: Watching): void {
  app.get(
    "/v1/events",
    {
      // It would never be answered.
      exposeHeadRoute: false,
      schema: {
        operationId: "watchEvents",
        tags: ["history"],
        summary: "Watch transitions as server-sent events",
        description:
          "One event `transition` for each, with the token to resume from as its id. Besides: `hello` first, `bookmark` now and then, and `bye` with a reason before the server ends the connection; each with a token too.",
        querystring: eventsQuerySchema,
        headers: eventsHeadersSchema,
        response: {
          200: {
            description: "OK",
            content: {
              "text/event-stream": { schema: z.string() },
              // What the data of an event holds; a stream of them is beyond a schema's words.
              "application/vnd.landlord.event+json": { schema: tenantEventSchema },
            },
          },
          ...problems(400, 410, 503),
        },
      },
    },
    async (request, reply) => {
      const { after, selector, tenant } = request.query;
      await watching.stream(request, reply, {
        after: request.headers["last-event-id"] ?? after ?? null,
        selector: selector ?? [],
        tenant: tenant?.toLowerCase() ?? null,
      });
      return reply;
    },
  );
}
