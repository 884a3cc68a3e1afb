/** Reads server-sent events without our client: what any other client would see. */
import type { z } from "zod";
import type { tenantEventSchema } from "../../src/contract/events.ts";
import { eventually } from "../support/eventually.ts";

export type TenantEvent = z.infer<typeof tenantEventSchema>;

export interface Received {
  readonly event: string;
  readonly id: string;
  readonly data: string;
}

export interface EventReader {
  readonly response: Response;
  /** Everything so far, comments left out. */
  readonly received: readonly Received[];
  readonly comments: number;
  /** The server ended the stream. */
  readonly ended: boolean;
  transitions(): readonly TenantEvent[];
  /** The token to resume from. */
  lastId(): string;
  until(look: (reader: EventReader) => boolean, what: string, timeoutMs?: number): Promise<void>;
  close(): void;
}

/** Opens a stream; what is no stream is an error with the status. */
export async function openEvents(
  url: string,
  query: Readonly<Record<string, string>> = {},
  headers: Record<string, string> = {},
): Promise<EventReader> {
  const hangUp = new AbortController();
  const search = new URLSearchParams(query).toString();
  const response = await fetch(`${url}/v1/events${search === "" ? "" : `?${search}`}`, {
    headers,
    signal: hangUp.signal,
  });
  if (!response.ok || response.body === null) throw new Error(`${response.status} ${await response.text()}`);
  const received: Received[] = [];
  let ended = false;
  let comments = 0;

  async function read(body: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    let rest = "";
    try {
      for await (const chunk of body) {
        const blocks = (rest + decoder.decode(chunk, { stream: true })).split("\n\n");
        rest = blocks.pop() ?? "";
        for (const block of blocks) {
          if (block.startsWith(": ")) comments += 1;
          else if (block === ":") continue;
          else received.push(parse(block));
        }
      }
      ended = true;
    } catch {
      ended = !hangUp.signal.aborted;
    }
  }
  void read(response.body);

  const reader: EventReader = {
    response,
    received,
    get comments() {
      return comments;
    },
    get ended() {
      return ended;
    },
    transitions: () =>
      received
        .filter(({ event }) => event === "transition")
        .map(({ data }) => JSON.parse(data) as TenantEvent),
    lastId: () => received.at(-1)?.id ?? "",
    async until(look, what, timeoutMs = 10_000) {
      await eventually(() => look(reader), { what, timeoutMs }).catch((error: unknown) => {
        const seen = received.map(({ event }) => event).join(" ");
        throw new Error(`${String(error)}; received ${received.length}: ${seen.slice(0, 500)}`, {
          cause: error,
        });
      });
    },
    close: () => hangUp.abort(),
  };
  return reader;
}

function parse(block: string): Received {
  const field = (name: string): string =>
    block
      .split("\n")
      .filter((line) => line.startsWith(`${name}: `))
      .map((line) => line.slice(name.length + 2))
      .join("\n");
  return { event: field("event"), id: field("id"), data: field("data") };
}
