/** The few calls to the daemon that the provider makes: each bounded in time, abortable, and with one kind of error. */
import { addAbortSignal, type Readable } from "node:stream";
import type Docker from "dockerode";
import { messageOf } from "../../domain/errors.ts";
import { ComputeError } from "../provider.ts";
import type { Connection } from "./connection.ts";
import { aborted, DockerFailure, hasStatus, unreachable } from "./errors.ts";

const CALL_TIMEOUT_MS = 30_000;
/** Creating and starting pull in drivers, mounts and networks. */
const SLOW_CALL_TIMEOUT_MS = 120_000;
/** Longer than the longest grace of a workload. */
const STOP_TIMEOUT_MS = 660_000;
const FORCED_STOP_TIMEOUT_MS = 60_000;
const DEFAULT_DATA_ROOT = "/var/lib/docker";

export interface Daemon {
  /** The same for as long as the same containers can be there. */
  readonly scope: string;
  /** What to add to the worker's clock to get the daemon's, in milliseconds. */
  readonly clockOffsetMs: number;
}

export interface Engine {
  readonly connection: Connection;
  daemon(signal: AbortSignal): Promise<Daemon>;
  containers(
    filters: { label: string[] } | null,
    options: { readonly all: boolean; readonly signal: AbortSignal },
  ): Promise<readonly Docker.ContainerInfo[]>;
  /** Null when there is no such container. */
  inspect(id: string, signal: AbortSignal): Promise<Docker.ContainerInspectInfo | null>;
  create(body: Docker.ContainerCreateOptions, signal: AbortSignal): Promise<string>;
  start(id: string, signal: AbortSignal): Promise<void>;
  unpause(id: string, signal: AbortSignal): Promise<void>;
  /** SIGTERM, the container's own grace, SIGKILL. Nothing to stop is no error. */
  stop(id: string, signal: AbortSignal): Promise<void>;
  rename(id: string, name: string, signal: AbortSignal): Promise<void>;
  /** With its anonymous volumes. A container that is gone, or going, is no error. */
  remove(id: string, signal: AbortSignal): Promise<void>;
  volumes(filters: { label: string[] }, signal: AbortSignal): Promise<readonly Docker.VolumeInspectInfo[]>;
  /** Makes sure that there is a volume of that name. One that somebody made before stays as it is. */
  createVolume(name: string, labels: Record<string, string>, signal: AbortSignal): Promise<void>;
  /** Null when there is no such volume. */
  inspectVolume(name: string, signal: AbortSignal): Promise<Docker.VolumeInspectInfo | null>;
  removeVolume(name: string, signal: AbortSignal): Promise<void>;
  networks(filters: { label: string[] }, signal: AbortSignal): Promise<readonly Docker.NetworkInspectInfo[]>;
  /** All of exactly this name, the oldest first: a daemon does not keep names of networks apart. */
  networksNamed(name: string, signal: AbortSignal): Promise<readonly Docker.NetworkInspectInfo[]>;
  createNetwork(body: Docker.NetworkCreateOptions, signal: AbortSignal): Promise<void>;
  removeNetwork(id: string, signal: AbortSignal): Promise<void>;
  hasImage(reference: string, signal: AbortSignal): Promise<boolean>;
  /** The events of a pull, line by line, for as long as the signal lets it go on. */
  pull(
    image: { readonly name: string; readonly tag: string },
    auth: Docker.AuthConfig | null,
    signal: AbortSignal,
  ): Promise<Readable>;
  /** Raw, multiplexed output: the newest lines. */
  logs(id: string, options: { readonly lines: number; readonly signal: AbortSignal }): Promise<Readable>;
}

/** Runs one call. Whatever goes wrong is an answer of the daemon (DockerFailure) or no answer (ComputeError). */
async function bounded<T>(
  host: string,
  signal: AbortSignal,
  timeoutMs: number,
  call: (abortSignal: AbortSignal) => Promise<T>,
): Promise<T> {
  if (signal.aborted) throw aborted();
  const timeout = AbortSignal.timeout(timeoutMs);
  try {
    return await call(AbortSignal.any([signal, timeout]));
  } catch (error) {
    if (signal.aborted) throw aborted();
    if (timeout.aborted) throw unreachable(host, new Error(`no answer within ${timeoutMs / 1_000} s`));
    const { statusCode, json } = error as { statusCode?: unknown; json?: { message?: unknown } | null };
    if (typeof statusCode !== "number") throw unreachable(host, error);
    // Of a stream only the library's own sentence is there; its last part is the daemon's.
    const sentence = messageOf(error).replace(/^\(HTTP code \d+\) [^-]* - /, "");
    const words = typeof json?.message === "string" ? json.message : sentence.trim();
    throw new DockerFailure(statusCode, words, error);
  }
}

