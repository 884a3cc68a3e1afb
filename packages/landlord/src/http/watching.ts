/** What outlives a request: streams of events, and answers that are held back. Bounded in number, apart from requests. */
import type { OutgoingHttpHeaders } from "node:http";
import type { FastifyReply, FastifyRequest } from "fastify";
import { WAIT_DEFAULT_MS, type WaitQuery } from "../contract/events.ts";
import { matchesSelector, type Selector } from "../domain/selector.ts";
import type { StoredTenant } from "../store/store.ts";
import { createAdmission, type Admission } from "./admission.ts";
import type { AppDependencies, HttpSettings } from "./dependencies.ts";
import { beginAt, openStream } from "./event-stream.ts";
import { identityOf, isVisible, principalOf } from "./principal.ts";
import { createWaiting, isWaitOver } from "./waiting.ts";

export interface Watching {
  /** Takes the reply over. @throws HttpError 400 `invalid_token`, 410 `watch_expired`, 503 `too_many_watchers` */
  stream(
    request: FastifyRequest,
    reply: FastifyReply,
    watch: {
      readonly after: string | null;
      readonly selector: Selector;
      /** UUID or name. */
      readonly tenant: string | null;
    },
  ): Promise<void>;
  /**
   * The tenant, at once or when the wait is over; null when there is none that this principal may see.
   * @throws HttpError 503 `too_many_watchers`
   */
  readTenant(
    request: FastifyRequest,
    reply: FastifyReply,
    params: { readonly idOrName: string; readonly query: WaitQuery },
  ): Promise<StoredTenant | null>;
}

/** @param requests of which a watcher is none any more, once it does nothing but wait */
export function createWatching(
  { events, store, logger }: AppDependencies,
  settings: Pick<HttpSettings, "maxWatchers" | "eventHeartbeatMs" | "eventBufferBytes">,
  requests: Admission,
): Watching {
  const watchers = createAdmission(
    settings.maxWatchers,
    "too_many_watchers",
    `This server has ${settings.maxWatchers} watchers already. Try again in a moment, or raise http.max_watchers.`,
  );
  const waiting = createWaiting(events, store);

  return {
    async stream(request, reply, { after, selector, tenant }) {
      watchers.enter(reply);
      const identity = identityOf(request);
      const beginning = await beginAt(events, after);
      requests.leave(reply);
      reply.hijack();
      openStream({
        feed: events,
        response: reply.raw,
        headers: reply.getHeaders() as OutgoingHttpHeaders,
        beginning,
        matches: ({ tenantId, tenantName, labels }) =>
          (tenant === null || tenant === tenantId || tenant === tenantName) &&
          matchesSelector(selector, labels) &&
          isVisible(identity.principal, labels),
        stillValid: () => identity.stillValid(),
        heartbeatMs: settings.eventHeartbeatMs,
        bufferLimitBytes: settings.eventBufferBytes,
        logger,
      });
    },

    async readTenant(request, reply, { idOrName, query }) {
      const principal = principalOf(request);
      const isHidden = ({ tenant }: StoredTenant): boolean => !isVisible(principal, tenant.labels);
      const visible = (stored: StoredTenant | null): StoredTenant | null =>
        stored === null || isHidden(stored) ? null : stored;
      const { wait } = query;
      if (wait === undefined) return visible(await store.getTenant({ idOrName }));
      const gone = new AbortController();
      const onClose = (): void => gone.abort();
      reply.raw.once("close", onClose);
      try {
        const stored = await waiting.until({
          idOrName,
          isOver: (found) => isHidden(found) || isWaitOver(wait, found.tenant),
          timeoutMs: query.timeout ?? WAIT_DEFAULT_MS,
          signal: gone.signal,
          onWaiting() {
            watchers.enter(reply);
            requests.leave(reply);
            // Silence is what was asked for; Node sets the next request's limit anew.
            request.raw.socket.setTimeout(0);
          },
        });
        // A connection that is kept would hold the stop up.
        if (waiting.isStopped()) void reply.header("connection", "close");
        return visible(stored);
      } finally {
        reply.raw.off("close", onClose);
      }
    },
  };
}
