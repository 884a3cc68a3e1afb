/** A proxy before Step Functions that throttles, refuses, loses or counts calls by action: what the emulator never does. */
import { createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/**
 * `throttle`, `deny`: refused as the service refuses. `lose-answer`: passed on, and the connection breaks before the answer.
 * `lose-request`: the connection breaks, and the engine never hears of it.
 */
export type Fault = "throttle" | "deny" | "lose-answer" | "lose-request";

const REFUSALS = {
  throttle: { __type: "ThrottlingException", message: "Rate exceeded" },
  deny: { __type: "AccessDeniedException", message: "not authorized to perform: states:StartExecution" },
};

export interface AwsProxy {
  readonly url: string;
  /** What happens to a call from now on, by action and the number of such calls so far; null passes it on. */
  behave(fault: (action: string, call: number) => Fault | null): void;
  /** Calls received, faulty ones included. */
  calls(action: string): number;
  close(): Promise<void>;
}

export async function startAwsProxy(target: string): Promise<AwsProxy> {
  const { hostname, port } = new URL(target);
  const counts = new Map<string, number>();
  let faultOf: (action: string, call: number) => Fault | null = () => null;

  async function handle(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const action = String(incoming.headers["x-amz-target"]).split(".").at(-1) ?? "";
    const call = (counts.get(action) ?? 0) + 1;
    counts.set(action, call);
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    const fault = faultOf(action, call);
    if (fault === "throttle" || fault === "deny") {
      const body = JSON.stringify(REFUSALS[fault]);
      outgoing.writeHead(400, { "content-type": "application/x-amz-json-1.0" }).end(body);
      return;
    }
    if (fault === "lose-request") {
      outgoing.destroy();
      return;
    }
    const headers = { ...incoming.headers, host: `${hostname}:${port}` };
    const forwarded = httpRequest({ hostname, port, path: "/", method: "POST", headers }, (answer) => {
      if (fault === "lose-answer") {
        answer.resume();
        answer.once("end", () => outgoing.destroy());
        return;
      }
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(outgoing);
    });
    forwarded.on("error", () => outgoing.destroy());
    outgoing.on("close", () => forwarded.destroy());
    forwarded.end(Buffer.concat(chunks));
  }

  const server = createServer((incoming, outgoing) => void handle(incoming, outgoing));
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    behave: (fault) => (faultOf = fault),
    calls: (action) => counts.get(action) ?? 0,
    close: () =>
      new Promise((closed) => {
        server.close(() => closed());
        server.closeAllConnections();
      }),
  };
}
