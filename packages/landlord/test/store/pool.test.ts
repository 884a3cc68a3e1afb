/** A database that dies at the worst moment of a connection's life. */
import { createServer, type AddressInfo, type Server } from "node:net";
import { afterEach, beforeEach, expect, it } from "vitest";
import { sql } from "kysely";
import { openKysely, openPool } from "../../src/store/postgres/database.ts";

/** Messages of the wire protocol (PostgreSQL manual, chapter "Message Formats"). */
function message(type: string, ...fields: readonly Buffer[]): Buffer {
  const body = Buffer.concat(fields);
  const head = Buffer.alloc(5);
  head.write(type, 0, "latin1");
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}
const AUTHENTICATION_OK = message("R", Buffer.from([0, 0, 0, 0]));
const READY_FOR_QUERY = message("Z", Buffer.from("I"));
const TERMINATED = message(
  "E",
  Buffer.from("SFATAL\0C57P01\0Mterminating connection due to unexpected postmaster exit\0\0"),
);

let server: Server;
let greeted = 0;
beforeEach(async () => {
  greeted = 0;
  server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.once("data", () => {
      greeted += 1;
      socket.end(Buffer.concat([AUTHENTICATION_OK, READY_FOR_QUERY, TERMINATED]));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});
afterEach(() => new Promise((resolve) => server.close(resolve)));

it("ends a connection in the breath of its greeting: the query fails, the process lives", async () => {
  const { port } = server.address() as AddressInfo;
  const pool = openPool(
    {
      url: `postgres://user:secret@127.0.0.1:${port}/any`,
      maxConnections: 2,
      connectTimeoutMs: 2_000,
      statementTimeoutMs: 2_000,
      applicationName: "test",
    },
    () => undefined,
  );
  const db = openKysely(pool);
  const failures: unknown[] = [];
  const onUncaught = (error: unknown): void => void failures.push(error);
  process.on("uncaughtException", onUncaught);
  try {
    for (let round = 0; round < 3; round++) {
      await expect(sql`SELECT 1`.execute(db)).rejects.toThrow();
    }
    expect(failures).toEqual([]);
    expect(greeted).toBeGreaterThanOrEqual(3);
  } finally {
    process.off("uncaughtException", onUncaught);
    await db.destroy();
  }
});
