/** A TCP proxy that tests put before a database, an engine or a set of replicas, to break the network between. */
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

export interface TcpTarget {
  readonly host: string;
  readonly port: number;
}

export interface TcpProxy {
  readonly host: string;
  readonly port: number;
  /** Ends every connection with a reset; new ones are accepted as before. */
  cut(): void;
  /** Resets connections, present and new ones: nobody is there. */
  refuse(): void;
  /** Accepts and keeps connections, and lets no byte through, in either direction: lost packets, a stopped host. */
  blackhole(): void;
  /** Half open: what clients say arrives and takes effect, and no answer comes back. */
  swallowAnswers(): void;
  /** Holds every piece back for this long. */
  delay(ms: number): void;
  /** Lets through again. What was swallowed stays lost, and so do the connections that lost it. */
  restore(): void;
  /** Connections of clients that are open now. */
  readonly open: number;
  close(): Promise<void>;
}

interface Link {
  readonly client: Socket;
  target: Socket | null;
  /** Bytes were swallowed: what follows would make no sense. */
  readonly lossy: { fromClient: boolean; fromTarget: boolean };
}

type Mode = "pass" | "refuse" | "blackhole" | "swallow-answers";

/**
 * Listens on a free port of loopback. With several targets it is a load balancer: connections go to them in turn, and
 * past one that refuses.
 */
export async function startTcpProxy(...targets: readonly TcpTarget[]): Promise<TcpProxy> {
  let mode: Mode = "pass";
  let delayMs = 0;
  let turn = 0;
  const links = new Set<Link>();

  function pipe(link: Link, direction: keyof Link["lossy"], from: Socket, to: Socket): void {
    from.on("data", (bytes) => {
      if (swallows(direction)) link.lossy[direction] = true;
      if (link.lossy[direction]) return;
      if (delayMs === 0) to.write(bytes);
      else setTimeout(() => to.writable && to.write(bytes), delayMs);
    });
    from.on("close", () => {
      // A black hole hides the end of the other side as well.
      if (!swallows(direction) && !link.lossy[direction]) to.destroy();
    });
  }

  function swallows(direction: keyof Link["lossy"]): boolean {
    return mode === "blackhole" || (mode === "swallow-answers" && direction === "fromTarget");
  }

  /** The first target, from this one's turn on, that accepts; null when none does. */
  async function reach(): Promise<Socket | null> {
    const first = turn++;
    for (let index = 0; index < targets.length; index++) {
      const target = targets[(first + index) % targets.length];
      const socket = target === undefined ? null : await connected(target);
      if (socket !== null) return socket;
    }
    return null;
  }

  async function open(link: Link): Promise<void> {
    const { client } = link;
    if (mode === "blackhole") {
      link.lossy.fromClient = link.lossy.fromTarget = true;
      client.resume();
      return;
    }
    const target = await reach();
    if (target === null || client.destroyed) {
      target?.destroy();
      client.resetAndDestroy();
      return;
    }
    link.target = target;
    target.on("error", () => undefined);
    pipe(link, "fromClient", client, target);
    pipe(link, "fromTarget", target, client);
  }

  const server = createServer({ pauseOnConnect: true }, (client) => {
    client.on("error", () => undefined);
    if (mode === "refuse") {
      client.resetAndDestroy();
      return;
    }
    const link: Link = { client, target: null, lossy: { fromClient: false, fromTarget: false } };
    links.add(link);
    client.on("close", () => {
      links.delete(link);
      link.target?.destroy();
    });
    void open(link).then(() => client.resume());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;

  function cut(): void {
    for (const link of links) link.client.resetAndDestroy();
  }

  return {
    host: "127.0.0.1",
    port,
    cut,
    refuse() {
      mode = "refuse";
      cut();
    },
    blackhole() {
      mode = "blackhole";
    },
    swallowAnswers() {
      mode = "swallow-answers";
    },
    delay(ms) {
      delayMs = ms;
    },
    restore() {
      mode = "pass";
      delayMs = 0;
    },
    get open() {
      return links.size;
    },
    async close() {
      cut();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function connected(target: TcpTarget): Promise<Socket | null> {
  return new Promise((resolve) => {
    const socket = connect(target);
    socket.once("connect", () => resolve(socket));
    socket.once("error", () => resolve(null));
  });
}

/** A proxy before whatever `url` names, and the URL that leads through it. */
export async function proxyUrl(url: string): Promise<{ readonly proxy: TcpProxy; readonly url: string }> {
  const through = new URL(url);
  const proxy = await startTcpProxy({ host: through.hostname, port: Number(through.port) });
  through.hostname = proxy.host;
  through.port = String(proxy.port);
  return { proxy, url: through.toString() };
}
