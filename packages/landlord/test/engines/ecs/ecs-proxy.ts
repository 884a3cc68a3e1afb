/** A proxy in front of ECS whose answers a test may change: what the emulator never says, and the service does. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";

export interface EcsAnswer {
  readonly status: number;
  readonly body: unknown;
}

/** Null: the answer as it is. `answer` asks the emulator, or not. */
export type Rewrite = (action: string, answer: () => Promise<EcsAnswer>) => Promise<EcsAnswer> | null;

export const refusal = (type: string, message: string, status = 400): EcsAnswer => ({
  status,
  body: { __type: type, message },
});

/** Resolves with its URL; closed at the end of the test. */
export async function startEcsProxy(target: string, rewrite: Rewrite): Promise<string> {
  const server = createServer((incoming, outgoing) => {
    void (async () => {
      const chunks: Buffer[] = [];
      for await (const chunk of incoming as AsyncIterable<Buffer>) chunks.push(chunk);
      const header = (name: string): string => String(incoming.headers[name] ?? "");
      const ask = async (): Promise<EcsAnswer> => {
        const response = await fetch(target, {
          method: "POST",
          headers: {
            "content-type": header("content-type"),
            "x-amz-target": header("x-amz-target"),
            authorization: header("authorization"),
          },
          body: Buffer.concat(chunks),
        });
        return { status: response.status, body: await response.json() };
      };
      const action = header("x-amz-target").split(".")[1] ?? "";
      const { status, body } = await (rewrite(action, ask) ?? ask());
      outgoing.writeHead(status, { "content-type": "application/x-amz-json-1.1" }).end(JSON.stringify(body));
    })().catch(() => outgoing.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(
    () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  );
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
