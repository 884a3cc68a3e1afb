/** What AWS says when it refuses, as errors with a code. */
import { messageOf } from "../../domain/errors.ts";
import { ComputeError } from "../provider.ts";

const MESSAGE_LIMIT = 1_000;

const UNAUTHORIZED = new Set([
  "AccessDenied",
  "AccessDeniedException",
  "CredentialsProviderError",
  "ExpiredToken",
  "ExpiredTokenException",
  "IncompleteSignature",
  "InvalidClientTokenId",
  "InvalidSignatureException",
  "MissingAuthenticationToken",
  "UnauthorizedOperation",
  "UnrecognizedClientException",
]);
const THROTTLED = new Set([
  "ThrottlingException",
  "Throttling",
  "TooManyRequestsException",
  "RequestLimitExceeded",
]);
/** Refusals of the request itself, which no repetition mends. */
const REJECTED = new Set([
  "ClientException",
  "InvalidParameterException",
  "ClusterNotFoundException",
  "PlatformUnknownException",
  "PlatformTaskDefinitionIncompatibilityException",
  "UnsupportedFeatureException",
  "ValidationException",
]);

export function aborted(): ComputeError {
  return new ComputeError("aborted", "The execution was cancelled before the provider was done.", {
    retryable: true,
  });
}

/** AWS's name of a failure, such as ClusterNotFoundException; "" for none. */
function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : "";
}

/** The service of this name exists, and was not made by the same request. */
export function isNameTaken(error: unknown): boolean {
  return /not idempotent|already exists/i.test(messageOf(error));
}

/** The service does not exist, or no longer. */
export function isGone(error: unknown): boolean {
  return nameOf(error) === "ServiceNotFoundException" || nameOf(error) === "ServiceNotActiveException";
}

/** The service is being deleted, and its name is not free yet. */
function isDraining(error: unknown): boolean {
  return /draining/i.test(messageOf(error));
}

/** For what is no matter of the desired state, such as a removal: everything may be mended. */
export function asRetryable(error: ComputeError): ComputeError {
  if (error.retryable) return error;
  return new ComputeError(error.code, error.message, {
    retryable: true,
    ...(error.providerError === null ? {} : { providerError: error.providerError }),
    cause: error,
  });
}

/** An identity that lacks a right may be given it without a change of the tenant: it is tried again. */
export function toComputeError(error: unknown, where: string): ComputeError {
  if (error instanceof ComputeError) return error;
  const name = nameOf(error);
  const words = `${name}: ${messageOf(error)}`.slice(0, MESSAGE_LIMIT);
  const fail = (code: string, message: string, retryable: boolean): ComputeError =>
    new ComputeError(code, message, { retryable, providerError: words, cause: error });
  if (UNAUTHORIZED.has(name)) {
    return fail(
      "aws_unauthorized",
      `AWS refuses the worker's identity in ${where}: ${words}. Check its credentials, and its policy against docs/ecs-compute.md.`,
      true,
    );
  }
  if (THROTTLED.has(name)) return fail("aws_throttled", `ECS throttles this account: ${words}.`, true);
  if (isDraining(error)) {
    return fail("service_draining", `The service of that name is still being deleted: ${words}.`, true);
  }
  if (/task ?definition/i.test(words) && REJECTED.has(name)) {
    return fail(
      "task_definition_invalid",
      `ECS does not take the task definition: ${words}. Change task_definition_arn.`,
      false,
    );
  }
  if (/service.linked role/i.test(words)) {
    return fail("aws_unauthorized", `ECS cannot use its own role in this account yet: ${words}.`, true);
  }
  if (name === "ClusterNotFoundException" || name === "ClusterNotActiveException") {
    return fail("cluster_not_found", `ECS has no such cluster in ${where}: ${words}.`, false);
  }
  if (REJECTED.has(name)) return fail("ecs_rejected", `ECS refused: ${words}. Change compute_config.`, false);
  return fail("compute_unreachable", `ECS in ${where} does not answer: ${words}. It is tried again.`, true);
}
