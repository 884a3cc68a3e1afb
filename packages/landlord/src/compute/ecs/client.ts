/** Calls to ECS through AWS's SDK, one client for each region and role, loaded with the first call. */
import type { ECS, ECSClientConfig } from "@aws-sdk/client-ecs";
import { ComputeError } from "../provider.ts";
import type { EcsEngineConfig } from "./description.ts";
import { aborted, toComputeError } from "./errors.ts";
import type { Place, Role } from "./place.ts";

const SOCKETS = 64;
const CONNECT_TIMEOUT_MS = 3_000;
/** Of one call; what lasts longer is the engine's to repeat. */
const SDK_ATTEMPTS = 3;
/** Clients kept; the least recently used goes first. */
const CLIENT_LIMIT = 64;

export type Send = <Answer>(
  call: (ecs: ECS, options: { readonly abortSignal: AbortSignal }) => Promise<Answer>,
) => Promise<Answer>;

export interface EcsClients {
  /**
   * Calls as the place's role, in its region. Failures are what the SDK throws, but for a cancelled execution, which is
   * a ComputeError `aborted`.
   *
   * @throws ComputeError `role_not_allowed` for a role that the operator did not allow
   */
  at(place: Pick<Place, "cluster" | "role">, signal: AbortSignal): Send;
}

export function createEcsClients(engine: EcsEngineConfig): EcsClients {
  const clients = new Map<string, Promise<ECS>>();

  function clientOf({ cluster, role }: Pick<Place, "cluster" | "role">): Promise<ECS> {
    const key = JSON.stringify([cluster.region, role]);
    const known = clients.get(key);
    if (known !== undefined) {
      clients.delete(key);
      clients.set(key, known);
      return known;
    }
    const made = connect(engine, cluster.region, role);
    clients.set(key, made);
    const [oldest] = clients;
    if (clients.size > CLIENT_LIMIT && oldest !== undefined) {
      clients.delete(oldest[0]);
      void oldest[1].then((ecs) => ecs.destroy()).catch(() => undefined);
    }
    return made;
  }

  return {
    at(place, signal) {
      return async (call) => {
        if (signal.aborted) throw aborted();
        const { role } = place;
        // The server has checked it, and may have had another list: the credentials are here.
        if (role !== null && !engine.allowedRoleArns.includes(role.roleArn)) {
          throw new ComputeError(
            "role_not_allowed",
            `The role ${role.roleArn} is not among those that the operator allows (compute.ecs.allowed_role_arns).`,
            { retryable: false },
          );
        }
        const ecs = await clientOf(place);
        try {
          const abortSignal = AbortSignal.any([signal, AbortSignal.timeout(engine.requestTimeoutMs)]);
          return await call(ecs, { abortSignal });
        } catch (error) {
          throw signal.aborted ? aborted() : error;
        }
      };
    },
  };
}

async function connect(engine: EcsEngineConfig, region: string, role: Role | null): Promise<ECS> {
  const { ECS: Client } = await import("@aws-sdk/client-ecs");
  return new Client({
    region,
    ...(engine.endpoint === null ? {} : { endpoint: engine.endpoint }),
    ...(role === null ? {} : { credentials: await credentialsOf(role, region) }),
    maxAttempts: SDK_ATTEMPTS,
    requestHandler: {
      connectionTimeout: CONNECT_TIMEOUT_MS,
      httpAgent: { maxSockets: SOCKETS },
      httpsAgent: { maxSockets: SOCKETS },
    },
  });
}

/** Renewed by the SDK before they expire. */
async function credentialsOf(
  role: Role,
  region: string,
): Promise<NonNullable<ECSClientConfig["credentials"]>> {
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

/** Runs `work`; whatever it throws becomes a ComputeError. */
export async function guarded<T>(where: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw toComputeError(error, where);
  }
}
