/** A proxy before the daemon's socket that loses requests or answers, or holds them back. */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, request, type IncomingMessage, type ServerResponse } from "node:http";
import { join } from "node:path";

/** `lose-request`: never sent on. `lose-answer`: done by the daemon, and nobody hears of it. */
export type Fault = "lose-request" | "lose-answer";

export interface DockerProxy {
  readonly host: string;
  /** Method and path of every request so far. */
  readonly seen: readonly string[];
  /** From the request of this index on, the worker is dead: that one meets the fault, all later ones nobody. */
  dieAt(index: number, fault: Fault): void;
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
  let death: { readonly index: number; readonly fault: Fault } | null = null;
  let holding: Held | null = null;

  async function handle(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const line = `${incoming.method} ${incoming.url}`;
    const index = seen.push(line) - 1;
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    if (holding?.matches(line) === true) {
      const { arrived, released } = holding;
      holding = null;
      arrived();
      await released;
    }
    const isDead =
      death !== null && (index > death.index || (index === death.index && death.fault === "lose-request"));
    if (isDead) return void outgoing.destroy();
    const losesAnswer = death?.index === index;
    const asked = request(
      {
        socketPath: target.replace("unix://", ""),
        method: incoming.method,
        path: incoming.url,
        headers: incoming.headers,
        agent: false,
      },
      (answer) => {
        if (losesAnswer) {
          answer.resume();
          answer.once("end", () => outgoing.destroy());
          return;
        }
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
    dieAt: (index, fault) => (death = { index, fault }),
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
