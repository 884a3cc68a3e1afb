/** How often the store is asked for keys, and what is kept of its answers. */
import { beforeEach, expect, test } from "vitest";
import { UnavailableError } from "../../src/domain/errors.ts";
import { createKeyVerifier, type Key, type KeyStore, type KeyVerifier } from "../../src/auth/key-verifier.ts";
import { hashSecret, newSecret } from "../../src/auth/secret.ts";
import { silentLogger } from "../../src/telemetry/logger.ts";

const SECRET = newSecret();
const KEY: Key = { id: "k", name: "ci", role: "viewer", scope: "team=a", expiresAt: null };

let nowMs: number;
let known: Map<string, { token: Key; expiresInMs: number | null }>;
let lookups: number;
let touches: string[][];
let isAway: boolean;
let firstUses: string[];
let verifier: KeyVerifier;

beforeEach(() => {
  [nowMs, lookups, touches, isAway, firstUses] = [0, 0, [], false, []];
  known = new Map([[hashSecret(SECRET).toString("hex"), { token: KEY, expiresInMs: null }]]);
  const keys: KeyStore = {
    async findToken({ secretHash }) {
      lookups += 1;
      await Promise.resolve();
      if (isAway) throw new UnavailableError("database_unavailable", "away");
      return known.get(Buffer.from(secretHash).toString("hex")) ?? null;
    },
    touchTokens({ ids }) {
      touches.push([...ids]);
      return Promise.resolve(touches.length === 1 ? ids : []);
    },
  };
  verifier = createKeyVerifier({
    keys,
    onFirstUse: ({ id }) => firstUses.push(id),
    logger: silentLogger,
    nowMs: () => nowMs,
  });
});

const refused = expect.objectContaining({ code: "unauthenticated" });

test("many requests at once are one look-up, and those of the next seconds none", async () => {
  const identities = await Promise.all(Array.from({ length: 100 }, () => verifier.verify(SECRET)));
  expect(identities[99]?.principal).toEqual({
    name: "ci",
    role: "viewer",
    scope: [{ kind: "in", key: "team", values: ["a"] }],
  });
  nowMs = 4_900;
  await verifier.verify(SECRET);
  expect(lookups).toBe(1);
  nowMs = 5_100;
  await verifier.verify(SECRET);
  expect(lookups).toBe(2);
});

test("a secret that nobody has is not looked up again at once, and its number is bounded", async () => {
  const wrong = newSecret();
  for (let count = 0; count < 5; count++) await expect(verifier.verify(wrong)).rejects.toThrow(refused);
  expect(lookups).toBe(1);
  await verifier.verify(SECRET);
  for (let count = 0; count < 10_100; count++) await verifier.verify(newSecret()).catch(() => undefined);
  const before = lookups;
  // The first guess was pushed out by the others; whoever belongs here was not.
  await expect(verifier.verify(wrong)).rejects.toThrow(refused);
  expect(lookups).toBe(before + 1);
  await verifier.verify(SECRET);
  expect(lookups).toBe(before + 1);
});

test("a key that was revoked ends with the cache, and so does what lives longer than a request", async () => {
  const identity = await verifier.verify(SECRET);
  expect(verifier.wasGood(SECRET)).toBe(true);
  known.clear();
  expect(await identity.stillValid()).toBe(true);
  nowMs = 5_000;
  expect(await identity.stillValid()).toBe(false);
  await expect(verifier.verify(SECRET)).rejects.toThrow(refused);
  expect(verifier.wasGood(SECRET)).toBe(false);
});

test("a store that is away refuses nobody: it is no answer about a key", async () => {
  const identity = await verifier.verify(SECRET);
  isAway = true;
  nowMs = 5_000;
  await expect(verifier.verify(SECRET)).rejects.toThrow(UnavailableError);
  expect(await identity.stillValid()).toBe(true);
  isAway = false;
  expect((await verifier.verify(SECRET)).principal.name).toBe("ci");
});

test("an expiry counts to the moment, within the cache", async () => {
  known.set(hashSecret(SECRET).toString("hex"), { token: KEY, expiresInMs: 1_000 });
  await verifier.verify(SECRET);
  nowMs = 999;
  await verifier.verify(SECRET);
  nowMs = 1_000;
  await expect(verifier.verify(SECRET)).rejects.toThrow(expect.objectContaining({ code: "token_expired" }));
  expect(lookups).toBe(1);
});

test("its use is noted once a minute, and the first one is told", async () => {
  for (nowMs = 0; nowMs < 60_000; nowMs += 100) {
    await verifier.verify(SECRET);
    // Writes what is to be written, as it would be every second.
    if (nowMs % 1_000 === 0) await verifier.stop();
  }
  expect(touches).toEqual([["k"]]);
  expect(firstUses).toEqual(["k"]);
  nowMs = 60_100;
  await verifier.verify(SECRET);
  await verifier.stop();
  expect(touches).toEqual([["k"], ["k"]]);
  expect(firstUses).toEqual(["k"]);
});
