/** One watcher's connection: server-sent events (WHATWG HTML, section 9.2), first what it missed, then what comes. */
import type { OutgoingHttpHeaders, ServerResponse } from "node:http";
import { AFTER_OLDEST } from "../contract/events.ts";
import { messageOf } from "../domain/errors.ts";
import type { Logger } from "../telemetry/logger.ts";
import { EVENTS_PAGE, type EventFeed, type FeedEvent } from "./event-feed.ts";
import { formatToken, parseToken, type EventCursor } from "./event-token.ts";
import { HttpError } from "./problem.ts";

export interface StreamSettings {
  readonly heartbeatMs: number;
  /** Of what a client has not taken yet; beyond it, the connection is ended. */
  readonly bufferLimitBytes: number;
}

export interface Beginning {
  readonly cursor: EventCursor;
  /** What was read on the way, if anything. */
  readonly events: readonly FeedEvent[];
}

export interface Stream extends StreamSettings {
  readonly feed: EventFeed;
  readonly response: ServerResponse;
  readonly headers: OutgoingHttpHeaders;
  readonly beginning: Beginning;
  readonly matches: (event: FeedEvent) => boolean;
  /** Asked with every heartbeat. */
  readonly stillValid: () => Promise<boolean>;
  readonly logger: Logger;
}

/** Why a connection was ended; every one of them may be resumed with the token that comes along. */
type Farewell = "slow_reader" | "server_stopping" | "expired" | "unauthenticated" | "unavailable";

/** A client that does not take what is in its buffer within so many heartbeats is gone or stuck. */
const STALLED_HEARTBEATS = 2;
/** Given to the farewell of a client that does not read. */
const FAREWELL_MS = 2_000;

/**
 * @param after a token, `oldest`, or null for from now on
 * @throws HttpError 400 `invalid_token`; 410 `watch_expired`
 */
export async function beginAt(feed: EventFeed, after: string | null): Promise<Beginning> {
  const newest = feed.newest();
  if (after === null) return { cursor: newest, events: [] };
  if (after === AFTER_OLDEST) return feed.readOldest();
  const cursor = parseToken(after);
  if (cursor === null) {
    throw new HttpError(
      400,
      "invalid_token",
      `"${after}" is no resume token. Send the id of an event, or \`${AFTER_OLDEST}\`, or nothing.`,
    );
  }
  const known = feed.cursorAt(cursor.position);
  if (known !== null) {
    if (known.fingerprint !== cursor.fingerprint) throw expired();
    return { cursor, events: [] };
  }
  // Older than what is in memory, or newer: another server may have seen it first.
  const events = await feed.read(cursor);
  if (events === null) throw expired();
  return { cursor, events };
}

function expired(): HttpError {
  return new HttpError(
    410,
    "watch_expired",
    "Nobody can go on from this token: what follows it is not kept any more, or it is of another database. Watch without a token, and list the tenants again once that watch is open.",
  );
}

/** Answers with the stream, and returns at once. */
export function openStream(stream: Stream): void {
  const { feed, response, matches, bufferLimitBytes, heartbeatMs, logger } = stream;
  let cursor = stream.beginning.cursor;
  /** The last position whose token was sent. */
  let announced = cursor.position;
  /** It has everything, and what comes is written at once; otherwise `follow` is at work. */
  let isLive = false;
  let wasLive = false;
  let isOver = false;
  let takenAtLastBeat: number | null = null;

  // Silence is normal here, and the connection is of no use to anybody afterwards.
  response.socket?.setTimeout(0);
  response.writeHead(200, {
    ...stream.headers,
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    connection: "close",
    "x-accel-buffering": "no",
  });
  response.write(frame("hello", cursor, { heartbeat_ms: heartbeatMs }));
  const heartbeat = setInterval(beat, heartbeatMs);
  const leave = feed.listen({
    onEvents(events) {
      if (!isLive || send(events)) return;
      isLive = false;
      follow([]);
    },
    onEnd: (reason) => end(reason === "lost" ? "expired" : "server_stopping"),
  });
  const release = (): void => {
    isOver = true;
    clearInterval(heartbeat);
    leave();
  };
  response.once("close", release);

  function end(reason: Farewell): void {
    if (isOver) return;
    release();
    response.end(frame("bye", cursor, { reason }));
    const timer = setTimeout(() => response.destroy(), FAREWELL_MS);
    response.once("close", () => clearTimeout(timer));
  }

  /** Sends what matches. False when the client's buffer is full: the rest was not looked at. */
  function send(events: readonly FeedEvent[]): boolean {
    response.cork();
    try {
      for (const event of events) {
        if (event.position <= cursor.position) continue;
        if (matches(event)) {
          if (response.writableLength >= bufferLimitBytes) return false;
          response.write(event.frame);
          announced = event.position;
        }
        cursor = event;
      }
      return true;
    } finally {
      response.uncork();
    }
  }

  /** Goes after the feed at the client's own pace, until it has caught up. */
  function follow(missed: readonly FeedEvent[]): void {
    catchUp(missed).then(
      (failure) => failure !== null && end(failure),
      (error: unknown) => {
        logger.debug({ error: messageOf(error) }, "a watcher could not catch up; it has to resume");
        end("unavailable");
      },
    );
  }

  async function catchUp(missed: readonly FeedEvent[]): Promise<Farewell | null> {
    for (let page: readonly FeedEvent[] | null = missed; page !== null;) {
      send(page);
      if (!(await flushed(response, STALLED_HEARTBEATS * heartbeatMs))) return "slow_reader";
      if (isOver) return null;
      const kept = feed.after(cursor.position, EVENTS_PAGE);
      if (kept?.length === 0) {
        // Nothing can come between the look and this: events are given out synchronously.
        isLive = true;
        wasLive = true;
        return null;
      }
      // Whoever cannot keep up with what is in memory must not cost the database anything.
      if (kept === null && wasLive) return "slow_reader";
      page = kept ?? (await feed.read(cursor));
    }
    return "expired";
  }

  function beat(): void {
    void stream.stillValid().then(
      (isValid) => isValid || end("unauthenticated"),
      (error: unknown) => logger.debug({ error: messageOf(error) }, "a watcher's credentials not checked"),
    );
    if (response.writableLength > 0) {
      // There is something to read already. A client that took none of it since the last time is gone.
      const taken = (response.socket?.bytesWritten ?? 0) - response.writableLength;
      if (taken === takenAtLastBeat) end("slow_reader");
      takenAtLastBeat = taken;
      return;
    }
    takenAtLastBeat = null;
    // Of a quiet selector too, the token must not grow too old.
    if (cursor.position > announced) response.write(frame("bookmark", cursor, {}));
    else response.write(": heartbeat\n\n");
    announced = cursor.position;
  }

  follow(stream.beginning.events);
}

function frame(event: string, cursor: EventCursor, data: object): string {
  return `id: ${formatToken(cursor)}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
}

/** Waits until the kernel has taken all that was written. False when that takes too long. */
function flushed(response: ServerResponse, limitMs: number): Promise<boolean> {
  if (response.writableLength === 0) return Promise.resolve(true);
  return new Promise((resolve) => {
    const settle = (isFlushed: boolean): void => {
      clearTimeout(timer);
      response.off("close", onClose);
      resolve(isFlushed);
    };
    const onClose = (): void => settle(true);
    const timer = setTimeout(() => settle(false), limitMs);
    response.once("close", onClose);
    // `drain` does not come for what was corked; the callback of a write does. A lone colon is a comment.
    response.write(":\n\n", () => settle(true));
  });
}
