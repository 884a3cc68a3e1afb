/** The key that `landlord dev` makes for its folder. */
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createPayloadCipher } from "../../src/contract/payload-cipher.ts";
import { payloadKey } from "../../src/start/dev/payload-key.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "landlord-key-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test("is made once, works, and is for this user's eyes only", async () => {
  const file = join(folder, "payload-key");
  const key = await payloadKey(file);
  expect(await payloadKey(file)).toBe(key);
  const cipher = createPayloadCipher([key]);
  expect(cipher.open(cipher.seal("x"))).toBe("x");
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect((await readFile(file, "utf8")).trim()).toBe(key);
  expect(await payloadKey(join(folder, "another"))).not.toBe(key);
});

test("a file that holds none is said, and not replaced", async () => {
  const file = join(folder, "payload-key");
  await writeFile(file, "half a ke");
  await expect(payloadKey(file)).rejects.toThrow(expect.objectContaining({ code: "invalid_payload_key" }));
  expect(await readFile(file, "utf8")).toBe("half a ke");
});
