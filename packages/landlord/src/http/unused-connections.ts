import type { Socket } from "node:net";
import type { App } from "./app.ts";

/**
 * Ends connections on which no request ever came when the application closes: Node does not count them as idle, and a
 * stop would wait for them. Clients with a pool open such connections.
 */
export function endUnusedConnections(app: App, isTls: boolean): void {
  const { server } = app;
  const unused = new Set<Socket>();
  server.on(isTls ? "secureConnection" : "connection", (socket: Socket) => {
    unused.add(socket);
    socket.once("close", () => unused.delete(socket));
  });
  server.on("request", ({ socket }) => unused.delete(socket));
  app.addHook("preClose", (done) => {
    for (const socket of unused) socket.destroy();
    done();
  });
}
