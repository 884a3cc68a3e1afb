/** Watching: server-sent events over fetch, resumed by themselves. */
import { ConnectionError, LandlordApiError, WatchExpiredError } from "./errors.ts";
import {
  backoffMs,
  createOpener,
  networkReason,
  sleep,
  type Opener,
  type TransportOptions,
} from "./transport.ts";
import type { TenantEvent } from "./types.ts";

export interface WatchOptions {
  /** The token of the last event that was handled, or `oldest`; without it: from now on. */
  readonly after?: string | undefined;
  /** Label selector, such as `env=prod,tier!=free`. */
  readonly selector?: string | undefined;
  /** Only this tenant's, by uuid or by the name that it had then. */
  readonly tenant?: string | undefined;
  /** Called with each connection's first token: what happens from there on will be seen. */
  readonly onOpen?: ((token: string) => void) | undefined;
  /** Called when a connection broke or could not be made, before the next is tried. */
  readonly onInterrupted?: ((error: Error | null, retryInMs: number) => void) | undefined;
  /** Ends the watch. */
  readonly signal?: AbortSignal | undefined;
}

const PATH = "/v1/events";
const MEDIA_TYPE = "text/event-stream";
/** As long as the server has not said. */
const HEARTBEAT_MS = 15_000;
/** Silence for so many heartbeats is a connection that broke without a word. */
const SILENT_HEARTBEATS = 2.5;
const RECONNECT_MAX_MS = 10_000;
/** An event with all the labels that a tenant may have is far below. */
const MESSAGE_LIMIT = 4 * 1024 * 1024;
const GOOD_FOR_RETRY: readonly number[] = [408, 425, 429];

/**
 * Yields every transition once, in order of each tenant. A connection that breaks is made again after the last token,
 * with growing pauses or the one that the server asks for. Ends when the signal aborts.
 *
 * @throws WatchExpiredError when there is no way to go on; LandlordApiError for any other refusal; ConnectionError
 * when not even the first connection came about, after the client's retries
 */
export async function* watch(
  connection: TransportOptions,
  options: WatchOptions = {},
): AsyncGenerator<TenantEvent, void, undefined> {
  const { signal, selector, tenant } = options;
  const open = createOpener(connection);
  let after = options.after;
  let isOpened = false;
  for (let failures = 0; ;) {
    let broken: Error | null = null;
    const messages = receive(open, { after, selector, tenant }, signal);
    try {
      for (;;) {
        const { message, error } = await next(messages);
        if (message === null) {
          broken = error;
          break;
        }
        if (message.id !== null) after = message.id;
        if (message.event === "hello") {
          isOpened = true;
          failures = 0;
          options.onOpen?.(message.id ?? "");
        } else if (message.event === "transition") {
          yield { ...(JSON.parse(message.data) as Omit<TenantEvent, "token">), token: message.id ?? "" };
        }
      }
    } finally {
      await messages.return();
    }
    if (signal?.aborted === true) return;
    if (broken !== null) {
      failures += 1;
      if (!isWorthAnotherTry(broken)) throw broken;
      if (!isOpened && failures > (connection.retries ?? 2)) throw broken;
    }
    const asked = broken instanceof LandlordApiError ? broken.retryAfterMs : null;
    const pauseMs = asked ?? Math.min(backoffMs(Math.max(failures, 1)), RECONNECT_MAX_MS);
    options.onInterrupted?.(broken, pauseMs);
    try {
      await sleep(pauseMs, signal);
    } catch {
      // Only the signal ends a pause early.
      return;
    }
  }
}

function isWorthAnotherTry(error: Error): boolean {
  if (error instanceof ConnectionError) return true;
  return error instanceof LandlordApiError && (error.status >= 500 || GOOD_FOR_RETRY.includes(error.status));
}

/** The next message, or why there is none: null for an orderly end. */
async function next(
  messages: AsyncGenerator<Message, void, undefined>,
): Promise<{ readonly message: Message | null; readonly error: Error | null }> {
  try {
    const { value } = await messages.next();
    return { message: value ?? null, error: null };
  } catch (error) {
    return { message: null, error: error as Error };
  }
}

interface Message {
  readonly event: string;
  readonly data: string;
  readonly id: string | null;
}

/** The messages of one connection. */
async function* receive(
  open: Opener,
  query: Readonly<Record<string, string | undefined>>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Message, void, undefined> {
  const hangUp = new AbortController();
  const own = signal === undefined ? hangUp.signal : AbortSignal.any([hangUp.signal, signal]);
  try {
    let response: Response;
    try {
      response = await open({
        path: PATH,
        query,
        accept: `${MEDIA_TYPE}, application/problem+json`,
        signal: own,
      });
    } catch (error) {
      if (error instanceof LandlordApiError && error.status === 410)
        throw new WatchExpiredError(error.code, error.message, error);
      throw error;
    }
    if (response.body === null || response.headers.get("content-type")?.startsWith(MEDIA_TYPE) !== true) {
      throw notEvents(response);
    }
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let silenceMs = HEARTBEAT_MS * SILENT_HEARTBEATS;
    for (let rest = ""; ;) {
      const chunk = await readWithin(reader, silenceMs, response.url);
      if (chunk === null) return;
      // What comes before an empty line is a message; a piece without one goes on in the next chunk.
      const blocks = (rest + chunk).split(/\r\n\r\n|\n\n|\r\r/);
      rest = blocks.pop() ?? "";
      if (rest.length > MESSAGE_LIMIT) throw notEvents(response);
      for (const block of blocks) {
        const message = parseMessage(block);
        if (message.event === "hello") silenceMs = heartbeatOf(message) * SILENT_HEARTBEATS;
        yield message;
      }
    }
  } finally {
    hangUp.abort();
  }
}

async function readWithin(
  reader: ReadableStreamDefaultReader<string>,
  limitMs: number,
  url: string,
): Promise<string | null> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const silence = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new ConnectionError("timeout", url, `silence for ${limitMs} ms`, undefined)),
      limitMs,
    );
  });
  try {
    const { done, value } = await Promise.race([reader.read(), silence]);
    return done ? null : value;
  } catch (error) {
    if (error instanceof ConnectionError) throw error;
    throw new ConnectionError("unreachable", url, networkReason(error), error);
  } finally {
    clearTimeout(timer);
  }
}

/** A block of lines (WHATWG HTML, section 9.2.6). Comments and unknown fields leave an empty message. */
function parseMessage(block: string): Message {
  let event = "message";
  let id: string | null = null;
  const data: string[] = [];
  for (const line of block.split(/\r\n|\n|\r/)) {
    const [, field, value = ""] = /^([^:]+)(?:: ?(.*))?$/s.exec(line) ?? [];
    if (field === "event") event = value;
    else if (field === "id") id = value;
    else if (field === "data") data.push(value);
  }
  return { event, id, data: data.join("\n") };
}

function heartbeatOf({ data }: Message): number {
  const { heartbeat_ms: heartbeatMs } = JSON.parse(data) as { heartbeat_ms?: unknown };
  return typeof heartbeatMs === "number" && heartbeatMs > 0 ? heartbeatMs : HEARTBEAT_MS;
}

function notEvents(response: Response): LandlordApiError {
  return new LandlordApiError(
    "unexpected_answer",
    `${response.url} did not answer with events. Check that this is the address of a Landlord API.`,
    { status: response.status },
  );
}
