/** Errors as answers: one renderer, RFC 9457 plus the members that older clients read. */
import type { FastifyReply, FastifyRequest } from "fastify";
import { STATUS_CODES } from "node:http";
import { hasZodFastifySchemaValidationErrors } from "fastify-type-provider-zod";
import { LandlordError, UnavailableError, messageOf } from "../domain/errors.ts";
import { isProblemCode, type ProblemCode } from "../contract/problem-codes.ts";
import type { Problem } from "../contract/system.ts";
import type { Logger } from "../telemetry/logger.ts";

/** An error that knows the status of its answer. */
export class HttpError extends LandlordError {
  readonly status: number;
  declare readonly code: ProblemCode;

  constructor(status: number, code: ProblemCode, message: string, details: readonly string[] = []) {
    super(code, message, { details });
    this.status = status;
  }
}

export const PROBLEM_CONTENT_TYPE = "application/problem+json";
const RETRY_AFTER_SECONDS = 2;

export function buildProblem(
  request: Pick<FastifyRequest, "id" | "url">,
  status: number,
  code: ProblemCode,
  message: string,
  details: readonly string[] = [],
): Problem {
  return {
    type: `urn:landlord:problem:${code}`,
    title: STATUS_CODES[status] ?? "Error",
    status,
    detail: message,
    instance: request.url,
    code,
    error: message,
    details: [...details],
    request_id: request.id,
  };
}

/** Turns anything thrown into an answer. What is not ours becomes a 500 that says nothing of its inside. */
export function sendError(
  error: unknown,
  request: FastifyRequest,
  reply: FastifyReply,
  logger: Logger,
): void {
  const { status, code, message, details } = classify(error);
  const fields = {
    request_id: request.id,
    method: request.method,
    path: request.url,
    code,
    error: messageOf(error),
  };
  if (status === 503) {
    logger.warn(fields, "request refused: a dependency is unavailable");
    void reply.header("retry-after", RETRY_AFTER_SECONDS);
  } else if (status >= 500) {
    logger.error({ ...fields, stack: error instanceof Error ? error.stack : undefined }, "request failed");
  }
  void reply
    .status(status)
    .header("content-type", PROBLEM_CONTENT_TYPE)
    // Errors of the framework itself come before the hook that echoes it.
    .header("x-request-id", request.id)
    .serializer((value: unknown) => JSON.stringify(value))
    .send(buildProblem(request, status, code, message, details));
}

interface Classified {
  readonly status: number;
  readonly code: ProblemCode;
  readonly message: string;
  readonly details: readonly string[];
}

function classify(error: unknown): Classified {
  if (error instanceof HttpError) {
    return { status: error.status, code: error.code, message: error.message, details: error.details };
  }
  if (error instanceof UnavailableError && isProblemCode(error.code)) {
    return { status: 503, code: error.code, message: error.message, details: [] };
  }
  if (hasZodFastifySchemaValidationErrors(error)) {
    const where = error.validationContext ?? "request";
    const details = error.validation.flatMap((entry) => validationDetails(entry));
    return { status: 400, code: "invalid_request", message: `The ${where} is not valid.`, details };
  }
  const code = typeof error === "object" && error !== null && "code" in error ? String(error.code) : "";
  const known = FASTIFY_ERRORS[code];
  if (known !== undefined) return { ...known, details: [messageOf(error)] };
  if (error instanceof SyntaxError && "statusCode" in error)
    return { ...MALFORMED, details: [messageOf(error)] };
  return {
    status: 500,
    code: "internal",
    message: "Something went wrong inside Landlord; the log has the details under this request id.",
    details: [],
  };
}

const MALFORMED = { status: 400, code: "malformed_json", message: "The body is not valid JSON." } as const;

const FASTIFY_ERRORS: Readonly<Record<string, Omit<Classified, "details">>> = {
  FST_ERR_CTP_INVALID_JSON_BODY: MALFORMED,
  FST_ERR_CTP_EMPTY_JSON_BODY: { status: 400, code: "malformed_json", message: "The body is empty." },
  FST_ERR_CTP_BODY_TOO_LARGE: { status: 413, code: "body_too_large", message: "The body is too large." },
  FST_ERR_CTP_INVALID_MEDIA_TYPE: {
    status: 415,
    code: "unsupported_media_type",
    message: "Send application/json (or application/merge-patch+json for PATCH).",
  },
  FST_ERR_BAD_URL: {
    status: 400,
    code: "invalid_request",
    message: "The path is not valid percent-encoded UTF-8.",
  },
  FST_ERR_MAX_PARAM_LENGTH: {
    status: 400,
    code: "invalid_request",
    message: "A part of the path is too long.",
  },
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: {
    status: 400,
    code: "invalid_request",
    message: "Content-Length is wrong.",
  },
};

/** One sentence a problem, with a JSON pointer in front. */
function validationDetails(entry: {
  readonly instancePath: string;
  readonly message?: string | undefined;
  readonly params?: unknown;
}): readonly string[] {
  const pointer = entry.instancePath === "" ? "/" : entry.instancePath;
  return [`${pointer}: ${entry.message ?? "is not valid"}`];
}
