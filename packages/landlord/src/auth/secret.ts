/** Secrets of keys: random, so that their plain SHA-256 is as hard to turn back as they are to guess. */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";

const PREFIX = "ll_";
const SECRET_BYTES = 32;
const SHAPE = /^ll_[A-Za-z0-9_-]{43}$/;

/** `ll_` and 256 random bits in base64url. The prefix lets scanners for leaked secrets find it. */
export function newSecret(): string {
  return `${PREFIX}${randomBytes(SECRET_BYTES).toString("base64url")}`;
}

export function isKeyShaped(text: string): boolean {
  return SHAPE.test(text);
}

/** All that is ever stored of a secret, or looked up by. */
export function hashSecret(secret: string): Buffer {
  return createHash("sha256").update(secret).digest();
}

/** In a time that tells nothing of where they differ. */
export function isSameSecret(a: string, b: string): boolean {
  return timingSafeEqual(hashSecret(a), hashSecret(b));
}
