/** Requests as fast-check draws them: from the schemas of an operation, and then, for some, made wrong. */
import fc from "fast-check";
import { anyText, anyValue, arbitraryOf } from "./arbitraries.ts";
import type { ApiDocument, DocumentOperation } from "./document.ts";

/** One request to an operation, before it is fitted to the tenants, keys and workers that there are. */
export interface Draw {
  readonly isAdversarial: boolean;
  /** By name; undefined for one that is left out. */
  readonly parameters: Readonly<Record<string, string | undefined>>;
  readonly body: unknown;
  readonly mutation: number;
  readonly text: string;
  readonly value: unknown;
  /** For whatever else has to be chosen. */
  readonly roll: number;
}

export interface WireRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
}

/** What is sent, as long as nothing is wrong with it. */
export interface Intended {
  readonly operation: DocumentOperation;
  readonly parameters: Readonly<Record<string, string | undefined>>;
  readonly body: unknown;
}

const ADVERSARIAL_PERCENT = 33;
const LARGE_BODY_BYTES = 1_100_000;
const DEEP = 150;

export function drawOf(operation: DocumentOperation, document: ApiDocument): fc.Arbitrary<Draw> {
  const resolve = document.resolve.bind(document);
  const parameters = fc.record(
    Object.fromEntries(
      operation.parameters.map(({ name, required, schema }) => {
        const given = arbitraryOf(schema, resolve).map(String);
        return [name, required === true ? given : fc.option(given, { nil: undefined })];
      }),
    ),
  );
  return fc.record({
    isAdversarial: fc.nat(99).map((percent) => percent < ADVERSARIAL_PERCENT),
    parameters,
    body: operation.body === null ? fc.constant(undefined) : arbitraryOf(operation.body, resolve),
    mutation: fc.nat(1_000),
    text: anyText,
    value: anyValue,
    roll: fc.nat(1_000_000),
  });
}

export function wireRequest({ operation, parameters, body }: Intended): WireRequest {
  const inQuery = new URLSearchParams();
  const headers: Record<string, string> = {};
  let { path } = operation;
  for (const { in: place, name } of operation.parameters) {
    const value = parameters[name];
    if (value === undefined) continue;
    if (place === "path") path = path.replace(`{${name}}`, encoded(value));
    else if (place === "query") inQuery.set(name, wellFormed(value));
    else headers[name] = headerText(value);
  }
  const query = inQuery.toString();
  if (body !== undefined) headers["content-type"] = "application/json";
  return {
    method: operation.method,
    path: query === "" ? path : `${path}?${query}`,
    headers,
    body: body === undefined ? undefined : JSON.stringify(body),
  };
}

/** Makes one thing of a request wrong, or at least strange. */
export function spoiled(intended: Intended, draw: Draw): WireRequest {
  const { operation, parameters, body } = intended;
  const { mutation, text, value, roll } = draw;
  const names = operation.parameters.map(({ name }) => name);
  const some = names[roll % Math.max(1, names.length)];
  const sent = wireRequest(intended);
  const withBody = (raw: string, type = "application/json"): WireRequest => ({
    ...sent,
    headers: { ...sent.headers, "content-type": type },
    body: sent.method === "GET" ? undefined : raw,
  });
  const json = JSON.stringify(body ?? {});
  const mutations: readonly (() => WireRequest)[] = [
    () =>
      some === undefined
        ? sent
        : wireRequest({ ...intended, parameters: { ...parameters, [some]: text || "?" } }),
    () => ({
      ...sent,
      path: `${sent.path}${sent.path.includes("?") ? "&" : "?"}${encoded(text)}=${encoded(text)}`,
    }),
    () => withBody(stringified(value)),
    () => withBody(stringified(withOneChanged(body, roll, value))),
    () => withBody(stringified({ ...(isRecord(body) ? body : {}), [text]: value })),
    () => withBody(cut(json, roll, text)),
    () => withBody(json, headerText(text) || "text/plain"),
    () => ({ ...sent, headers: { ...sent.headers, "content-type": "application/json" }, body: undefined }),
    () =>
      withBody(
        roll % 10 === 0 ? JSON.stringify({ compute_config: { a: "x".repeat(LARGE_BODY_BYTES) } }) : json,
      ),
    () => withBody(`{"compute_config":${'{"a":'.repeat(DEEP)}1${"}".repeat(DEEP)}}`),
    () => ({
      ...sent,
      headers: { ...sent.headers, "if-match": headerText(text), "if-plan": headerText(text) },
    }),
    () => ({
      ...sent,
      headers: { ...sent.headers, "if-plan": "0".repeat(64), "x-request-id": headerText(text) },
    }),
    () => ({ ...sent, path: sent.path.replace(/\/[^/?]+(?=$|\?)/, roll % 2 === 0 ? "/%zz" : "/%00") }),
    () => ({
      ...sent,
      headers: { ...sent.headers, origin: headerText(text), "idempotency-key": headerText(text) },
    }),
    () =>
      wireRequest({
        ...intended,
        parameters: { ...parameters, page_token: encoded(text), after: text || "?" },
      }),
  ];
  return (mutations[mutation % mutations.length] as () => WireRequest)();
}

const wellFormed = (text: string): string => text.replace(/\p{Surrogate}/gu, "?");
const encoded = (text: string): string => encodeURIComponent(wellFormed(text));
/** What an HTTP client can send. */
const headerText = (text: string): string => text.replace(/[^\t\x20-\x7e\x80-\xff]/g, "?").trim();

function stringified(value: unknown): string {
  // What JSON cannot say, such as a function or a lone undefined, becomes nothing.
  return (
    JSON.stringify(value, (_key, inner: unknown) => (typeof inner === "bigint" ? Number(inner) : inner)) ?? ""
  );
}

function withOneChanged(body: unknown, roll: number, value: unknown): unknown {
  if (!isRecord(body)) return value;
  const keys = Object.keys(body);
  const key = keys[roll % Math.max(1, keys.length)];
  return key === undefined ? value : { ...body, [key]: value };
}

function cut(whole: string, roll: number, text: string): string {
  const from = roll % (whole.length + 1);
  return `${whole.slice(0, from)}${text}${whole.slice(from + (roll % 40))}`;
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
