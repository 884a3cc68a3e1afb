/**
 * The raw limit of watching: a bare Node server that writes what it is notified of to every open response, and a route that
 * commits a row and its notification in one statement. It shares nothing with Landlord.
 */
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import pg from "pg";

const url = process.argv[2] ?? "";
const pool = new pg.Pool({ connectionString: url, max: 2 });
await pool.query("CREATE TABLE IF NOT EXISTS raw_events (id bigint GENERATED ALWAYS AS IDENTITY, body text)");
const listener = new pg.Client({ connectionString: url });
await listener.connect();
await listener.query("LISTEN raw_events");

const watchers = new Set<ServerResponse>();
listener.on("notification", ({ payload }) => {
  const bytes = Buffer.from(payload ?? "");
  for (const watcher of watchers) watcher.write(bytes);
});

const server = createServer((request, response) => {
  if (request.method === "GET") {
    response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8", connection: "close" });
    response.write(": hello\n\n");
    watchers.add(response);
    response.once("close", () => watchers.delete(response));
    return;
  }
  void text(request)
    .then((body) =>
      pool.query({
        name: "commit",
        text: `WITH event AS (INSERT INTO raw_events (body) VALUES ($1) RETURNING body)
               SELECT pg_notify('raw_events', body) FROM event`,
        values: [(JSON.parse(body) as { frame: string }).frame],
      }),
    )
    .then(
      () => response.writeHead(201, { "content-length": 0 }).end(),
      () => response.writeHead(500, { "content-length": 0 }).end(),
    );
});
server.listen(0, "127.0.0.1", () => process.send?.({ port: (server.address() as AddressInfo).port }));
process.on("disconnect", () => process.exit(0));
