/** /v1/audit: who did what, and who was turned away. */
import { Readable } from "node:stream";
import type { z } from "zod";
import {
  auditListSchema,
  auditQuerySchema,
  type auditEntrySchema,
  type AuditQuery,
} from "../../contract/access.ts";
import { PAGE_SIZE_DEFAULT } from "../../contract/tenant.ts";
import type { AccessStore, AuditFilter, AuditRecord } from "../../store/store.ts";
import type { App } from "../app.ts";
import { openPageToken, sealPageToken } from "../page-token.ts";
import { problems } from "../responses.ts";

const NDJSON = "application/x-ndjson";
/** Rows in memory at a time, however long the export is. */
const EXPORT_PAGE = 1_000;

export function registerAuditRoutes(app: App, store: AccessStore): void {
  app.get(
    "/v1/audit",
    {
      schema: {
        operationId: "listAudit",
        tags: ["access"],
        summary: "Every write and every denial, newest first",
        description: `With \`Accept: ${NDJSON}\` everything that matches, one entry a line, without pages.`,
        querystring: auditQuerySchema,
        response: { 200: auditListSchema, ...problems(400, 401, 403, 429, 503) },
      },
    },
    async (request, reply) => {
      const { limit = PAGE_SIZE_DEFAULT, page_token: pageToken, ...query } = request.query;
      const filter = filterOf(query);
      const beforeId = pageToken === undefined ? null : Number(openPageToken(pageToken, query).after);
      if (request.headers.accept?.includes(NDJSON) === true) {
        // Read before the answer begins, so that a database that is away is still a 503.
        const first = await store.listAudit({ ...filter, beforeId, limit: EXPORT_PAGE });
        void reply.type(NDJSON).serializer((payload: unknown) => payload as string);
        return reply.send(Readable.from(exportLines(store, filter, first)) as never);
      }
      const found = await store.listAudit({ ...filter, beforeId, limit: limit + 1 });
      const entries = found.slice(0, limit);
      const last = found.length > limit ? entries.at(-1) : undefined;
      return {
        entries: entries.map(renderEntry),
        next_page_token:
          last === undefined ? null : sealPageToken({ after: String(last.id), total: 0 }, query),
      };
    },
  );
}

/** Page after page, as fast as the client reads. */
async function* exportLines(
  store: AccessStore,
  filter: Omit<AuditFilter, "beforeId" | "limit">,
  first: readonly AuditRecord[],
): AsyncGenerator<string> {
  for (let page = first; page.length > 0;) {
    yield page.map((record) => `${JSON.stringify(renderEntry(record))}\n`).join("");
    const last = page.at(-1);
    if (last === undefined || page.length < EXPORT_PAGE) return;
    page = await store.listAudit({ ...filter, beforeId: last.id, limit: EXPORT_PAGE });
  }
}

function filterOf(query: Omit<AuditQuery, "limit" | "page_token">): Omit<AuditFilter, "beforeId" | "limit"> {
  return {
    actor: query.actor ?? null,
    action: query.action ?? null,
    outcome: query.outcome ?? null,
    tenant: query.tenant ?? null,
    since: query.since ?? null,
    until: query.until ?? null,
  };
}

function renderEntry(record: AuditRecord): z.infer<typeof auditEntrySchema> {
  const { requestId, remoteAddress, at, ...rest } = record;
  return { ...rest, at: at.toISOString(), request_id: requestId, remote_address: remoteAddress };
}
