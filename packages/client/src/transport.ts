/** One HTTP call: time limit, retries, and errors with a type. */
import { ConnectionError, LandlordApiError, LandlordClientError } from "./errors.ts";
import type { Problem } from "./types.ts";

const RETRIED_STATUSES: readonly number[] = [502, 503, 504];
const RETRY_BASE_MS = 200;
/** A server that asks for a longer pause is asked again by people, not by us. */
const RETRY_MAX_MS = 10_000;

export interface TransportOptions {
  /** Where the API is; with or without `/v1` at its end. */
  readonly baseUrl: string;
  /** Sent as a bearer token. */
  readonly token?: string | undefined;
  /** The global one by default. */
  readonly fetch?: typeof globalThis.fetch | undefined;
  /** Limit of each attempt in milliseconds; 15000 by default. */
  readonly timeoutMs?: number | undefined;
  /** Further attempts of what can be repeated safely; 2 by default. */
  readonly retries?: number | undefined;
}

export interface ApiRequest {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** Below the base, with its version: "/v1/tenants". */
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>> | undefined;
  readonly body?: unknown;
  /** To send it twice is to send it once, although its method does not say so. */
  readonly isRepeatable?: boolean;
  readonly headers?: Readonly<Record<string, string>>;
  /** Overrides the client's. */
  readonly retries?: number | undefined;
  /** Statuses whose body is an answer although they are no 2xx. */
  readonly accept?: readonly number[];
  /** How long the server was asked to hold the answer back; comes on top of the limit of each attempt. */
  readonly heldBackMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Answers the decoded body; throws LandlordApiError, ConnectionError, or the signal's reason. */
export type Transport = <Answer>(request: ApiRequest) => Promise<Answer>;

export function createTransport(options: TransportOptions): Transport {
  const base = baseOf(options.baseUrl);
  const { token, timeoutMs = 15_000, retries = 2 } = options;
  const fetch = options.fetch ?? globalThis.fetch;

  async function attempt(url: string, request: ApiRequest): Promise<{ response: Response; text: string }> {
    const limitMs = timeoutMs + (request.heldBackMs ?? 0);
    const limit = AbortSignal.timeout(limitMs);
    const signal = request.signal === undefined ? limit : AbortSignal.any([limit, request.signal]);
    try {
      const response = await fetch(url, {
        method: request.method,
        headers: {
          accept: "application/json, application/problem+json",
          ...(request.body === undefined ? {} : { "content-type": "application/json" }),
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
          ...request.headers,
        },
        ...(request.body === undefined ? {} : { body: JSON.stringify(request.body) }),
        signal,
      });
      return { response, text: await response.text() };
    } catch (error) {
      request.signal?.throwIfAborted();
      if (limit.aborted) throw new ConnectionError("timeout", url, `nothing within ${limitMs} ms`, error);
      throw new ConnectionError("unreachable", url, networkReason(error), error);
    }
  }

  return async <Answer>(request: ApiRequest): Promise<Answer> => {
    const url = base + request.path + queryOf(request.query);
    const repeatable =
      request.method === "GET" ||
      request.isRepeatable === true ||
      request.headers?.["idempotency-key"] !== undefined;
    const attempts = repeatable ? 1 + (request.retries ?? retries) : 1;
    for (let number = 1; ; number += 1) {
      try {
        const { response, text } = await attempt(url, request);
        const accepted = response.ok || request.accept?.includes(response.status) === true;
        if (!accepted && RETRIED_STATUSES.includes(response.status) && number < attempts) {
          await sleep(retryAfterMs(response) ?? backoffMs(number), request.signal);
          continue;
        }
        if (!accepted) throw apiError(response, text);
        return decode<Answer>(response, text, url);
      } catch (error) {
        if (!(error instanceof ConnectionError) || number >= attempts) throw error;
        await sleep(backoffMs(number), request.signal);
      }
    }
  };
}

/** Answers once the head of a 2xx is there; its body may go on for as long as it likes, until the signal aborts. */
export type Opener = (request: {
  readonly path: string;
  readonly query: ApiRequest["query"];
  readonly accept: string;
  readonly signal: AbortSignal;
}) => Promise<Response>;

/** Throws as a Transport does, at once: nothing is retried. */
export function createOpener(options: TransportOptions): Opener {
  const base = baseOf(options.baseUrl);
  const { token, timeoutMs = 15_000 } = options;
  const fetch = options.fetch ?? globalThis.fetch;
  return async ({ path, query, accept, signal }) => {
    const url = base + path + queryOf(query);
    const limit = new AbortController();
    const timer = setTimeout(() => limit.abort(), timeoutMs);
    try {
      const response = await fetch(url, {
        headers: { accept, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
        signal: AbortSignal.any([limit.signal, signal]),
      });
      if (!response.ok) throw apiError(response, await response.text());
      return response;
    } catch (error) {
      if (error instanceof LandlordApiError) throw error;
      signal.throwIfAborted();
      if (limit.signal.aborted)
        throw new ConnectionError("timeout", url, `nothing within ${timeoutMs} ms`, error);
      throw new ConnectionError("unreachable", url, networkReason(error), error);
    } finally {
      clearTimeout(timer);
    }
  };
}

function baseOf(url: string): string {
  if (!/^https?:\/\//i.test(url) || !URL.canParse(url)) {
    throw new LandlordClientError(
      "invalid_base_url",
      `"${url}" is no base URL: write one like http://127.0.0.1:8081`,
    );
  }
  return url.replace(/\/+$/, "").replace(/\/v1$/, "");
}

function queryOf(query: ApiRequest["query"]): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {}))
    if (value !== undefined) search.set(name, String(value));
  return search.size === 0 ? "" : `?${search.toString()}`;
}

export function networkReason(error: unknown): string {
  const cause =
    error instanceof Error ? (error.cause as { code?: string; message?: string } | undefined) : undefined;
  return cause?.code ?? (cause?.message || (error instanceof Error ? error.message : String(error)));
}

function decode<Answer>(response: Response, text: string, url: string): Answer {
  if (text === "") return undefined as Answer;
  try {
    return JSON.parse(text) as Answer;
  } catch {
    throw new LandlordApiError(
      "unexpected_answer",
      `${url} did not answer with JSON. Check that this is the address of a Landlord API.`,
      { status: response.status },
    );
  }
}

function apiError(response: Response, text: string): LandlordApiError {
  let problem: Partial<Problem> = {};
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed === "object" && parsed !== null) problem = parsed;
  } catch {
    // A proxy in between answers in its own format; the status is all there is to say then.
  }
  const fallback = `HTTP ${response.status}${response.statusText === "" ? "" : ` ${response.statusText}`}`;
  return new LandlordApiError(
    problem.code ?? `http_${response.status}`,
    problem.error ?? problem.detail ?? fallback,
    {
      status: response.status,
      details: Array.isArray(problem.details) ? problem.details.map(String) : [],
      requestId: problem.request_id ?? response.headers.get("x-request-id"),
      retryAfterMs: retryAfterMs(response),
    },
  );
}

/** The pause after so many failures in a row, with jitter; doubles with each. */
export function backoffMs(attempt: number): number {
  return RETRY_BASE_MS * 2 ** (attempt - 1) * (0.5 + Math.random() / 2);
}

function retryAfterMs(response: Response): number | null {
  const header = response.headers.get("retry-after");
  if (header === null || header === "") return null;
  const wait = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return Number.isNaN(wait) ? null : Math.min(Math.max(wait, 0), RETRY_MAX_MS);
}

/** Waits; throws the signal's reason when that aborts first. */
export function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) return reject(signal.reason as Error);
    const onAbort = () => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}
