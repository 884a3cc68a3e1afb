/** The one reader of events, and what the server's own sequencer tells it. */
import { afterEach, expect, it } from "vitest";
import { createEventFeed, type EventFeed } from "../../src/http/event-feed.ts";
import type { SequencedTransition } from "../../src/store/store.ts";
import { testLogger } from "../support/system.ts";
import { eventually } from "../support/eventually.ts";

const INSTANCE = "00000000-0000-4000-8000-000000000001";
const transition = (position: number, tenantId = "a"): SequencedTransition => ({
  id: position,
  position,
  tenantId,
  tenantName: tenantId,
  fromStatus: null,
  toStatus: "ready",
  reason: "created",
  message: "",
  generation: 1,
  actor: "test",
  requestId: null,
  operationId: null,
  labels: {},
  at: new Date(position),
});

let rows: SequencedTransition[] = [];
let reads = 0;
let beforeAnswer: () => void = () => undefined;
let feed: EventFeed;
afterEach(() => feed.stop());

/** Over `rows`, counting reads; answers what it hands to a listener. */
async function open(): Promise<number[]> {
  feed = createEventFeed({
    store: {
      listEvents: async ({ from, limit }) => {
        reads += 1;
        const found = rows.filter(({ position }) => position >= from).slice(0, limit);
        await Promise.resolve();
        beforeAnswer();
        return found;
      },
      newestEvent: () => Promise.resolve(rows.at(-1) ?? null),
    },
    instanceId: () => INSTANCE,
    logger: testLogger,
    isListening: () => true,
  });
  await feed.start();
  reads = 0;
  const heard: number[] = [];
  feed.listen({
    onEvents: (events) => heard.push(...events.map(({ position }) => position)),
    onEnd: (end) => heard.push(end === "lost" ? -1 : -2),
  });
  return heard;
}

it("hands on what follows its newest event without reading it", async () => {
  rows = [transition(1), transition(2)];
  const heard = await open();
  rows.push(transition(3), transition(4));
  feed.offer(rows.slice(1));
  expect(heard).toEqual([3, 4]);
  expect(feed.newest().position).toBe(4);
  expect(reads).toBe(0);
});

it("takes the first events of a database, which follow nothing", async () => {
  rows = [];
  const heard = await open();
  rows.push(transition(1));
  feed.offer(rows);
  expect(heard).toEqual([1]);
  expect(reads).toBe(0);
});

it("reads what another server numbered in between, in order and once", async () => {
  rows = [transition(1)];
  const heard = await open();
  rows.push(transition(2), transition(3), transition(4));
  feed.offer(rows.slice(2));
  expect(heard, "3 is not the newest it knows").toEqual([]);
  // It would look by itself after five seconds.
  await eventually(() => heard.length === 3, { what: "the read", timeoutMs: 3_000 });
  expect(heard).toEqual([2, 3, 4]);
});

it("does not take an offer of a database that was restored: it looks, and ends all watches", async () => {
  rows = [transition(1), transition(2)];
  const heard = await open();
  rows = [transition(1), transition(2, "another"), transition(3)];
  feed.offer(rows.slice(1));
  await eventually(() => heard.length > 0, { what: "the end", timeoutMs: 3_000 });
  expect(heard).toEqual([-1]);
});

it("repeats nothing that is offered while it reads", async () => {
  rows = [transition(1)];
  const heard = await open();
  rows.push(transition(2));
  beforeAnswer = () => {
    beforeAnswer = () => undefined;
    feed.offer(rows);
    rows.push(transition(3));
  };
  feed.wake();
  await eventually(() => heard.length >= 2, { what: "both" });
  expect(heard).toEqual([2, 3]);
});
