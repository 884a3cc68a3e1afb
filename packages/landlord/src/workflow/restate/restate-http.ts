/** HTTP to a Restate server: ingress and admin, with keep-alive, time limits and typed failures. */
import { Agent, request } from "undici";
import { messageOf } from "../../domain/errors.ts";
import { EngineRejectedError, EngineUnavailableError } from "../provider.ts";

export interface RestateHttpSettings {
  /** Ingress, e.g. http://127.0.0.1:8080 */
  readonly ingressUrl: string;
  /** Admin API, e.g. http://127.0.0.1:9070 */
  readonly adminUrl: string;
  /** Sent as Bearer to both; null for none. */
  readonly authToken: string | null;
  readonly requestTimeoutMs: number;
}

export interface RestateResponse {
  readonly status: number;
  readonly body: unknown;
  /** The failure is the execution's own, not one of the API (header x-restate-error-source). */
  readonly fromInvocation: boolean;
}

export interface RestateCall {
  readonly base: "ingress" | "admin";
  readonly method: "GET" | "POST" | "PATCH";
  readonly path: string;
  readonly body?: unknown;
  readonly signal: AbortSignal;
  /** Statuses other than 2xx that are answers, not errors. */
  readonly accept?: readonly number[];
  /** Wait until `signal` aborts instead of for the request timeout. */
  readonly unlimited?: boolean;
}

const SOCKETS_FOR_CALLS = 64;
const ERROR_TEXT_LIMIT = 500;
/** Largest answer read: a batch of statuses or one result. */
const RESPONSE_LIMIT_BYTES = 16 * 1024 * 1024;
const UNAVAILABLE_STATUSES = new Set([401, 403, 408, 425, 429, 500, 502, 503, 504]);

export interface RestateHttp {
  /** @throws EngineUnavailableError, EngineRejectedError */
  call(params: RestateCall): Promise<RestateResponse>;
  close(): Promise<void>;
}

export function createRestateHttp(settings: RestateHttpSettings): RestateHttp {
  const calls = new Agent({ connections: SOCKETS_FOR_CALLS, keepAliveTimeout: 30_000 });
  // An attached completion holds its socket for as long as its job runs; calls must not queue behind it.
  const attached = new Agent({ headersTimeout: 0, bodyTimeout: 0, keepAliveTimeout: 30_000 });
  const baseUrls = {
    ingress: settings.ingressUrl.replace(/\/+$/, ""),
    admin: settings.adminUrl.replace(/\/+$/, ""),
  };

  async function call(params: RestateCall): Promise<RestateResponse> {
    const url = `${baseUrls[params.base]}${params.path}`;
    const headers: Record<string, string> = { accept: "application/json" };
    if (params.body !== undefined) headers["content-type"] = "application/json";
    if (settings.authToken !== null) headers["authorization"] = `Bearer ${settings.authToken}`;
    let status: number;
    let text: string;
    let fromInvocation: boolean;
    try {
      const response = await request(url, {
        method: params.method,
        headers,
        body:
          params.body === undefined
            ? null
            : typeof params.body === "string"
              ? params.body
              : JSON.stringify(params.body),
        signal: params.signal,
        // Limits of the connection pool cost less than a signal of its own for each call.
        ...(params.unlimited
          ? {}
          : { headersTimeout: settings.requestTimeoutMs, bodyTimeout: settings.requestTimeoutMs }),
        dispatcher: params.unlimited ? attached : calls,
      });
      status = response.statusCode;
      fromInvocation = response.headers["x-restate-error-source"] === "invocation";
      text = await readBounded(response.body);
    } catch (error) {
      if (error instanceof EngineRejectedError) throw error;
      throw new EngineUnavailableError(
        "engine_unreachable",
        `Restate's ${params.base} at ${baseUrls[params.base]} does not answer: ${messageOf(error)}`,
        { cause: error },
      );
    }
    if (status < 300 || fromInvocation || params.accept?.includes(status)) {
      return { status, body: parse(text), fromInvocation };
    }
    throw failure(params, status, text);
  }

  return {
    call,
    async close() {
      await Promise.all([calls.destroy(), attached.destroy()]);
    },
  };
}

function failure(
  params: RestateCall,
  status: number,
  text: string,
): EngineUnavailableError | EngineRejectedError {
  const said = `${params.method} ${params.path} on Restate's ${params.base} answered ${status}: ${text.slice(0, ERROR_TEXT_LIMIT)}`;
  if (status === 401 || status === 403) {
    return new EngineUnavailableError("engine_unauthorized", `${said}. Check workflow.restate.auth_token.`);
  }
  return UNAVAILABLE_STATUSES.has(status)
    ? new EngineUnavailableError("engine_unavailable", said)
    : new EngineRejectedError("engine_rejected", said);
}

async function readBounded(body: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > RESPONSE_LIMIT_BYTES) {
      throw new EngineRejectedError("engine_answer_too_large", "Restate's answer is larger than 16 MiB.");
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function parse(text: string): unknown {
  if (text === "") return null;
  try {
    return JSON.parse(text) as unknown;
  } catch {
    // Some failures are plain text; they are shown, never interpreted.
    return text;
  }
}
