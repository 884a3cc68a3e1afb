/** A proxy before PostgreSQL that counts what servers ask for: the statements of the protocol itself, whoever sends them. */
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

export interface StatementCounter {
  readonly url: string;
  /** Statements so far: messages Query and Execute (PostgreSQL manual, "Message Formats"). */
  count(): number;
  close(): Promise<void>;
}

const QUERY = "Q".charCodeAt(0);
const EXECUTE = "E".charCodeAt(0);
const LENGTH_BYTES = 4;

export async function startStatementCounter(url: string): Promise<StatementCounter> {
  const through = new URL(url);
  const target = { host: through.hostname, port: Number(through.port) };
  const sockets = new Set<Socket>();
  let statements = 0;
  const server = createServer((client) => {
    const database = connect(target);
    const counted = messageTypes((type) => {
      if (type === QUERY || type === EXECUTE) statements += 1;
    });
    client.on("data", counted);
    for (const [socket, other] of [
      [client, database],
      [database, client],
    ] as const) {
      sockets.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => {
        sockets.delete(socket);
        other.destroy();
      });
      socket.pipe(other);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  through.hostname = "127.0.0.1";
  through.port = String((server.address() as AddressInfo).port);
  return {
    url: through.toString(),
    count: () => statements,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Finds the messages of a client in its bytes. The first has no type: it is the greeting. */
function messageTypes(onType: (type: number) => void): (bytes: Buffer) => void {
  let rest = Buffer.alloc(0);
  let isGreeting = true;
  return (bytes) => {
    rest = Buffer.concat([rest, bytes]);
    for (;;) {
      const typeBytes = isGreeting ? 0 : 1;
      if (rest.length < typeBytes + LENGTH_BYTES) return;
      const length = typeBytes + rest.readInt32BE(typeBytes);
      if (rest.length < length) return;
      if (!isGreeting) onType(rest[0] ?? 0);
      isGreeting = false;
      rest = rest.subarray(length);
    }
  };
}
