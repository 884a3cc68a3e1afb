import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Tenant } from "@landlord/client";

export interface StubRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: NodeJS.Dict<string | string[]>;
  readonly body: Record<string, unknown>;
}

export interface StubAnswer {
  readonly status: number;
  readonly body: unknown;
}

/** A server that speaks the contract and answers what a test tells it to. */
export interface StubServer {
  readonly url: string;
  readonly requests: StubRequest[];
  handler: (request: StubRequest) => StubAnswer;
  /** What its clock says. */
  date: () => Date;
  close(): Promise<void>;
}

export async function startStubServer(): Promise<StubServer> {
  const requests: StubRequest[] = [];
  const server = createServer(async (incoming, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming) chunks.push(chunk as Buffer);
    const url = new URL(incoming.url ?? "/", "http://stub");
    const text = Buffer.concat(chunks).toString();
    const request: StubRequest = {
      method: incoming.method ?? "",
      path: url.pathname,
      query: url.searchParams,
      headers: incoming.headers,
      body: text === "" ? {} : (JSON.parse(text) as Record<string, unknown>),
    };
    requests.push(request);
    const { status, body } = stub.handler(request);
    response.writeHead(status, {
      date: stub.date().toUTCString(),
      "content-type": status < 400 ? "application/json" : "application/problem+json",
    });
    response.end(JSON.stringify(body));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const stub: StubServer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    date: () => new Date(),
    handler: () => problem(404, "not_found", "there is no such tenant"),
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return stub;
}

export function problem(
  status: number,
  code: string,
  error: string,
  details: readonly string[] = [],
): StubAnswer {
  return {
    status,
    body: {
      type: "about:blank",
      title: code,
      status,
      detail: error,
      error,
      code,
      details,
      request_id: "req-1",
    },
  };
}

export function tenant(changes: Partial<Tenant> = {}): Tenant {
  return {
    id: "0d4e4bfe-0f2a-4a53-8d4c-0a6a5ad7d1f1",
    name: "acme",
    status: "ready",
    status_message: "",
    compute_provider: "process",
    desired_config: { command: ["a"] },
    compute_config: { command: ["a"] },
    observed_config: {},
    observed_resource_ids: {},
    endpoints: [{ name: "http", address: "127.0.0.1", port: 20001, url: "http://127.0.0.1:20001" }],
    workflow_execution_id: "lx-1",
    generation: 2,
    observed_generation: 2,
    intent: "present",
    paused: false,
    conditions: [],
    labels: {},
    annotations: {},
    version: 3,
    created_at: new Date(Date.now() - 300_000).toISOString(),
    updated_at: new Date().toISOString(),
    ...changes,
  };
}
