/** A container's output. Docker mixes both streams in frames: kind, three zeros, length, bytes. */
import type { Readable } from "node:stream";
import type { Engine } from "./engine.ts";
import { hasStatus } from "./errors.ts";

const HEADER_BYTES = 8;
/** More lines than any tail asks for; the daemon keeps at most two files of `log_limit_bytes`. */
const MAX_LINES = 10_000;

/** The newest output, at most `tailBytes` bytes of UTF-8. A container that is gone, or going, has none. */
export async function tailLogs(
  engine: Engine,
  id: string,
  { tailBytes, signal }: { readonly tailBytes: number; readonly signal: AbortSignal },
): Promise<string> {
  let stream: Readable;
  try {
    stream = await engine.logs(id, { lines: Math.min(MAX_LINES, tailBytes), signal });
  } catch (error) {
    if (hasStatus(error, 404, 409)) return "";
    throw error;
  }
  let tail = Buffer.alloc(0);
  const keep = (payload: Buffer): void => {
    tail = Buffer.concat([tail, payload]);
    // Cut only now and then, for each cut copies.
    if (tail.length > 2 * tailBytes + 65_536) tail = Buffer.from(tail.subarray(-tailBytes));
  };
  let rest = Buffer.alloc(0);
  for await (const chunk of stream) {
    rest = Buffer.concat([rest, chunk as Buffer]);
    while (rest.length >= HEADER_BYTES) {
      const length = rest.readUInt32BE(4);
      if (rest.length < HEADER_BYTES + length) break;
      keep(rest.subarray(HEADER_BYTES, HEADER_BYTES + length));
      rest = rest.subarray(HEADER_BYTES + length);
    }
  }
  return textOf(tail.subarray(Math.max(0, tail.length - tailBytes)), tailBytes);
}

/** The last lines for a message: at most `lines` lines and 2,000 characters, in one line of text. */
export async function lastLines(
  engine: Engine,
  id: string,
  { lines, signal }: { readonly lines: number; readonly signal: AbortSignal },
): Promise<string> {
  const text = await tailLogs(engine, id, { tailBytes: 8_192, signal });
  return text.trimEnd().split("\n").slice(-lines).join(" | ").slice(-2_000);
}

function textOf(bytes: Buffer, tailBytes: number): string {
  // A cut inside a character would show as a replacement character, which is longer than what it stands for.
  let start = 0;
  while (start < Math.min(3, bytes.length) && ((bytes[start] ?? 0) & 0xc0) === 0x80) start += 1;
  const text = bytes.subarray(start).toString("utf8");
  return Buffer.byteLength(text) <= tailBytes
    ? text
    : Buffer.from(text).subarray(0, tailBytes).toString("utf8");
}
