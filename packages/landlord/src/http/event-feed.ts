/**
 * The one reader of events in a server, however many watch: it reads what is new once, keeps the newest in memory, and
 * hands them to its listeners. It takes no input but "look again" (a notification, a commit of this server, or a second
 * that has passed) and what this server's own sequencer has just numbered. Every read begins with the last event that it
 * knows: if that one is not there any more, or a position is missing after it, the database was restored or history was
 * collected, and nobody may go on from here.
 */
import { messageOf, UnavailableError } from "../domain/errors.ts";
import type { EventStore, SequencedTransition } from "../store/store.ts";
import type { Logger } from "../telemetry/logger.ts";
import { cursorOf, firstCursor, formatToken, type EventCursor } from "./event-token.ts";
import { renderTransition } from "./render.ts";

export interface FeedEvent extends EventCursor {
  readonly tenantId: string;
  readonly tenantName: string;
  readonly reason: string;
  readonly labels: Readonly<Record<string, string>>;
  /** As it goes over the wire; made once for all watchers. */
  readonly frame: Buffer;
}

/** `lost`: the database is not the one that it was; `stopped`: the server stops. */
export type FeedEnd = "lost" | "stopped";

/** All are called synchronously. Whoever ended hears nothing more. */
export interface FeedListener {
  /** In order, without gap: what follows the newest event at the time of `listen`. */
  onEvents(events: readonly FeedEvent[]): void;
  /** This server has just committed something of this tenant, of which an event will come. A hint: it may be missed. */
  onTouched?(tenantId: string): void;
  onEnd(end: FeedEnd): void;
}

export interface EventFeed {
  /** Reads the newest events, and goes on reading until it is stopped. A database that is away is asked again. */
  start(): Promise<void>;
  /** There may be something new. */
  wake(): void;
  /** What follows the first of these, as a read would answer; what does not fit is read. */
  offer(events: readonly SequencedTransition[]): void;
  /** Something of this tenant was committed here: whoever waits for it need not wait for the event. */
  touch(tenantId: string): void;
  stop(): Promise<void>;
  /** @throws UnavailableError `events_unavailable` as long as nothing could be read, and after the stop */
  newest(): EventCursor;
  /** What is in memory after this position, oldest first; null when it does not reach back that far. */
  after(position: number, limit: number): readonly FeedEvent[] | null;
  /** The place at this position as far as it is in memory, else null. */
  cursorAt(position: number): EventCursor | null;
  /** What follows in the database, at most EVENTS_PAGE; null when nobody can go on from there. A few at a time. */
  read(cursor: EventCursor): Promise<readonly FeedEvent[] | null>;
  /** The oldest place from which one can go on, with what follows it. */
  readOldest(): Promise<{ readonly cursor: EventCursor; readonly events: readonly FeedEvent[] }>;
  /** Returns how to stop listening. */
  listen(listener: FeedListener): () => void;
}

/** Events of one read, and of one step of a watcher that catches up. */
export const EVENTS_PAGE = 200;
const KEPT_EVENTS = 10_000;
const KEPT_BYTES = 16 * 1024 * 1024;
/** Read at the start, so that watchers of the server before can resume from memory. */
const PRELOADED_EVENTS = 1_000;
/** Finds what no notification told of. */
const LOOK_INTERVAL_MS = 1_000;
/** As long as notifications come, which tell of everything unless one is lost. */
const LISTENING_LOOK_INTERVAL_MS = 5_000;
/** Watchers that read the database at the same time: the rest of the pool is for requests. */
const READERS = 3;

