/**
 * A load on an HTTP server that costs the machine as little as one can: kept connections, requests made of text, answers
 * counted and not parsed. Client, server and database share the processors, so what the client takes hides a difference.
 */
import { connect, type Socket } from "node:net";

export interface Answer {
  readonly status: number;
  readonly body: Buffer;
}

export interface Load {
  /** One request, on the first connection. */
  ask(request: string): Promise<Answer>;
  /** Requests a second with every connection busy for this long. @throws Error for an answer of 300 or more */
  rate(request: () => string, durationMs: number): Promise<number>;
  close(): void;
}

/** @param url `http://host:port` */
export async function openLoad(url: string, connections: number): Promise<Load> {
  const { hostname, port } = new URL(url);
  const all = await Promise.all(
    Array.from({ length: connections }, () => openConnection(hostname, Number(port))),
  );
  return {
    ask: (request) => (all[0] as Connection).ask(request),
    async rate(request, durationMs) {
      let answered = 0;
      const startedMs = performance.now();
      await Promise.all(
        all.map(async (connection) => {
          while (performance.now() - startedMs < durationMs) {
            const { status, body } = await connection.ask(request());
            if (status >= 300) throw new Error(`an answer of ${status}: ${body.toString()}`);
            answered++;
          }
        }),
      );
      return (answered / (performance.now() - startedMs)) * 1_000;
    },
    close() {
      for (const connection of all) connection.close();
    },
  };
}

export const getRequest = (path: string): string => `GET ${path} HTTP/1.1\r\nhost: localhost\r\n\r\n`;

export function postRequest(path: string, body: object): string {
  const text = JSON.stringify(body);
  const length = Buffer.byteLength(text);
  return `POST ${path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n\r\n${text}`;
}

interface Connection {
  ask(request: string): Promise<Answer>;
  close(): void;
}

const HEAD_END = "\r\n\r\n";

/** HTTP/1.1, one request at a time, and every answer with its length. */
async function openConnection(host: string, port: number): Promise<Connection> {
  const socket: Socket = connect({ host, port, noDelay: true });
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", reject);
  });
  let chunks: Buffer[] = [];
  let received = 0;
  let head: { readonly status: number; readonly bodyAt: number; readonly end: number } | null = null;
  let settle: { resolve(answer: Answer): void; reject(error: Error): void } | null = null;
  const fail = (error: Error): void => settle?.reject(error);
  socket.on("error", fail);
  socket.on("close", () => fail(new Error("the server closed the connection")));
  socket.on("data", (chunk) => {
    chunks.push(chunk);
    received += chunk.length;
    head ??= parseHead(chunks.length === 1 ? chunk : Buffer.concat(chunks));
    if (head === null || received < head.end) return;
    const { status, bodyAt } = head;
    const body = Buffer.concat(chunks).subarray(bodyAt);
    chunks = [];
    received = 0;
    head = null;
    settle?.resolve({ status, body });
  });
  return {
    ask: (request) =>
      new Promise((resolve, reject) => {
        settle = { resolve, reject };
        socket.write(request);
      }),
    close: () => void socket.destroy(),
  };
}

function parseHead(
  bytes: Buffer,
): { readonly status: number; readonly bodyAt: number; readonly end: number } | null {
  const headEnd = bytes.indexOf(HEAD_END);
  if (headEnd < 0) return null;
  const head = bytes.toString("latin1", 0, headEnd);
  const length = /\r\ncontent-length: (\d+)/i.exec(head)?.[1];
  if (length === undefined) throw new Error(`an answer without a length:\n${head}`);
  const bodyAt = headEnd + HEAD_END.length;
  return { status: Number(head.slice(9, 12)), bodyAt, end: bodyAt + Number(length) };
}
