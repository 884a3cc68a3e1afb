/** The API as its OpenAPI document describes it, and a count of what was asked of it. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { request, type Dispatcher } from "undici";
import { ROOT } from "./dev.ts";

interface Parameter {
  readonly in: "path" | "query" | "header";
  readonly name: string;
}

interface DeclaredResponse {
  readonly "x-problem-codes"?: readonly string[];
}

export interface Operation {
  readonly id: string;
  readonly method: string;
  readonly path: string;
  readonly parameters: readonly Parameter[];
  readonly hasBody: boolean;
  readonly isPublic: boolean;
  readonly roles: readonly string[];
  readonly responses: Readonly<Record<string, DeclaredResponse>>;
}

interface RawOperation {
  readonly operationId: string;
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: object;
  readonly security?: readonly object[];
  readonly "x-roles"?: readonly string[];
  readonly responses: Readonly<Record<string, DeclaredResponse>>;
}

const DOCUMENT = JSON.parse(readFileSync(join(ROOT, "openapi/openapi.json"), "utf8")) as {
  readonly paths: Readonly<Record<string, Readonly<Record<string, RawOperation>>>>;
};

export const OPERATIONS: readonly Operation[] = Object.entries(DOCUMENT.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, raw]) => ({
    id: raw.operationId,
    method: method.toUpperCase(),
    path,
    parameters: raw.parameters ?? [],
    hasBody: raw.requestBody !== undefined,
    isPublic: raw.security?.length === 0,
    roles: raw["x-roles"] ?? [],
    responses: raw.responses,
  })),
);

function operationOf(id: string): Operation {
  const found = OPERATIONS.find((operation) => operation.id === id);
  if (found === undefined) throw new Error(`the document has no operation ${id}`);
  return found;
}

/** Operations that may answer the code. */
export function operationsWith(code: string): readonly Operation[] {
  return OPERATIONS.filter(({ responses }) =>
    Object.entries(responses).some(
      ([status, response]) => status !== "default" && response["x-problem-codes"]?.includes(code) === true,
    ),
  );
}

/** One thing that the document says an operation may answer; the code is null for what is no problem. */
export interface Documented {
  readonly operation: string;
  readonly status: number;
  readonly code: string | null;
}

export const keyOf = ({ operation, status, code }: Documented): string =>
  `${operation} ${status} ${code ?? "-"}`;

export const DOCUMENTED: readonly Documented[] = OPERATIONS.flatMap(({ id, responses }) =>
  Object.entries(responses)
    .filter(([status]) => status !== "default")
    .flatMap(([status, response]) =>
      (response["x-problem-codes"] ?? [null]).map((code) => ({
        operation: id,
        status: Number(status),
        code,
      })),
    ),
);

/** Of no operation: what the answer `default` may be. */
export const DEFAULT_CODES: readonly string[] =
  OPERATIONS[0]?.responses["default"]?.["x-problem-codes"] ?? [];

export interface Call {
  readonly parameters?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** Sent as it is, instead of the body. */
  readonly raw?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly token?: string;
}

export interface Answer {
  readonly status: number;
  readonly code: string | null;
  readonly body: Readonly<Record<string, unknown>>;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

export interface Client {
  call(operation: string, call?: Call): Promise<Answer>;
}

/** Every answer goes into `seen`; one that the document does not know throws. */
export function clientOf(url: string, seen: Set<string>, defaults: Call = {}): Client {
  return {
    async call(id, call = {}) {
      const operation = operationOf(id);
      const { sent, path } = requestOf(operation, {
        ...defaults,
        ...call,
        headers: { ...addressHeader(), ...defaults.headers, ...call.headers },
      });
      const response = await request(`${url}${path}`, sent);
      const type = String(response.headers["content-type"] ?? "");
      const isStream = type.startsWith("text/event-stream");
      const text = isStream ? await firstOf(response.body) : await response.body.text();
      const body = (
        /json/.test(type) && !type.includes("ndjson") ? JSON.parse(text) : { text }
      ) as Answer["body"];
      const isProblem = type.startsWith("application/problem+json");
      const code = isProblem ? String(body["code"]) : null;
      const key = keyOf({ operation: id, status: response.statusCode, code });
      if (!DOCUMENTED.some((documented) => keyOf(documented) === key))
        throw new Error(`${key} is not in the document: ${text.slice(0, 1_000)}`);
      seen.add(key);
      return { status: response.statusCode, code, body, headers: response.headers };
    },
  };
}

type Sent = Pick<Dispatcher.RequestOptions, "method" | "headers" | "body">;

/** With undici's `request`: `fetch` would not let a test choose the header Host. */
function requestOf(operation: Operation, call: Call): { readonly sent: Sent; readonly path: string } {
  const { parameters = {}, body, raw, token } = call;
  const headers: Record<string, string> = { ...call.headers };
  const query = new URLSearchParams();
  let { path } = operation;
  for (const [name, value] of Object.entries(parameters)) {
    const place = operation.parameters.find((parameter) => parameter.name === name)?.in ?? "query";
    if (place === "path") path = path.replace(`{${name}}`, encodeURIComponent(value));
    else if (place === "header") headers[name] = value;
    else query.set(name, value);
  }
  if (token !== undefined) headers["authorization"] = `Bearer ${token}`;
  const text = raw ?? (body === undefined ? undefined : JSON.stringify(body));
  if (text !== undefined) headers["content-type"] ??= "application/json";
  const sent: Sent = { method: operation.method, headers, body: text ?? null };
  const search = query.toString();
  return { sent, path: search === "" ? path : `${path}?${search}` };
}

let calls = 0;

/** As from an address of its own: what fails on purpose must not be taken for an attack. */
function addressHeader(): Record<string, string> {
  calls += 1;
  return { "x-forwarded-for": `198.51.${Math.floor(calls / 250) % 250}.${calls % 250}` };
}

/** A stream of events has no end. */
async function firstOf(body: AsyncIterable<Buffer>): Promise<string> {
  for await (const chunk of body) return chunk.toString();
  return "";
}
