/** The key pair with which Restate signs its requests, so that a worker serves nobody else. */
import { createPublicKey, generateKeyPairSync } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";

const ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/** The raw key is the last 32 bytes of its DER form (RFC 8410). */
const RAW_KEY_BYTES = 32;

export interface RequestIdentity {
  /** PEM, private to this user. */
  readonly privateKeyFile: string;
  /** `publickeyv1_…`, as workers take it. */
  readonly publicKey: string;
}

/** The pair of this folder; made at its first start. */
export async function requestIdentity(privateKeyFile: string): Promise<RequestIdentity> {
  let pem = await readFile(privateKeyFile, "utf8").catch(() => null);
  if (pem === null) {
    pem = generateKeyPairSync("ed25519").privateKey.export({ type: "pkcs8", format: "pem" }).toString();
    await writeFile(privateKeyFile, pem, { mode: 0o600 });
  }
  const raw = createPublicKey(pem).export({ type: "spki", format: "der" }).subarray(-RAW_KEY_BYTES);
  return { privateKeyFile, publicKey: `publickeyv1_${base58(raw)}` };
}

/** Bitcoin's base 58, which Restate uses for keys. */
function base58(bytes: Uint8Array): string {
  let value = BigInt(`0x${Buffer.from(bytes).toString("hex")}`);
  let text = "";
  for (; value > 0n; value /= 58n) text = ALPHABET.charAt(Number(value % 58n)) + text;
  const leadingZeros = bytes.findIndex((byte) => byte !== 0);
  return "1".repeat(Math.max(0, leadingZeros)) + text;
}
