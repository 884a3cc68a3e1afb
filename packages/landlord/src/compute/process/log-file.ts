/** A tenant's log: appended to by the workload itself, cut by whoever looks at it. */
import { randomUUID } from "node:crypto";
import { type FileHandle, open, rename, rm, stat, truncate, writeFile } from "node:fs/promises";

/**
 * When the file is larger than `limitBytes`, keeps its newest `limitBytes` as `<file>.1` and empties it. The
 * workload has it open in append mode and goes on at the start; what it writes in between is lost.
 */
export async function cutLog(file: string, limitBytes: number): Promise<void> {
  const size = await sizeOf(file);
  if (size <= limitBytes) return;
  const newest = await readTail(file, limitBytes);
  const draft = `${file}.${randomUUID()}.new`;
  await writeFile(draft, newest, { mode: 0o600 });
  // Another worker may have cut it meanwhile; what it kept must not be replaced by the little that came since.
  if ((await sizeOf(file)) <= limitBytes) return rm(draft, { force: true });
  await rename(draft, `${file}.1`);
  await truncate(file, 0);
}

/** The newest output, at most `tailBytes` bytes of UTF-8, of the log and its older part. */
export async function tailLog(file: string, tailBytes: number): Promise<string> {
  const newest = await readTail(file, tailBytes);
  const missing = tailBytes - newest.length;
  const older = missing > 0 ? await readTail(`${file}.1`, missing) : Buffer.alloc(0);
  const bytes = Buffer.concat([older, newest]);
  // A cut inside a character would show as a replacement character, which is longer than what it stands for.
  let start = 0;
  while (start < Math.min(3, bytes.length) && ((bytes[start] ?? 0) & 0xc0) === 0x80) start += 1;
  const text = bytes.subarray(start).toString("utf8");
  return Buffer.byteLength(text) <= tailBytes
    ? text
    : Buffer.from(text).subarray(0, tailBytes).toString("utf8");
}

/** The last lines of the log for an error message: at most `lines` lines and 2,000 characters. */
export async function lastLines(file: string, lines: number): Promise<string> {
  const text = await tailLog(file, 8192);
  return text.trimEnd().split("\n").slice(-lines).join("\n").slice(-2000);
}

async function sizeOf(file: string): Promise<number> {
  return (await stat(file).catch(() => null))?.size ?? 0;
}

async function readTail(file: string, bytes: number): Promise<Buffer> {
  let handle: FileHandle;
  try {
    handle = await open(file, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return Buffer.alloc(0);
    throw error;
  }
  try {
    const { size } = await handle.stat();
    const length = Math.min(size, bytes);
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, size - length);
    return buffer.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}
