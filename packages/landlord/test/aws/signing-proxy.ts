/**
 * ECS's API over plain HTTP: takes what a provider sends, and asks the service with a signature of its own. So a fault
 * proxy, which cannot sign, fits in between.
 */
import type { ECS } from "@aws-sdk/client-ecs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

export interface SigningProxy {
  readonly url: string;
  close(): Promise<void>;
}

type Call = (input: unknown) => Promise<{ readonly $metadata?: unknown }>;

export async function startSigningProxy(ecs: ECS): Promise<SigningProxy> {
  const server = createServer((incoming, outgoing) => {
    void (async () => {
      const chunks: Buffer[] = [];
      for await (const chunk of incoming as AsyncIterable<Buffer>) chunks.push(chunk);
      const action = String(incoming.headers["x-amz-target"]).split(".")[1] ?? "";
      const method = `${action.charAt(0).toLowerCase()}${action.slice(1)}`;
      const call = (ecs as unknown as Readonly<Record<string, Call>>)[method];
      if (call === undefined) throw new Error(`no action ${action}`);
      const answer = await call.call(ecs, JSON.parse(Buffer.concat(chunks).toString("utf8"))).then(
        (body) => ({ status: 200, body: { ...body, $metadata: undefined } }),
        (error: unknown) => refusalOf(error),
      );
      const json = JSON.stringify(answer.body, secondsOf);
      outgoing.writeHead(answer.status, { "content-type": "application/x-amz-json-1.1" }).end(json);
    })().catch(() => outgoing.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** The service's answer as it was; what is none, such as a lost connection, is thrown again. */
function refusalOf(error: unknown): { readonly status: number; readonly body: object } {
  const { name, message, $metadata } = error as Error & { $metadata?: { httpStatusCode?: number } };
  const status = $metadata?.httpStatusCode;
  if (status === undefined) throw error;
  return { status, body: { __type: name, message } };
}

/** The protocol has times as seconds; the SDK has made them Dates, which JSON.stringify has made text already. */
function secondsOf(this: unknown, key: string, value: unknown): unknown {
  const raw = (this as Readonly<Record<string, unknown>>)[key];
  return raw instanceof Date ? raw.getTime() / 1_000 : value;
}
