/**
 * Encryption of what travels through an engine: compact JWE (RFC 7516) with `dir` and `A256GCM` (RFC 7518), so that
 * any JOSE library can read it with the key.
 *
 * The same text gives the same bytes, because engines compare payloads (a repeated invoke must be the same input). So
 * the IV is no random number but an HMAC of header and text under a key of its own, as in SIV (RFC 5297): two texts get
 * the same IV only by a collision of 96 bits of HMAC-SHA-256, which is as unlikely as one of random IVs (NIST SP
 * 800-38D, section 8.2.2: below 2^32 payloads for each key). All that equal bytes tell is that a payload was repeated.
 */
import { createCipheriv, createDecipheriv, createHash, createHmac, hkdfSync } from "node:crypto";
import { LandlordError } from "../domain/errors.ts";

/** This process cannot read a payload: it has not the key, or the payload was altered. Another worker may have it. */
export class UnreadablePayloadError extends LandlordError {
  constructor(problem: string, cause?: unknown) {
    super("payload_unreadable", problem, { cause });
  }
}

export interface PayloadCipher {
  /** With the first key; with that of `like`, if it is here: whoever sealed that one can read this one. */
  seal(text: string, like?: string): string;
  /** With the key that the payload names. @throws UnreadablePayloadError */
  open(jwe: string): string;
}

const KEY_BYTES = 32;
const IV_BYTES = 12;
const TAG_BYTES = 16;
const KEY_ID_LENGTH = 11;

interface PayloadKey {
  readonly id: string;
  readonly content: Buffer;
  readonly iv: Buffer;
}

/** Null when the text is not 32 bytes in base64url. */
export function parsePayloadKey(text: string): Buffer | null {
  if (!/^[A-Za-z0-9_-]{43}=?$/.test(text)) return null;
  const bytes = Buffer.from(text, "base64url");
  return bytes.length === KEY_BYTES ? bytes : null;
}

/** @param keys 32 bytes in base64url each, at least one, the newest first: it seals, and every one of them opens */
export function createPayloadCipher(keys: readonly string[]): PayloadCipher {
  const known = keys.map(derive);
  const [newest] = known;
  if (newest === undefined) throw new LandlordError("no_payload_key", "A payload cipher needs a key.");
  const byId = new Map(known.map((key) => [key.id, key]));
  return {
    seal(text, like) {
      const key = (like === undefined ? null : byId.get(keyIdOf(like))) ?? newest;
      const protectedHeader = encode(JSON.stringify({ alg: "dir", enc: "A256GCM", kid: key.id }));
      const iv = createHmac("sha256", key.iv)
        .update(`${protectedHeader}.${text}`)
        .digest()
        .subarray(0, IV_BYTES);
      const cipher = createCipheriv("aes-256-gcm", key.content, iv, { authTagLength: TAG_BYTES });
      cipher.setAAD(Buffer.from(protectedHeader));
      const sealed = Buffer.concat([cipher.update(text, "utf8"), cipher.final()]);
      return [protectedHeader, "", encode(iv), encode(sealed), encode(cipher.getAuthTag())].join(".");
    },
    open(jwe) {
      const [header = "", key, iv = "", sealed = "", tag = "", ...rest] = jwe.split(".");
      const { alg, enc, kid } = headerOf(header);
      if (rest.length > 0 || key !== "" || alg !== "dir" || enc !== "A256GCM")
        throw new UnreadablePayloadError("The payload is not a JWE with dir and A256GCM.");
      const found = byId.get(String(kid));
      if (found === undefined) {
        throw new UnreadablePayloadError(
          `The payload is encrypted with the key ${String(kid)}, and this process has ${[...byId.keys()].join(", ")}: give it that key in workflow.encryption_keys.`,
        );
      }
      try {
        const nonce = Buffer.from(iv, "base64url");
        const decipher = createDecipheriv("aes-256-gcm", found.content, nonce, { authTagLength: TAG_BYTES });
        decipher.setAAD(Buffer.from(header));
        decipher.setAuthTag(Buffer.from(tag, "base64url"));
        return Buffer.concat([
          decipher.update(Buffer.from(sealed, "base64url")),
          decipher.final(),
        ]).toString();
      } catch (error) {
        throw new UnreadablePayloadError("The payload was altered on its way.", error);
      }
    },
  };
}

/** The id tells keys apart and gives nothing of them away. */
function derive(text: string): PayloadKey {
  const content = parsePayloadKey(text);
  if (content === null)
    throw new LandlordError("invalid_payload_key", "A payload key must be 32 bytes in base64url.");
  const iv = Buffer.from(hkdfSync("sha256", content, "", "landlord payload iv", KEY_BYTES));
  const id = createHash("sha256").update("landlord payload key id").update(content).digest("base64url");
  return { id: id.slice(0, KEY_ID_LENGTH), content, iv };
}

function encode(bytes: string | Buffer): string {
  return Buffer.from(bytes as string).toString("base64url");
}

function keyIdOf(jwe: string): string {
  return String(headerOf(jwe.split(".")[0] ?? "")["kid"]);
}

function headerOf(text: string): Readonly<Record<string, unknown>> {
  try {
    return JSON.parse(Buffer.from(text, "base64url").toString()) as Readonly<Record<string, unknown>>;
  } catch (error) {
    throw new UnreadablePayloadError("The payload is not a JWE.", error);
  }
}
