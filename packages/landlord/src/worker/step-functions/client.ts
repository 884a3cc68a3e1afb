/** AWS's SDK for a worker, loaded when the worker starts. Long polls have connections of their own. */
import type { SFN } from "@aws-sdk/client-sfn";

export interface StepFunctionsWorkerConnection {
  readonly region: string;
  /** Another endpoint than the region's own; null for that. */
  readonly endpoint: string | null;
  /** A role to take on; null for the identity that the SDK's default chain finds. */
  readonly assumeRole: {
    readonly roleArn: string;
    readonly externalId: string | null;
    readonly sessionName: string;
  } | null;
}

export interface StepFunctionsWorkerClients {
  /** Registration, heartbeats and answers. */
  readonly calls: SFN;
  /** Long polls. */
  readonly polls: SFN;
}

const CONNECT_TIMEOUT_MS = 3_000;
const SDK_ATTEMPTS = 3;

/** @param limits how many calls and polls may be under way at once */
export async function connect(
  settings: StepFunctionsWorkerConnection,
  limits: { readonly calls: number; readonly polls: number },
): Promise<StepFunctionsWorkerClients> {
  const { SFN } = await import("@aws-sdk/client-sfn");
  const { assumeRole, endpoint, region } = settings;
  const credentials =
    assumeRole === null
      ? {}
      : {
          credentials: (await import("@aws-sdk/credential-providers")).fromTemporaryCredentials({
            params: {
              RoleArn: assumeRole.roleArn,
              RoleSessionName: assumeRole.sessionName,
              ...(assumeRole.externalId === null ? {} : { ExternalId: assumeRole.externalId }),
            },
            clientConfig: { region },
          }),
        };
  const create = (maxSockets: number, maxAttempts: number): SFN =>
    new SFN({
      region,
      ...(endpoint === null ? {} : { endpoint }),
      ...credentials,
      maxAttempts,
      requestHandler: {
        connectionTimeout: CONNECT_TIMEOUT_MS,
        httpAgent: { maxSockets },
        httpsAgent: { maxSockets },
      },
    });
  // A poll is repeated by its loop, which knows whether the worker still wants it.
  return { calls: create(limits.calls, SDK_ATTEMPTS), polls: create(limits.polls, 1) };
}

/** By these the engine says that a task is not this worker's any more: stopped, timed out, or given to another. */
const LOST_TASK = new Set(["TaskTimedOut", "TaskDoesNotExist", "InvalidToken"]);

export function isLostTask(error: unknown): boolean {
  return error instanceof Error && LOST_TASK.has(error.name);
}