export function createEventFeed(parts: {
  readonly store: EventStore;
  /** Asked when events are read. */
  readonly instanceId: () => string;
  readonly logger: Logger;
  /** Whether notifications come; without them the database is asked more often. */
  isListening?(): boolean;
}): EventFeed {
  const { store, instanceId, logger } = parts;
  const first = (): EventCursor => firstCursor(instanceId());
  const listeners = new Set<FeedListener>();
  const readers = createLimit(READERS);
  const memory = createMemory();
  const alarm = createAlarm();
  let stopping = false;
  let loop: Promise<void> | null = null;

  async function readAfter(cursor: EventCursor): Promise<readonly FeedEvent[] | null> {
    const rows = await store.listEvents({ from: Math.max(cursor.position, 1), limit: EVENTS_PAGE + 1 });
    return following(cursor, rows)?.slice(0, EVENTS_PAGE) ?? null;
  }

  /** What comes after this place in rows that begin with it; null when they do not, or leave out a position. */
  function following(cursor: EventCursor, rows: readonly SequencedTransition[]): readonly FeedEvent[] | null {
    const [oldest] = rows;
    const anchor = cursor.position === 0 ? first() : oldest && cursorOf(instanceId(), oldest);
    if (anchor?.position !== cursor.position || anchor.fingerprint !== cursor.fingerprint) return null;
    const next = cursor.position === 0 ? rows : rows.slice(1);
    if (next.some(({ position }, index) => position !== cursor.position + 1 + index)) return null;
    return next.map((row) => toFeedEvent(instanceId(), row));
  }

  /** A collection of garbage may have left holes among the oldest: what is usable begins after the last of them. */
  async function readFrom(
    position: number,
    limit: number,
  ): Promise<{ readonly cursor: EventCursor; readonly events: readonly FeedEvent[] }> {
    const rows = await store.listEvents({ from: position, limit });
    const hole = rows.findLastIndex(
      (row, index) => index > 0 && rows[index - 1]?.position !== row.position - 1,
    );
    const events = rows.slice(Math.max(hole, 0)).map((row) => toFeedEvent(instanceId(), row));
    const [oldest] = events;
    if (oldest === undefined || oldest.position === 1) return { cursor: first(), events };
    return { cursor: oldest, events: events.slice(1) };
  }

  async function readNew(): Promise<void> {
    for (;;) {
      const newest = memory.newest();
      const events = newest === null ? null : await readAfter(newest);
      if (stopping) return;
      // Something was offered while this was read, and is not new any more.
      if (newest !== null && memory.newest()?.position !== newest.position) continue;
      if (events === null) {
        const last = (await store.newestEvent())?.position ?? 0;
        const fresh = await readFrom(Math.max(1, last - PRELOADED_EVENTS + 1), PRELOADED_EVENTS);
        if (stopping) return;
        memory.reset(fresh.cursor, fresh.events);
        if (newest === null) continue;
        logger.warn(
          { position: newest.position },
          "the newest known event is not in the database any more: watchers have to list again",
        );
        endAll("lost");
        continue;
      }
      append(events);
      if (events.length < EVENTS_PAGE) return;
    }
  }

  function append(events: readonly FeedEvent[]): void {
    memory.append(events);
    if (events.length > 0) for (const listener of listeners) listener.onEvents(events);
  }

  function endAll(end: FeedEnd): void {
    const ended = [...listeners];
    listeners.clear();
    for (const listener of ended) listener.onEnd(end);
  }

  async function look(): Promise<void> {
    alarm.reset();
    await readNew().catch((error: unknown) =>
      logger.debug({ error: messageOf(error) }, "events not read; trying again"),
    );
  }

  async function run(): Promise<void> {
    while (!stopping) {
      await alarm.wait(parts.isListening?.() === true ? LISTENING_LOOK_INTERVAL_MS : LOOK_INTERVAL_MS);
      if (!stopping) await look();
    }
  }

  return {
    async start() {
      if (loop !== null) return;
      await look();
      loop = run();
    },
    wake: () => alarm.ring(),
    offer(rows) {
      const newest = stopping ? null : memory.newest();
      const events = newest === null ? null : following(newest, rows);
      if (events === null) alarm.ring();
      else append(events);
    },
    touch(tenantId) {
      for (const listener of listeners) listener.onTouched?.(tenantId);
    },
    async stop() {
      stopping = true;
      alarm.ring();
      endAll("stopped");
      await loop;
    },
    newest() {
      const newest = stopping ? null : memory.newest();
      if (newest === null) throw unavailable();
      return newest;
    },
    after: (position, limit) => memory.after(position, limit),
    cursorAt: (position) => memory.cursorAt(position),
    read: (cursor) => readers(() => readAfter(cursor)),
    readOldest: () => readers(() => readFrom(1, EVENTS_PAGE)),
    listen(listener) {
      if (stopping) throw unavailable();
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
}

function unavailable(): UnavailableError {
  return new UnavailableError(
    "events_unavailable",
    "This server has no events at the moment: it is starting, stopping, or its database is away. Try again.",
  );
}

function toFeedEvent(instanceId: string, transition: SequencedTransition): FeedEvent {
  const cursor = cursorOf(instanceId, transition);
  const data = JSON.stringify({ ...renderTransition(transition), labels: transition.labels });
  return {
    ...cursor,
    tenantId: transition.tenantId,
    tenantName: transition.tenantName,
    reason: transition.reason,
    labels: transition.labels,
    frame: Buffer.from(`id: ${formatToken(cursor)}\nevent: transition\ndata: ${data}\n\n`),
  };
}

interface Memory {
  newest(): EventCursor | null;
  reset(base: EventCursor, events: readonly FeedEvent[]): void;
  append(events: readonly FeedEvent[]): void;
  after: EventFeed["after"];
  cursorAt: EventFeed["cursorAt"];
}

/** The newest events, bounded in number and in bytes. Their positions are without gap, so an index finds one. */
function createMemory(): Memory {
  /** The place before the oldest that is kept. */
  let base: EventCursor | null = null;
  let kept: FeedEvent[] = [];
  let bytes = 0;

  function append(events: readonly FeedEvent[]): void {
    kept.push(...events);
    for (const { frame } of events) bytes += frame.length;
    let dropped = 0;
    while (kept.length - dropped > KEPT_EVENTS || bytes > KEPT_BYTES) {
      const oldest = kept[dropped];
      if (oldest === undefined) break;
      bytes -= oldest.frame.length;
      base = { position: oldest.position, fingerprint: oldest.fingerprint };
      dropped += 1;
    }
    if (dropped > 0) kept.splice(0, dropped);
  }

  return {
    newest: () => kept.at(-1) ?? base,
    reset(newBase, events) {
      base = newBase;
      kept = [];
      bytes = 0;
      append(events);
    },
    append,
    after(position, limit) {
      if (base === null || position < base.position) return null;
      const index = position - base.position;
      return kept.slice(index, index + limit);
    },
    cursorAt(position) {
      if (base === null || position < base.position) return null;
      return position === base.position ? base : (kept[position - base.position - 1] ?? null);
    },
  };
}

/** A wake-up that is not lost when it comes before the wait. */
function createAlarm(): { ring(): void; reset(): void; wait(timeoutMs: number): Promise<void> } {
  let rung = false;
  let wakeUp: () => void = () => undefined;
  return {
    ring() {
      rung = true;
      wakeUp();
    },
    reset: () => void (rung = false),
    wait: (timeoutMs) =>
      rung
        ? Promise.resolve()
        : new Promise((resolve) => {
            const timer = setTimeout(resolve, timeoutMs);
            wakeUp = () => {
              clearTimeout(timer);
              resolve();
            };
          }),
  };
}

/** Runs at most so many at a time; the others wait their turn. */
function createLimit(limit: number): <T>(work: () => Promise<T>) => Promise<T> {
  const queue: (() => void)[] = [];
  let running = 0;
  return async (work) => {
    if (running >= limit) await new Promise<void>((resolve) => queue.push(resolve));
    else running += 1;
    try {
      return await work();
    } finally {
      const next = queue.shift();
      // The place goes to the next in line, or is free.
      if (next === undefined) running -= 1;
      else next();
    }
  };
}
