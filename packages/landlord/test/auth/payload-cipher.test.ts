import { createHash, randomBytes } from "node:crypto";
import { compactDecrypt, CompactEncrypt, decodeProtectedHeader } from "jose";
import fc from "fast-check";
import { expect, it, test } from "vitest";
import { createPayloadCipher, parsePayloadKey } from "../../src/contract/payload-cipher.ts";
import { newKey } from "./sealed-harness.ts";

it("gives back what was sealed, whatever it is", () => {
  const cipher = createPayloadCipher([newKey()]);
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), (text) => {
      expect(cipher.open(cipher.seal(text))).toBe(text);
    }),
  );
});

it("gives the same bytes for the same text, and another IV for any other", () => {
  const key = newKey();
  const text = '{"password":"hunter2"}';
  expect(createPayloadCipher([key]).seal(text)).toBe(createPayloadCipher([key]).seal(text));
  const ivs = Array.from({ length: 2_000 }, (_, index) =>
    createPayloadCipher([key]).seal(`${text}${index}`).split(".").at(2),
  );
  expect(new Set(ivs).size).toBe(2_000);
  expect(createPayloadCipher([newKey()]).seal(text)).not.toBe(createPayloadCipher([key]).seal(text));
});

it("is a compact JWE that another implementation reads with the key, and writes", async () => {
  const key = newKey();
  const raw = Buffer.from(key, "base64url");
  const cipher = createPayloadCipher([key]);
  const jwe = cipher.seal("für alle");
  const { plaintext, protectedHeader } = await compactDecrypt(jwe, raw);
  expect(new TextDecoder().decode(plaintext)).toBe("für alle");
  expect(protectedHeader).toMatchObject({ alg: "dir", enc: "A256GCM" });
  const { kid } = decodeProtectedHeader(jwe);
  const theirs = await new CompactEncrypt(new TextEncoder().encode("auch so"))
    .setProtectedHeader({ alg: "dir", enc: "A256GCM", kid: String(kid) })
    .encrypt(raw);
  expect(cipher.open(theirs)).toBe("auch so");
});

it("names the key by an id that is not the key's own hash", () => {
  const key = newKey();
  const { kid } = decodeProtectedHeader(createPayloadCipher([key]).seal("x"));
  expect(kid).toHaveLength(11);
  const plainHash = createHash("sha256").update(Buffer.from(key, "base64url")).digest("base64url");
  expect(plainHash.startsWith(String(kid))).toBe(false);
});

test("rotation: the newest key seals, each key opens what it sealed", () => {
  const [before, after] = [newKey(), newKey()];
  const old = createPayloadCipher([before]);
  const both = createPayloadCipher([after, before]);
  expect(both.open(old.seal("from before"))).toBe("from before");
  expect(createPayloadCipher([after]).open(both.seal("now"))).toBe("now");
  expect(() => old.open(both.seal("now"))).toThrow(expect.objectContaining({ code: "payload_unreadable" }));
  expect(() => old.open(both.seal("now"))).toThrow(/workflow\.encryption_keys/);
});

it("refuses whatever was altered: header, IV, text, tag, length", () => {
  const cipher = createPayloadCipher([newKey()]);
  const parts = cipher.seal('{"replicas":1}').split(".");
  for (const part of [0, 2, 3, 4]) {
    const text = parts[part] ?? "";
    const first = text.startsWith("A") ? "B" : "A";
    const altered = parts.with(part, first + text.slice(1)).join(".");
    expect(() => cipher.open(altered), `part ${part}`).toThrow(
      expect.objectContaining({ code: "payload_unreadable" }),
    );
  }
  // A tag of four bytes would be guessed in 2^32 tries.
  expect(() => cipher.open(parts.with(4, (parts[4] ?? "").slice(0, 6)).join("."))).toThrow(/altered/);
  for (const text of ["", "a.b.c.d.e", "no", [...parts, ""].join("."), parts.with(1, "AA").join(".")]) {
    expect(() => cipher.open(text), text).toThrow(expect.objectContaining({ code: "payload_unreadable" }));
  }
});

it("takes only keys of 32 bytes in base64url", () => {
  for (const text of [
    "",
    "short",
    randomBytes(31).toString("base64url"),
    randomBytes(33).toString("base64url"),
  ])
    expect(parsePayloadKey(text)).toBeNull();
  expect(() => createPayloadCipher(["short"])).toThrow(
    expect.objectContaining({ code: "invalid_payload_key" }),
  );
  expect(() => createPayloadCipher([])).toThrow(expect.objectContaining({ code: "no_payload_key" }));
  expect(parsePayloadKey(newKey())).toHaveLength(32);
});
