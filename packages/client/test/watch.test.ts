import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  ConnectionError,
  createClient,
  LandlordApiError,
  watch,
  WatchExpiredError,
  type ClientOptions,
  type Tenant,
  type TenantEvent,
} from "../src/index.ts";

type Handler = (request: IncomingMessage, response: ServerResponse, count: number) => void;

let server: Server;
let options: ClientOptions;
let handle: Handler;
let urls: string[];
const stop = { controller: new AbortController() };

beforeEach(async () => {
  urls = [];
  stop.controller = new AbortController();
  server = createServer((request, response) => {
    urls.push(request.url ?? "");
    handle(request, response, urls.length);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  options = {
    baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    token: "t0ken",
    timeoutMs: 500,
  };
});
afterEach(async () => {
  stop.controller.abort();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

const hello = (id: string, heartbeatMs = 10_000) =>
  `id: ${id}\nevent: hello\ndata: {"heartbeat_ms":${heartbeatMs}}\n\n`;
const event = (id: string) =>
  `id: ${id}\nevent: transition\ndata: {"tenant_name":"acme ü","reason":"r-${id}","labels":{"a":"1"}}\n\n`;
function stream(response: ServerResponse, ...pieces: readonly (string | Buffer)[]): void {
  response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
  for (const piece of pieces) response.write(piece);
}
function refuse(
  response: ServerResponse,
  status: number,
  code: string,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { "content-type": "application/problem+json", ...headers });
  response.end(JSON.stringify({ status, code, error: `because ${code}`, details: [] }));
}
/** The first so many events. */
async function take(count: number, params: Parameters<typeof watch>[1] = {}): Promise<TenantEvent[]> {
  const events: TenantEvent[] = [];
  for await (const each of watch(options, { signal: stop.controller.signal, ...params })) {
    events.push(each);
    if (events.length === count) break;
  }
  return events;
}
const afters = (): (string | null)[] => urls.map((url) => new URL(url, "http://x").searchParams.get("after"));

describe("a watch", () => {
  it("yields events with their tokens, wherever the pieces are cut", async () => {
    let headers: IncomingMessage["headers"] = {};
    handle = (request, response) => {
      ({ headers } = request);
      stream(response);
      const bytes = Buffer.from(
        `${hello("t0")}: comment\n\n${event("t1")}:\n\n${event("t2").replaceAll("\n", "\r\n")}`,
      );
      // A byte at a time: also within a character.
      for (const byte of bytes) response.write(Buffer.from([byte]));
    };
    const opened: string[] = [];
    const events = await take(2, { selector: "a=1", tenant: "acme", onOpen: (token) => opened.push(token) });
    expect(events).toEqual([
      { tenant_name: "acme ü", reason: "r-t1", labels: { a: "1" }, token: "t1" },
      { tenant_name: "acme ü", reason: "r-t2", labels: { a: "1" }, token: "t2" },
    ]);
    expect(opened).toEqual(["t0"]);
    expect(urls).toEqual(["/v1/events?selector=a%3D1&tenant=acme"]);
    expect(headers).toMatchObject({ authorization: "Bearer t0ken" });
    expect(headers.accept).toContain("text/event-stream");
  });

  it("resumes after the last whole message, also after bookmarks, and drops a torn one", async () => {
    handle = (_, response, count) => {
      stream(response, hello("t0"));
      if (count === 1) response.write(event("t1") + event("t2").slice(0, 30));
      if (count === 2) response.write(`${event("t2")}id: t9\nevent: bookmark\ndata: {}\n\n`);
      if (count === 3) return void response.write(event("t10"));
      setTimeout(() => response.destroy(), 20);
    };
    const events = await take(3);
    expect(events.map(({ token }) => token)).toEqual(["t1", "t2", "t10"]);
    expect(afters()).toEqual([null, "t1", "t9"]);
  });

  it("hangs up when its caller stops, and ends when its signal aborts", async () => {
    let closed = 0;
    handle = (request, response) => {
      request.socket.once("close", () => (closed += 1));
      stream(response, hello("t0"), event("t1"));
    };
    expect(await take(1)).toHaveLength(1);
    const all = take(2);
    setTimeout(() => stop.controller.abort(), 50);
    expect(await all).toHaveLength(1);
    await expect.poll(() => closed).toBe(2);
    // Also while it pauses.
    stop.controller = new AbortController();
    handle = (_, response, count) =>
      count === 3
        ? (stream(response, hello("t0")), response.end())
        : refuse(response, 503, "x", { "retry-after": "9" });
    const paused = take(1, {
      onInterrupted: (error) => error !== null && setTimeout(() => stop.controller.abort(), 20),
    });
    expect(await paused).toEqual([]);
  });

  it("takes silence for a broken connection", async () => {
    handle = (_, response, count) => {
      stream(response, hello("t0", 40));
      if (count === 2) response.write(event("t1"));
    };
    const reasons: (string | undefined)[] = [];
    const events = await take(1, { onInterrupted: (error) => reasons.push(error?.message) });
    expect(events).toHaveLength(1);
    expect(reasons).toEqual([expect.stringContaining("silence for 100 ms") as string]);
    expect(afters()).toEqual([null, "t0"]);
  });
});

describe("what comes in between", () => {
  it("pauses as long as the server asks, and goes on for as long as it takes", async () => {
    handle = (_, response, count) => {
      if (count === 1) return void (stream(response, hello("t0")), response.end());
      if (count <= 5) return refuse(response, 503, "too_many_watchers", { "retry-after": "0" });
      if (count === 6) return refuse(response, 429, "rate_limited", { "retry-after": "1" });
      stream(response, hello("t0"), event("t1"));
    };
    const pauses: number[] = [];
    const startedAt = Date.now();
    expect(await take(1, { onInterrupted: (_, pauseMs) => pauses.push(pauseMs) })).toHaveLength(1);
    expect(pauses.slice(1)).toEqual([0, 0, 0, 0, 1_000]);
    expect(Date.now() - startedAt).toBeGreaterThanOrEqual(1_000);
  });

  it("is a typed error when the place is gone, and any other refusal is one too", async () => {
    handle = (_, response, count) =>
      count === 1
        ? (stream(response, hello("t0")), void response.end())
        : refuse(response, 410, "watch_expired");
    const error = await take(1).catch((each: unknown) => each);
    expect(error).toBeInstanceOf(WatchExpiredError);
    expect(error).toMatchObject({ status: 410, code: "watch_expired", message: "because watch_expired" });
    handle = (_, response) => refuse(response, 401, "unauthenticated");
    await expect(take(1)).rejects.toMatchObject({ status: 401 });
    handle = (_, response) => void response.end("<html>");
    await expect(take(1)).rejects.toMatchObject({ code: "unexpected_answer" });
  });

  it("gives up when there never was a connection, after the client's retries", async () => {
    handle = (request) => void request.socket.destroy();
    await expect(take(1)).rejects.toBeInstanceOf(ConnectionError);
    expect(urls).toHaveLength(3);
    handle = (_, response) => refuse(response, 503, "x");
    options = { ...options, retries: 0 };
    await expect(take(1)).rejects.toBeInstanceOf(LandlordApiError);
    expect(urls).toHaveLength(4);
  });
});

describe("waitFor", () => {
  const tenant = (changes: Partial<Tenant> = {}): Tenant =>
    ({
      id: "u-1",
      name: "acme",
      status: "provisioning",
      status_message: "",
      generation: 1,
      ...changes,
    }) as Tenant;
  const answer = (response: ServerResponse, body: Tenant): void => {
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify(body));
  };

  it("lets the server hold its answers back, longer than the client's own limit", async () => {
    handle = (_, response, count) => {
      if (count === 1) return answer(response, tenant());
      setTimeout(() => answer(response, tenant({ status: "ready", observed_generation: 1 })), 800);
    };
    const found = await createClient(options).waitFor("acme", { for: "ready", timeoutMs: 30_000 });
    expect(found?.status).toBe("ready");
    expect(urls[0]).toBe("/v1/tenants/acme");
    expect(urls[1]).toMatch(/^\/v1\/tenants\/u-1\?wait=ready&timeout=(20000)ms$/);
    expect(urls).toHaveLength(2);
  });

  it("asks no more than a few times a second of a server that holds nothing back", async () => {
    handle = (_, response) => answer(response, tenant());
    await expect(
      createClient(options).waitFor("acme", { for: "ready", timeoutMs: 1_500 }),
    ).rejects.toMatchObject({
      code: "wait_timeout",
    });
    expect(urls.length).toBeGreaterThan(3);
    expect(urls.length).toBeLessThan(9);
  });

  it("polls where there is no room to wait", async () => {
    handle = (request, response, count) => {
      if (request.url?.includes("wait=") === true) return refuse(response, 503, "too_many_watchers");
      answer(response, tenant(count > 4 ? { status: "ready", observed_generation: 1 } : {}));
    };
    const found = await createClient(options).waitFor("acme", { for: "ready", timeoutMs: 10_000 });
    expect(found?.status).toBe("ready");
  });
});
