/** A proxy before the daemon's socket that holds a request back. */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, request, type IncomingMessage, type ServerResponse } from "node:http";
import { join } from "node:path";

export interface DockerProxy {
  readonly host: string;
  /** Method and path of every request so far. */
  readonly seen: readonly string[];
  /** The first request that matches is held until the returned function is called; `held` resolves when it came. */
  hold(matches: (line: string) => boolean): { readonly held: Promise<void>; release(): void };
  stop(): Promise<void>;
}

interface Held {
  readonly matches: (line: string) => boolean;
  readonly arrived: () => void;
  readonly released: Promise<void>;
}

export async function startDockerProxy(target: string): Promise<DockerProxy> {
  const folder = mkdtempSync("/tmp/llp-");
  const seen: string[] = [];
  let holding: Held | null = null;

  async function handle(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const line = `${incoming.method} ${incoming.url}`;
    seen.push(line);
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    if (holding?.matches(line) === true) {
      const { arrived, released } = holding;
      holding = null;
      arrived();
      await released;
    }
    const asked = request(
      {
        socketPath: target.replace("unix://", ""),
        method: incoming.method,
        path: incoming.url,
        headers: incoming.headers,
        agent: false,
      },
      (answer) => {
        outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(outgoing);
      },
    );
    asked.on("error", () => outgoing.destroy());
    asked.end(Buffer.concat(chunks));
  }

  const server = createServer(
    (incoming, outgoing) => void handle(incoming, outgoing).catch(() => outgoing.destroy()),
  );
  const socketPath = join(folder, "s");
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  return {
    host: `unix://${socketPath}`,
    seen,
    hold(matches) {
      let release = (): void => undefined;
      const released = new Promise<void>((resolve) => (release = resolve));
      const held = new Promise<void>((arrived) => (holding = { matches, arrived, released }));
      return { held, release };
    },
    stop: () =>
      new Promise((resolve) => {
        server.close(() => {
          rmSync(folder, { recursive: true, force: true });
          resolve();
        });
        server.closeAllConnections();
      }),
  };
}
