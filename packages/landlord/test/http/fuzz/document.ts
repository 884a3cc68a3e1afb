/** The OpenAPI document, asked two things: what may be sent, and was that answer allowed. */
import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import { isProblemCode, PROBLEM_CODES } from "../../../src/contract/problem-codes.ts";
import type { Schema } from "./arbitraries.ts";

interface MediaType {
  readonly schema: Schema;
}

interface DeclaredResponse {
  readonly content?: Readonly<Record<string, MediaType>>;
  readonly "x-problem-codes"?: readonly string[];
}

export interface Parameter {
  readonly in: "path" | "query" | "header";
  readonly name: string;
  readonly required?: boolean;
  readonly schema: Schema;
}

export interface DocumentOperation {
  readonly id: string;
  readonly method: string;
  readonly path: string;
  readonly parameters: readonly Parameter[];
  readonly body: Schema | null;
  readonly responses: Readonly<Record<string, DeclaredResponse>>;
}

interface RawOperation {
  readonly operationId: string;
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: { readonly content: Readonly<Record<string, MediaType>> };
  readonly responses: Readonly<Record<string, DeclaredResponse>>;
}

export interface RawDocument {
  readonly paths: Readonly<Record<string, Readonly<Record<string, RawOperation>>>>;
}

/** What came back, as far as the document speaks of it. */
export interface Received {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Parsed when it is JSON. */
  readonly body: unknown;
}

export interface ApiDocument {
  readonly operations: readonly DocumentOperation[];
  resolve(reference: string): Schema;
  /** What is wrong with an answer; null for nothing. */
  complaint(operation: DocumentOperation, received: Received): string | null;
}

const PROBLEM_MEDIA_TYPE = "application/problem+json";

export function readDocument(raw: RawDocument): ApiDocument {
  const ajv = new Ajv2020({ strict: false, allErrors: false, validateFormats: false });
  ajv.addSchema({ ...raw, $id: "api" });
  const validators = new Map<string, ValidateFunction>();
  const operations = Object.entries(raw.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, { operationId, parameters = [], requestBody, responses }]) => ({
      id: operationId,
      method: method.toUpperCase(),
      path,
      parameters,
      body: requestBody?.content["application/json"]?.schema ?? null,
      responses,
    })),
  );

  function validatorOf(operation: DocumentOperation, status: string, mediaType: string): ValidateFunction {
    const steps = ["paths", operation.path, operation.method.toLowerCase(), "responses", status, "content"];
    const pointer = [...steps, mediaType, "schema"].map(segment).join("/");
    let validate = validators.get(pointer);
    if (validate === undefined) {
      validate = ajv.compile({ $ref: `api#/${pointer}` });
      validators.set(pointer, validate);
    }
    return validate;
  }

  function complaint(operation: DocumentOperation, { status, headers, body }: Received): string | null {
    const key = Object.hasOwn(operation.responses, String(status)) ? String(status) : "default";
    const declared = operation.responses[key];
    if (declared === undefined) return `status ${status} is not declared`;
    const mediaType = String(headers["content-type"] ?? "").split(";")[0] ?? "";
    if (declared.content === undefined)
      return body === "" ? null : `${status} is declared without a body, and one came`;
    if (declared.content[mediaType] === undefined) return `${status} came as "${mediaType}"`;
    if (mediaType.endsWith("json") && mediaType !== "application/x-ndjson") {
      const validate = validatorOf(operation, key, mediaType);
      if (!validate(body)) return `${status}: ${ajv.errorsText(validate.errors)}`;
    }
    if (mediaType !== PROBLEM_MEDIA_TYPE) return null;
    // A strange path may be one of no operation.
    const codes = [declared, operation.responses["default"]].flatMap(
      (each) => each?.["x-problem-codes"] ?? [],
    );
    return problemComplaint(codes, status, headers, body);
  }

  return {
    operations,
    resolve(reference) {
      const found = reference
        .slice(2)
        .split("/")
        .reduce<unknown>((at, key) => (at as Record<string, unknown>)[key], raw);
      return found as Schema;
    },
    complaint,
  };
}

function problemComplaint(
  codes: readonly string[],
  status: number,
  headers: Received["headers"],
  body: unknown,
): string | null {
  const problem = body as { readonly code: string; readonly status: number };
  if (!isProblemCode(problem.code) || !codes.includes(problem.code))
    return `${status} came with the code ${problem.code}, which is not declared for it`;
  if (problem.status !== status || !PROBLEM_CODES[problem.code].statuses.includes(status))
    return `${status} came with the status ${problem.status} and the code ${problem.code}`;
  const mayRepeat = status === 429 || status === 503;
  return mayRepeat && headers["retry-after"] === undefined ? `${status} came without Retry-After` : null;
}

/** For a URI fragment. */
function segment(text: string): string {
  return encodeURIComponent(text.replaceAll("~", "~0").replaceAll("/", "~1"));
}
