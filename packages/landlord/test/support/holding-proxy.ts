/** An HTTP proxy that can hold back answers, hold back requests, or demand a token. */
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";

export interface HoldingProxy {
  readonly url: string;
  /** Requests of which it is true are not passed on until `release`. */
  holdRequests(matches: (path: string, body: string) => boolean): void;
  /** Requests of which it is true are passed on, and their answers are kept until `release`. */
  holdAnswers(matches: (path: string, body: string) => boolean): void;
  /** Bodies and paths of the requests that are held now. */
  held(): readonly string[];
  /** Drops what is held (their connections break) and holds nothing more. */
  release(): void;
  /** Only requests with this bearer token pass; others get 401. Counts both. */
  requireToken(token: string): { allowed(): number; refused(): number };
  stop(): Promise<void>;
}

export async function startHoldingProxy(target: string): Promise<HoldingProxy> {
  const { hostname, port } = new URL(target);
  let requestFilter: ((path: string, body: string) => boolean) | null = null;
  let answerFilter: ((path: string, body: string) => boolean) | null = null;
  let token: string | null = null;
  let allowed = 0;
  let refused = 0;
  const held = new Map<ServerResponse, string>();

  const server: Server = createServer((incoming, outgoing) => {
    void handle(incoming, outgoing);
  });

  async function handle(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    if (token !== null && incoming.headers.authorization !== `Bearer ${token}`) {
      refused += 1;
      outgoing.writeHead(401, { "content-type": "application/json" }).end('{"message":"no token"}');
      return;
    }
    allowed += 1;
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    const path = incoming.url ?? "/";
    const text = body.toString("utf8");
    if (requestFilter?.(path, text)) {
      held.set(outgoing, `${path} ${text}`);
      return;
    }
    const holdAnswer = answerFilter?.(path, text) ?? false;
    const forwarded = httpRequest(
      {
        hostname,
        port,
        path,
        method: incoming.method,
        headers: { ...incoming.headers, host: `${hostname}:${port}` },
      },
      (answer) => {
        if (holdAnswer) {
          answer.resume();
          held.set(outgoing, `${path} ${text}`);
          return;
        }
        outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(outgoing);
      },
    );
    forwarded.on("error", () => outgoing.destroy());
    outgoing.on("close", () => forwarded.destroy());
    forwarded.end(body);
  }

  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    holdRequests: (matches) => (requestFilter = matches),
    holdAnswers: (matches) => (answerFilter = matches),
    held: () => [...held.values()],
    release() {
      requestFilter = null;
      answerFilter = null;
      for (const outgoing of held.keys()) outgoing.destroy();
      held.clear();
    },
    requireToken(required) {
      token = required;
      return { allowed: () => allowed, refused: () => refused };
    },
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
