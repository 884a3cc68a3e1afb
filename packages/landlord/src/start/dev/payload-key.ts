/** The key with which server and worker of this folder encrypt what travels through Restate. */
import { randomBytes } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { parsePayloadKey } from "../../contract/payload-cipher.ts";
import { LandlordError } from "../../domain/errors.ts";

const KEY_BYTES = 32;

/** Made at the first start, readable by this user only. @throws LandlordError when the file holds something else */
export async function payloadKey(file: string): Promise<string> {
  let text: string;
  try {
    text = (await readFile(file, "utf8")).trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    text = randomBytes(KEY_BYTES).toString("base64url");
    await writeFile(file, `${text}\n`, { mode: 0o600, flag: "wx" });
  }
  if (parsePayloadKey(text) === null) {
    throw new LandlordError(
      "invalid_payload_key",
      `${file} does not hold a key. Remove it, and a new one is made; jobs in flight are tried again.`,
    );
  }
  return text;
}