/** Answers that mean that somebody did it already. */
async function unless(statusCodes: readonly number[], call: Promise<unknown>): Promise<void> {
  try {
    await call;
  } catch (error) {
    if (!hasStatus(error, ...statusCodes)) throw error;
  }
}

/** Null when there is no such thing. */
async function orNull<T>(call: Promise<T>): Promise<T | null> {
  try {
    return await call;
  } catch (error) {
    if (hasStatus(error, 404)) return null;
    throw error;
  }
}

/** A stream that ends with an error at an abort, also after its first byte. */
function abortable(stream: unknown, signal: AbortSignal): Readable {
  const readable = stream as Readable;
  addAbortSignal(signal, readable);
  return readable;
}

export function createEngine(docker: Docker, connection: Connection): Engine {
  const run = <T>(
    signal: AbortSignal,
    call: (abortSignal: AbortSignal) => Promise<T>,
    timeoutMs = CALL_TIMEOUT_MS,
  ): Promise<T> => bounded(connection.host, signal, timeoutMs, call);
  return {
    connection,
    daemon: (signal) => run(signal, (abortSignal) => readDaemon(docker, abortSignal)),
    ...containerCalls(docker, run),
    ...volumeAndNetworkCalls(docker, run),
    ...imageCalls(docker, run),
  };
}

type Run = <T>(
  signal: AbortSignal,
  call: (abortSignal: AbortSignal) => Promise<T>,
  timeoutMs?: number,
) => Promise<T>;

interface DaemonInfo {
  readonly ID?: string;
  readonly DockerRootDir?: string;
  readonly SystemTime?: string;
}

async function readDaemon(docker: Docker, abortSignal: AbortSignal): Promise<Daemon> {
  const askedAtMs = Date.now();
  const info = await (docker.info.bind(docker) as (options: object) => Promise<DaemonInfo>)({ abortSignal });
  if (info.ID === undefined || info.ID === "")
    throw new ComputeError("docker_unidentified", "The Docker daemon does not tell its ID.", {
      retryable: true,
    });
  // Two daemons of one host may share an ID, and never a data root.
  const root = info.DockerRootDir ?? DEFAULT_DATA_ROOT;
  const middleMs = (askedAtMs + Date.now()) / 2;
  const daemonMs = Date.parse(info.SystemTime ?? "");
  return {
    scope: `docker:${info.ID}${root === DEFAULT_DATA_ROOT ? "" : `:${root}`}`,
    clockOffsetMs: Number.isFinite(daemonMs) ? daemonMs - middleMs : 0,
  };
}

