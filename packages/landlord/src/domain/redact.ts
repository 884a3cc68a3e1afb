import { isJsonObject, pointerSegment } from "./json.ts";

/** What stands in the place of a secret wherever values are shown. */
export const REDACTED = "[redacted]";

const SECRET_WORDS = new Set([
  "password",
  "passwords",
  "passwd",
  "pwd",
  "pass",
  "passphrase",
  "secret",
  "secrets",
  "token",
  "tokens",
  "apikey",
  "credential",
  "credentials",
  "authorization",
  "cookie",
  "dsn",
]);
const SECRET_PHRASES = [
  ["api", "key"],
  ["access", "key"],
  ["account", "key"],
  ["private", "key"],
  ["signing", "key"],
  ["encryption", "key"],
  ["encryption", "keys"],
  ["shared", "key"],
  ["connection", "string"],
];
/** Secrets that are written without a separator: `PGPASSWORD`, `clientsecret`, `authtoken`. */
const SECRET_ENDING = /(?:password|passphrase|secret|token|apikey|privatekey|credentials?)$/;

/** Keys repeat from tenant to tenant; what was found out about the newest is kept. */
const KNOWN_KEYS_LIMIT = 1_000;
const KNOWN_KEY_LENGTH = 100;
const knownKeys = new Map<string, boolean>();

/** True when values under this key are to be hidden: `password`, `auth_token`, `apiKey`, `AWS_SECRET_ACCESS_KEY`. */
export function isSecretKey(key: string): boolean {
  const known = knownKeys.get(key);
  if (known !== undefined) return known;
  const isSecret = namesSecret(key);
  if (knownKeys.size >= KNOWN_KEYS_LIMIT) knownKeys.clear();
  if (key.length <= KNOWN_KEY_LENGTH) knownKeys.set(key, isSecret);
  return isSecret;
}

function namesSecret(key: string): boolean {
  const words = key
    .replace(/([a-z0-9])([A-Z])/g, "$1_$2")
    .replace(/([A-Z]+)([A-Z][a-z])/g, "$1_$2")
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter((word) => word !== "");
  if (words.some((word) => SECRET_WORDS.has(word) || SECRET_ENDING.test(word))) return true;
  return SECRET_PHRASES.some((phrase) =>
    words.some((_, start) => phrase.every((word, offset) => words[start + offset] === word)),
  );
}

/**
 * A copy of any JSON-like value without its secrets: what lies under a secret key, passwords inside URLs,
 * `NAME=value` strings and `{name, value}` pairs whose name is secret. Null and "" stay: they hide nothing.
 */
export function redact(value: unknown): unknown {
  if (typeof value === "string") return redactText(value);
  if (Array.isArray(value)) return value.map(redact);
  if (!isJsonObject(value)) return value;
  const isNamedSecret = typeof value["name"] === "string" && isSecretKey(value["name"]);
  return Object.fromEntries(
    Object.entries(value).map(([key, own]: [string, unknown]) => {
      const hidden = isSecretKey(key) || (isNamedSecret && key === "value");
      return [key, hidden && own !== null && own !== undefined && own !== "" ? REDACTED : redact(own)];
    }),
  );
}

/** Text without the passwords of URLs in it, and without the value of a `NAME=value` whose name is secret. */
export function redactText(text: string): string {
  // Without one of these it is neither an assignment nor a URL that says more than a place.
  if (!text.includes("=") && !text.includes("@")) return text;
  const assignment = /^(-{0,2})([A-Za-z_][\w.-]*)=(.+)$/s.exec(text);
  if (assignment !== null && isSecretKey(assignment[2] ?? "")) {
    return `${assignment[1]}${assignment[2]}=${REDACTED}`;
  }
  return (
    text
      // Up to the last @ before the path: a password that was not percent-encoded may hold one itself.
      .replace(/([a-z][a-z0-9+.-]*:\/\/[^\s/?#:@]*):[^\s/?#]+@/gi, `$1:${REDACTED}@`)
      .replace(/([?&;])([^=&;?\s]+)=([^&\s#]+)/g, (whole, mark: string, name: string) =>
        isSecretKey(name) ? `${mark}${name}=${REDACTED}` : whole,
      )
  );
}

/** A redacted value came back in a write, and there is nothing stored that it could stand for. */
export interface UnknownRedaction {
  readonly pointer: string;
}

/**
 * Puts stored secrets back where a client wrote the marker that it had been shown. Positions are paths; a list is
 * matched by index.
 */
export function restoreRedacted(
  value: unknown,
  stored: unknown,
  pointer = "",
): { readonly value: unknown; readonly unknown: readonly UnknownRedaction[] } {
  if (typeof value === "string" && value.includes(REDACTED)) {
    const hides = typeof stored === "string" && (value === REDACTED || redactText(stored) === value);
    return hides
      ? { value: stored, unknown: [] }
      : { value, unknown: [{ pointer: pointer === "" ? "/" : pointer }] };
  }
  if (Array.isArray(value)) {
    const from: readonly unknown[] = Array.isArray(stored) ? stored : [];
    const items = value.map((item, index) => restoreRedacted(item, from[index], `${pointer}/${index}`));
    return { value: items.map((item) => item.value), unknown: items.flatMap((item) => item.unknown) };
  }
  if (!isJsonObject(value)) return { value, unknown: [] };
  const from: Readonly<Record<string, unknown>> = isJsonObject(stored) ? stored : {};
  const members = Object.entries(value).map(
    ([key, own]) => [key, restoreRedacted(own, from[key], `${pointer}${pointerSegment(key)}`)] as const,
  );
  return {
    value: Object.fromEntries(members.map(([key, member]) => [key, member.value])),
    unknown: members.flatMap(([, member]) => member.unknown),
  };
}
