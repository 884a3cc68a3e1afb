/** A TCP proxy that tests put before a database or an engine, to break the network between. */
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

export interface TcpProxy {
  readonly host: string;
  readonly port: number;
  /** Ends every connection with a reset; new ones are accepted as before. */
  cut(): void;
  /** Resets connections, present and new ones: nobody is there. */
  refuse(): void;
  /** Accepts and keeps connections, and lets no byte through, in either direction: lost packets, a stopped host. */
  blackhole(): void;
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
  readonly target: Socket | null;
  /** Bytes were swallowed: what follows would make no sense. */
  lossy: boolean;
}

type Mode = "pass" | "refuse" | "blackhole";

/** Listens on a free port of loopback. */
async function startTcpProxy(target: { readonly host: string; readonly port: number }): Promise<TcpProxy> {
  let mode: Mode = "pass";
  let delayMs = 0;
  const links = new Set<Link>();

  function pipe(link: Link, from: Socket, to: Socket): void {
    from.on("data", (bytes) => {
      if (mode === "blackhole" || link.lossy) {
        link.lossy = true;
        return;
      }
      if (delayMs === 0) to.write(bytes);
      else setTimeout(() => to.writable && to.write(bytes), delayMs);
    });
    from.on("close", () => {
      // A black hole hides the end of the other side as well.
      if (mode !== "blackhole" && !link.lossy) to.destroy();
    });
    from.on("error", () => undefined);
  }

  const server = createServer((client) => {
    if (mode === "refuse") {
      client.on("error", () => undefined);
      client.resetAndDestroy();
      return;
    }
    const upstream = mode === "blackhole" ? null : connect(target);
    const link: Link = { client, target: upstream, lossy: mode === "blackhole" };
    links.add(link);
    client.on("close", () => {
      links.delete(link);
      upstream?.destroy();
    });
    if (upstream === null) {
      client.on("error", () => undefined);
      client.resume();
      return;
    }
    pipe(link, client, upstream);
    pipe(link, upstream, client);
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

/** A proxy before the database of `url`, and the URL that leads through it. */
export async function proxyDatabase(
  url: string,
): Promise<{ readonly proxy: TcpProxy; readonly url: string }> {
  const through = new URL(url);
  const proxy = await startTcpProxy({ host: through.hostname, port: Number(through.port) });
  through.hostname = proxy.host;
  through.port = String(proxy.port);
  return { proxy, url: through.toString() };
}