function containerCalls(docker: Docker, run: Run) {
  return {
    containers: (
      filters: { label: string[] } | null,
      { all, signal }: { readonly all: boolean; readonly signal: AbortSignal },
    ) =>
      run(signal, (abortSignal) =>
        docker.listContainers({
          all,
          abortSignal,
          ...(filters !== null && { filters: JSON.stringify(filters) }),
        }),
      ),
    inspect: (id: string, signal: AbortSignal) =>
      orNull(run(signal, (abortSignal) => docker.getContainer(id).inspect({ abortSignal }))),
    create: async (body: Docker.ContainerCreateOptions, signal: AbortSignal) =>
      (
        await run(
          signal,
          (abortSignal) => docker.createContainer({ ...body, abortSignal }),
          SLOW_CALL_TIMEOUT_MS,
        )
      ).id,
    start: (id: string, signal: AbortSignal) =>
      unless(
        [304],
        run(signal, (abortSignal) => docker.getContainer(id).start({ abortSignal }), SLOW_CALL_TIMEOUT_MS),
      ),
    unpause: (id: string, signal: AbortSignal) =>
      unless(
        [404, 409, 500],
        run(signal, (abortSignal) => docker.getContainer(id).unpause({ abortSignal })),
      ),
    stop: (id: string, signal: AbortSignal) =>
      unless(
        [304, 404, 409],
        run(signal, (abortSignal) => docker.getContainer(id).stop({ abortSignal }), STOP_TIMEOUT_MS),
      ),
    rename: (id: string, name: string, signal: AbortSignal) =>
      unless(
        [404],
        run(signal, (abortSignal) => docker.getContainer(id).rename({ name, abortSignal })),
      ),
    remove: (id: string, signal: AbortSignal) =>
      unless(
        [404, 409],
        run(
          signal,
          (abortSignal) => docker.getContainer(id).remove({ force: true, v: true, abortSignal }),
          FORCED_STOP_TIMEOUT_MS,
        ),
      ),
    logs: (id: string, { lines, signal }: { readonly lines: number; readonly signal: AbortSignal }) =>
      // Not dockerode's own method: without `follow` it would keep all of it in memory.
      run(
        signal,
        (abortSignal) =>
          new Promise<Readable>((resolve, reject) => {
            docker.modem.dial(
              {
                path: `/containers/${id}/logs?stdout=1&stderr=1&tail=${lines}&`,
                method: "GET",
                isStream: true,
                abortSignal,
                statusCodes: { 200: true },
              },
              (error, stream) => {
                if (error !== null && error !== undefined) reject(error);
                else resolve(abortable(stream, abortSignal));
              },
            );
          }),
      ),
  };
}

function volumeAndNetworkCalls(docker: Docker, run: Run) {
  return {
    volumes: async (filters: { label: string[] }, signal: AbortSignal) =>
      (
        await run(signal, (abortSignal) =>
          docker.listVolumes({ filters: JSON.stringify(filters), abortSignal }),
        )
      ).Volumes ?? [],
    createVolume: async (name: string, labels: Record<string, string>, signal: AbortSignal) => {
      await run(signal, (abortSignal) => docker.createVolume({ Name: name, Labels: labels, abortSignal }));
    },
    inspectVolume: (name: string, signal: AbortSignal) =>
      orNull(run(signal, (abortSignal) => docker.getVolume(name).inspect({ abortSignal }))),
    removeVolume: (name: string, signal: AbortSignal) =>
      unless(
        [404],
        run(signal, (abortSignal) => docker.getVolume(name).remove({ abortSignal })),
      ),
    networks: (filters: { label: string[] }, signal: AbortSignal) =>
      run(signal, (abortSignal) => docker.listNetworks({ filters: JSON.stringify(filters), abortSignal })),
    networksNamed: async (name: string, signal: AbortSignal) => {
      const filters = JSON.stringify({ name: [name] });
      const found = await run(signal, (abortSignal) => docker.listNetworks({ filters, abortSignal }));
      // The filter matches parts of names as well.
      const age = ({ Created, Id }: Docker.NetworkInspectInfo): string => `${Created} ${Id}`;
      return found.filter(({ Name }) => Name === name).sort((one, other) => (age(one) < age(other) ? -1 : 1));
    },
    createNetwork: (body: Docker.NetworkCreateOptions, signal: AbortSignal) =>
      unless(
        [409],
        run(signal, (abortSignal) => docker.createNetwork({ ...body, abortSignal }), SLOW_CALL_TIMEOUT_MS),
      ),
    // 403: containers still use it.
    removeNetwork: (id: string, signal: AbortSignal) =>
      unless(
        [403, 404, 409],
        run(signal, (abortSignal) => docker.getNetwork(id).remove({ abortSignal } as object)),
      ),
  };
}

function imageCalls(docker: Docker, run: Run) {
  return {
    hasImage: async (reference: string, signal: AbortSignal) =>
      (await orNull(
        run(signal, (abortSignal) => docker.getImage(reference).inspect({ abortSignal } as object)),
      )) !== null,
    pull: (
      image: { readonly name: string; readonly tag: string },
      auth: Docker.AuthConfig | null,
      signal: AbortSignal,
    ) =>
      // The caller's signal bounds it: how long a pull may take is the operator's choice.
      run(
        signal,
        async () => {
          const options = { fromImage: image.name, tag: image.tag, abortSignal: signal };
          const stream = await docker.createImage({
            ...options,
            ...(auth !== null && { authconfig: auth }),
          });
          return abortable(stream, signal);
        },
        2 ** 31 - 1,
      ),
  };
}
