/** When a wait looks at its tenant. */
import { expect, it } from "vitest";
import type { EventFeed, FeedEvent, FeedListener } from "../../src/http/event-feed.ts";
import { createWaiting } from "../../src/http/waiting.ts";
import { tenantWith } from "../support/tenants.ts";

const TENANT = tenantWith({ id: "00000000-0000-4000-8000-000000000001", name: "acme", status: "requested" });
const event = (reason: string): FeedEvent => ({
  position: 1,
  fingerprint: reason,
  tenantId: TENANT.id,
  tenantName: TENANT.name,
  reason,
  labels: {},
  frame: Buffer.alloc(0),
});

it("looks when it begins and at what a client or an end changed, not at what only sets out", async () => {
  let listener: FeedListener | null = null;
  let seen = 0;
  let reads = 0;
  const feed = {
    newest: () => ({ position: seen, fingerprint: String(seen++) }),
    listen(added: FeedListener) {
      listener = added;
      return () => undefined;
    },
  } as Partial<EventFeed> as EventFeed;
  const waiting = createWaiting(feed, {
    getTenant: () => {
      reads += 1;
      return Promise.resolve({ tenant: TENANT, revision: 1 });
    },
  });
  const over = new AbortController();
  const wait = waiting.until({
    idOrName: TENANT.id,
    isOver: () => false,
    timeoutMs: 60_000,
    signal: over.signal,
    onWaiting: () => undefined,
  });
  const happen = async (reason: string): Promise<number> => {
    listener?.onEvents([event(reason)]);
    // Everything that follows from it happens in this turn.
    await new Promise((resolve) => setImmediate(resolve));
    return reads;
  };
  await new Promise((resolve) => setImmediate(resolve));
  expect(reads).toBe(1);
  expect(await happen("created")).toBe(1);
  expect(await happen("operation_started")).toBe(1);
  expect(await happen("changed")).toBe(2);
  expect(await happen("operation_succeeded")).toBe(3);
  over.abort();
  await wait;
});
