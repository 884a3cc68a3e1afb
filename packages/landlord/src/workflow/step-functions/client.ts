/** Calls to Step Functions through AWS's SDK, which is loaded with the first call: with time limits and typed failures. */
import type { SFN, SFNClientConfig } from "@aws-sdk/client-sfn";
import { messageOf } from "../../domain/errors.ts";
import { EngineRejectedError, EngineUnavailableError } from "../provider.ts";

export interface StepFunctionsConnection {
  readonly region: string;
  /** Another endpoint than the region's own; null for that. */
  readonly endpoint: string | null;
  /** A role to take on; null for the identity that the SDK's default chain finds. */
  readonly assumeRole: {
    readonly roleArn: string;
    readonly externalId: string | null;
    readonly sessionName: string;
  } | null;
  /** Of one call, the SDK's retries included. */
  readonly requestTimeoutMs: number;
}

export interface StepFunctionsClient {
  /** @throws EngineUnavailableError, EngineRejectedError; what AWS called the failure is in `awsErrorName` */
  call<Answer>(
    send: (sfn: SFN, options: { readonly abortSignal: AbortSignal }) => Promise<Answer>,
    signal: AbortSignal,
  ): Promise<Answer>;
  close(): void;
}

const SOCKETS = 64;
const CONNECT_TIMEOUT_MS = 3_000;
/** Of one call; what lasts longer is the caller's to repeat. */
const SDK_ATTEMPTS = 3;
const MESSAGE_LIMIT = 1_000;

const THROTTLED = new Set(["ThrottlingException", "TooManyRequestsException", "Throttling", "SlowDown"]);
const UNAUTHORIZED = new Set([
  "AccessDeniedException",
  "CredentialsProviderError",
  "ExpiredToken",
  "ExpiredTokenException",
  "IncompleteSignature",
  "InvalidClientTokenId",
  "InvalidSignatureException",
  "KmsAccessDeniedException",
  "MissingAuthenticationToken",
  "NotAuthorized",
  "OptInRequired",
  "TokenProviderError",
  "UnrecognizedClientException",
]);
/** Refusals of which time, or a free slot, is the cure. */
const PASSING = new Set(["ExecutionLimitExceeded", "StateMachineDeleting", "ConflictException"]);

export function createStepFunctionsClient(settings: StepFunctionsConnection): StepFunctionsClient {
  let connection: Promise<SFN> | null = null;
  return {
    async call(send, signal) {
      connection ??= connect(settings);
      try {
        const sfn = await connection;
        const abortSignal = AbortSignal.any([signal, AbortSignal.timeout(settings.requestTimeoutMs)]);
        return await send(sfn, { abortSignal });
      } catch (error) {
        throw failure(error, settings);
      }
    },
    close() {
      void connection?.then((sfn) => sfn.destroy()).catch(() => undefined);
    },
  };
}

async function connect(settings: StepFunctionsConnection): Promise<SFN> {
  const { SFN } = await import("@aws-sdk/client-sfn");
  const { assumeRole, endpoint, region } = settings;
  return new SFN({
    region,
    ...(endpoint === null ? {} : { endpoint }),
    ...(assumeRole === null ? {} : { credentials: await credentialsOf(assumeRole, region) }),
    maxAttempts: SDK_ATTEMPTS,
    requestHandler: {
      connectionTimeout: CONNECT_TIMEOUT_MS,
      httpAgent: { maxSockets: SOCKETS },
      httpsAgent: { maxSockets: SOCKETS },
    },
  });
}

async function credentialsOf(
  role: NonNullable<StepFunctionsConnection["assumeRole"]>,
  region: string,
): Promise<NonNullable<SFNClientConfig["credentials"]>> {
  const { fromTemporaryCredentials } = await import("@aws-sdk/credential-providers");
  return fromTemporaryCredentials({
    params: {
      RoleArn: role.roleArn,
      RoleSessionName: role.sessionName,
      ...(role.externalId === null ? {} : { ExternalId: role.externalId }),
    },
    clientConfig: { region },
  });
}

/** What AWS called the failure behind one of our errors; null for none. */
export function awsErrorName(error: unknown): string | null {
  return error instanceof Error && error.cause instanceof Error ? error.cause.name : null;
}

export function isThrottled(error: unknown): boolean {
  return error instanceof EngineUnavailableError && error.code === "engine_throttled";
}

function failure(
  error: unknown,
  settings: StepFunctionsConnection,
): EngineUnavailableError | EngineRejectedError {
  const name = error instanceof Error ? error.name : "";
  const text = `${name}: ${messageOf(error)}`.slice(0, MESSAGE_LIMIT);
  const options = { cause: error };
  if (THROTTLED.has(name)) {
    return new EngineUnavailableError(
      "engine_throttled",
      `Step Functions throttles this account: ${text}. Raise its API quotas if this lasts.`,
      options,
    );
  }
  if (UNAUTHORIZED.has(name)) {
    return new EngineUnavailableError(
      "engine_unauthorized",
      `Step Functions refuses the server's identity: ${text}. Check its credentials, and its policy against docs/step-functions.md.`,
      options,
    );
  }
  const status = statusOf(error);
  if (status !== null && status >= 400 && status < 500 && !PASSING.has(name)) {
    return new EngineRejectedError("engine_rejected", `Step Functions refused: ${text}`, options);
  }
  return status === null
    ? new EngineUnavailableError(
        "engine_unreachable",
        `Step Functions at ${settings.endpoint ?? settings.region} does not answer: ${text}`,
        options,
      )
    : new EngineUnavailableError("engine_unavailable", `Step Functions cannot serve now: ${text}`, options);
}

/** The HTTP status of an answer of the service; null when there was none. */
function statusOf(error: unknown): number | null {
  if (typeof error !== "object" || error === null || !("$metadata" in error)) return null;
  const metadata = error.$metadata;
  if (typeof metadata !== "object" || metadata === null || !("httpStatusCode" in metadata)) return null;
  return typeof metadata.httpStatusCode === "number" ? metadata.httpStatusCode : null;
}
