/** Which daemon a worker talks to, and how: configuration first, then the variables that Docker's own tools read. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { DockerOptions } from "dockerode";
import { messageOf } from "../../domain/errors.ts";
import { ComputeError, type ComputeContext } from "../provider.ts";
import type { EngineConfig } from "./engine-config.ts";

const DEFAULT_HOST = "unix:///var/run/docker.sock";
const TCP_PORT = 2375;
const TLS_PORT = 2376;

export interface Connection {
  /** As configured: `unix://…` or `tcp://…`. */
  readonly host: string;
  /** Name or address of the daemon's host; null when it is the worker's own. */
  readonly remoteHost: string | null;
  readonly options: DockerOptions;
}

/** @throws ComputeError `docker_host_invalid`, `tls_file_unreadable`; both retryable, since the worker can be mended */
export async function connectionOf(
  config: EngineConfig,
  environment: NonNullable<ComputeContext["environment"]>,
): Promise<Connection> {
  const host = config.host ?? (environment["DOCKER_HOST"] || DEFAULT_HOST);
  if (host.startsWith("unix://")) {
    const socketPath = host.slice("unix://".length);
    // dockerode reads DOCKER_HOST for itself; what is named here, even as undefined, it does not look for.
    return { host, remoteHost: null, options: { ...NOTHING, socketPath, protocol: "http" } };
  }
  const address = /^(?:tcp|https?):\/\/(\[[^\]]+\]|[^/:]+)(?::([0-9]{1,5}))?\/?$/.exec(host);
  const hostname = address?.[1];
  if (hostname === undefined) {
    throw new ComputeError(
      "docker_host_invalid",
      `The Docker host "${host}" is neither unix:///path nor tcp://host:port. Set compute.docker.host or DOCKER_HOST.`,
      { retryable: true },
    );
  }
  const remoteHost = hostname.replace(/^\[|\]$/g, "");
  const tls = await tlsOf(config, environment);
  const port = address?.[2] ?? String(tls === null ? TCP_PORT : TLS_PORT);
  return {
    host,
    remoteHost,
    options: { ...NOTHING, host: remoteHost, port, protocol: tls === null ? "http" : "https", ...tls },
  };
}

const NOTHING: DockerOptions = {
  host: undefined,
  port: undefined,
  socketPath: undefined,
  ca: undefined,
  cert: undefined,
  key: undefined,
  timeout: undefined,
};

interface TlsFiles {
  readonly ca?: Buffer;
  readonly cert?: Buffer;
  readonly key?: Buffer;
}

async function tlsOf(
  config: EngineConfig,
  environment: NonNullable<ComputeContext["environment"]>,
): Promise<TlsFiles | null> {
  const { tlsCaFile, tlsCertFile, tlsKeyFile } = config;
  if (tlsCaFile !== null || tlsCertFile !== null) {
    return {
      ...(tlsCaFile === null ? {} : { ca: await read(tlsCaFile) }),
      ...(tlsCertFile === null ? {} : { cert: await read(tlsCertFile) }),
      ...(tlsKeyFile === null ? {} : { key: await read(tlsKeyFile) }),
    };
  }
  const verifies = !["", "0", "false", undefined].includes(environment["DOCKER_TLS_VERIFY"]);
  const folder = environment["DOCKER_CERT_PATH"];
  if (folder === undefined || folder === "") return verifies ? {} : null;
  const [ca, cert, key] = await Promise.all(
    ["ca.pem", "cert.pem", "key.pem"].map((name) => read(join(folder, name))),
  );
  return { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }) };
}

async function read(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (cause) {
    throw new ComputeError(
      "tls_file_unreadable",
      `The worker cannot read ${file} for the connection to Docker: ${messageOf(cause)}.`,
      { retryable: true, cause },
    );
  }
}
