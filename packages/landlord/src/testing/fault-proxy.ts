/**
 * An HTTP proxy that carries out a fault plan between a client library and its server, for providers whose outside
 * world is an HTTP API (Docker, AWS, most clouds): point the provider at the proxy, and nothing in it has to change.
 */
import {
  createServer,
  request as httpRequest,
  type IncomingHttpHeaders,
  type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";
import { CallLostError, type Faults } from "./faults.ts";

export interface FaultProxyOptions {
  /** `http://host:port`, or `unix:/path` of a socket. */
  readonly target: string;
  readonly faults: Faults;
  /** False for requests that change nothing. Without it: all but GET and HEAD are effects. */
  readonly isEffect?: (request: ProxiedRequest) => boolean;
}

export interface ProxiedRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
}

export interface FaultProxy {
  readonly port: number;
  /** http://127.0.0.1:port */
  readonly url: string;
  close(): Promise<void>;
}

/** A request body beyond this is refused: a fault may have to send it twice, so it is held in memory. */
const BODY_LIMIT_BYTES = 8 * 1024 * 1024;

export async function startFaultProxy(options: FaultProxyOptions): Promise<FaultProxy> {
  const isEffect = options.isEffect ?? (({ method }) => method !== "GET" && method !== "HEAD");
  const server = createServer((incoming, outgoing) => {
    const proxied: ProxiedRequest = {
      method: incoming.method ?? "GET",
      path: incoming.url ?? "/",
      headers: incoming.headers,
    };
    void (async () => {
      try {
        const chunks: Buffer[] = [];
        let size = 0;
        for await (const chunk of incoming as AsyncIterable<Buffer>) {
          size += chunk.length;
          if (size > BODY_LIMIT_BYTES) throw new CallLostError(proxied.path, "the body is too large");
          chunks.push(chunk);
        }
        const body = Buffer.concat(chunks);
        if (isEffect(proxied)) {
          const answer = await options.faults.call(`${proxied.method} ${proxied.path}`, () =>
            forward(options.target, proxied, body),
          );
          outgoing.writeHead(answer.status, answer.headers).end(answer.body);
        } else {
          if (options.faults.isDead) throw new CallLostError(proxied.path, "the process is dead");
          await pass(options.target, proxied, body, outgoing);
        }
      } catch {
        // What the plan lost is a connection that ends without an answer.
        outgoing.destroy();
      }
    })();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    port,
    url: `http://127.0.0.1:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

function open(target: string, { method, path, headers }: ProxiedRequest): ReturnType<typeof httpRequest> {
  // One connection for each request: a kept one could be closed under a request that must arrive.
  const common = { method, path, headers: { ...headers, connection: "close" }, agent: false };
  if (target.startsWith("unix:"))
    return httpRequest({ ...common, socketPath: target.replace(/^unix:(?:\/\/)?/, "") });
  const { hostname, port } = new URL(target);
  return httpRequest({ ...common, hostname, port });
}

/** The whole answer, so that it can be lost or repeated. */
function forward(target: string, proxied: ProxiedRequest, body: Buffer): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = open(target, proxied);
    outgoing.on("error", reject);
    outgoing.on("response", (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () =>
        resolve({
          status: response.statusCode ?? 502,
          headers: withoutHopByHop(response.headers),
          body: Buffer.concat(chunks),
        }),
      );
    });
    outgoing.end(body);
  });
}

/** The answer as it comes, for reads that stream. */
function pass(target: string, proxied: ProxiedRequest, body: Buffer, to: ServerResponse): Promise<void> {
  return new Promise((resolve, reject) => {
    const outgoing = open(target, proxied);
    outgoing.on("error", reject);
    outgoing.on("response", (response) => {
      to.writeHead(response.statusCode ?? 502, withoutHopByHop(response.headers));
      response.on("error", reject);
      response.on("end", resolve);
      response.pipe(to);
    });
    to.on("close", () => outgoing.destroy());
    outgoing.end(body);
  });
}

function withoutHopByHop(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  const { connection: _, "transfer-encoding": __, "keep-alive": ___, ...rest } = headers;
  return rest;
}
