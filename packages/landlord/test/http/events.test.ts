/** GET /v1/events: what a watcher sees, from where it may resume, and what ends its stream. */
import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { parseToken } from "../../src/http/event-token.ts";
import { apiOf, type Api } from "../support/api.ts";
import { eventually } from "../support/eventually.ts";
import { startTestSystem, type TestSystem } from "../support/system.ts";
import { openEvents, type EventReader } from "./event-reader.ts";
import { API_ONLY, create, expectProblem, freshName } from "./kit.ts";

const HEARTBEAT_MS = 200;

let system: TestSystem;
let api: Api;
const readers: EventReader[] = [];
beforeAll(async () => {
  system = await startTestSystem({
    ...API_ONLY,
    server: { ...API_ONLY.server, "http.event_heartbeat": `${HEARTBEAT_MS}ms` },
  });
  api = apiOf(system.url);
});
afterEach(() => readers.splice(0).forEach((reader) => reader.close()));
afterAll(() => system.stop());

async function open(
  query: Record<string, string> = {},
  headers: Record<string, string> = {},
  url = system.url,
): Promise<EventReader> {
  const reader = await openEvents(url, query, headers);
  readers.push(reader);
  await reader.until(({ received }) => received.length > 0, "hello");
  return reader;
}

/** Transitions of a tenant that never was, as many as wished, in one commit. The sequencer does the rest. */
async function insertTransitions(
  target: TestSystem,
  count: number,
  labels: Record<string, string> = {},
): Promise<void> {
  await target.database.query(
    `INSERT INTO transitions (tenant_id, tenant_name, to_status, reason, message, generation, actor, labels)
     SELECT '00000000-0000-4000-8000-000000000000', 'bulk', 'ready', 'inserted', '', n, 'test', $2
     FROM generate_series(1, $1::int) n`,
    [count, JSON.stringify(labels)],
  );
}

const generations = (reader: EventReader): readonly number[] =>
  reader.transitions().map(({ generation }) => generation);
const upTo = (count: number, from = 1): readonly number[] =>
  Array.from({ length: count }, (_, index) => from + index);

describe("a watch", () => {
  it("begins with a token, and brings each transition as it happens, with labels and without positions", async () => {
    const reader = await open();
    expect(reader.response.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
    expect(reader.response.headers.get("cache-control")).toBe("no-store");
    expect(reader.response.headers.get("x-request-id")).not.toBeNull();
    expect(reader.received[0]).toMatchObject({ event: "hello", data: `{"heartbeat_ms":${HEARTBEAT_MS}}` });
    const tenant = await create(api, { labels: { env: "prod" } });
    await api.call("PATCH", `/v1/tenants/${tenant.id}`, { labels: { env: "test" } });
    await reader.until(
      ({ received }) => received.filter(({ event }) => event === "transition").length === 2,
      "both",
    );
    const { body } = await api.call<{ transitions: Record<string, unknown>[] }>(
      "GET",
      `/v1/tenants/${tenant.id}/history`,
    );
    const [changed, made] = body.transitions;
    expect(reader.transitions()).toEqual([
      { ...made, labels: { env: "prod" } },
      { ...changed, labels: { env: "test" } },
    ]);
    expect(parseToken(reader.lastId())).not.toBeNull();
  });

  it("goes on after a token without gap or repeat: by parameter, and as EventSource does it", async () => {
    const before = await open();
    const first = await create(api);
    await before.until(({ received }) => received.some(({ event }) => event === "transition"), "the first");
    before.close();
    const missed = [await create(api), await create(api)];
    const byParameter = await open({ after: before.lastId() });
    const byHeader = await open({ after: "oldest" }, { "last-event-id": before.lastId() });
    const live = await create(api);
    for (const reader of [byParameter, byHeader]) {
      await reader.until(() => reader.transitions().length >= 3, "all three");
      expect(reader.transitions().map(({ tenant_id: id }) => id)).toEqual(
        [...missed, live].map(({ id }) => id),
      );
      expect(reader.received[0]?.id).toBe(before.lastId());
    }
    expect(before.transitions().map(({ tenant_id: id }) => id)).toEqual([first.id]);
  });

  it("shows only what its selector and its tenant ask for", async () => {
    const env = freshName("env");
    const [bySelector, byUuidLater, byName] = await Promise.all([
      open({ selector: `env=${env},tier!=free` }),
      open({ tenant: "AAAAAAAA-0000-4000-8000-000000000000" }),
      open({ tenant: `named-${env}` }),
    ]);
    await create(api, { labels: { env, tier: "free" } });
    const wanted = await create(api, { labels: { env, tier: "paid" } });
    const named = await create(api, { name: `named-${env}` });
    const byUuid = await open({ tenant: named.id.toUpperCase(), after: bySelector.received[0]?.id ?? "" });
    await byName.until(() => byName.transitions().length === 1, "the named one");
    await byUuid.until(() => byUuid.transitions().length === 1, "the one by uuid");
    await bySelector.until(() => bySelector.transitions().length === 1, "the selected one");
    expect(bySelector.transitions()[0]?.tenant_id).toBe(wanted.id);
    expect(byName.transitions()[0]?.tenant_id).toBe(named.id);
    expect(byUuid.transitions()[0]?.tenant_id).toBe(named.id);
    expect(byUuidLater.transitions()).toEqual([]);
  });

  it("moves the token of a quiet selector on, with bookmarks that repeat nothing", async () => {
    const quiet = await open({ selector: "nobody=has-this" });
    const start = quiet.lastId();
    await create(api);
    await quiet.until(({ received }) => received.some(({ event }) => event === "bookmark"), "a bookmark");
    expect(quiet.received.map(({ event }) => event)).toEqual(["hello", "bookmark"]);
    expect(parseToken(quiet.lastId())?.position).toBeGreaterThan(parseToken(start)?.position ?? Infinity);
    const resumed = await open({ after: quiet.lastId() });
    const next = await create(api);
    await resumed.until(() => resumed.transitions().length > 0, "the next");
    expect(resumed.transitions().map(({ tenant_id: id }) => id)).toEqual([next.id]);
    const { comments } = quiet;
    await quiet.until((reader) => reader.comments > comments, "a heartbeat with nothing in it");
  });

  it("refuses what is no token, no selector, or too much", async () => {
    const ask = (query: string) => api.call("GET", `/v1/events?${query}`);
    expectProblem(await ask("after=nonsense"), 400, "invalid_token");
    expectProblem(await ask(`after=${Buffer.from("1.5.short").toString("base64url")}`), 400, "invalid_token");
    expectProblem(await ask("selector=(("), 400, "invalid_request");
    expectProblem(await ask("afer=x"), 400, "invalid_request");
    expect((await fetch(`${system.url}/v1/events`, { method: "HEAD" })).status).toBe(404);
  });
});

describe("a place that is gone", () => {
  let own: TestSystem;
  beforeAll(async () => {
    own = await startTestSystem({
      ...API_ONLY,
      server: { ...API_ONLY.server, "http.event_heartbeat": "100ms" },
    });
  });
  afterAll(() => own.stop());

  it("is of another database, or beyond this one", async () => {
    const elsewhere = (await open()).lastId();
    expectProblem(await apiOf(own.url).call("GET", `/v1/events?after=${elsewhere}`), 410, "watch_expired");
    const here = await open({}, {}, own.url);
    const print = parseToken(here.lastId())?.fingerprint;
    const beyond = Buffer.from(`1.1000.${print}`).toString("base64url");
    expectProblem(await apiOf(own.url).call("GET", `/v1/events?after=${beyond}`), 410, "watch_expired");
  });

  it("is what a restored database has lost, also when its positions were given out again", async () => {
    await insertTransitions(own, 10);
    const watching = await open({ after: "oldest" }, {}, own.url);
    await watching.until(() => watching.transitions().length === 10, "all");
    const lost = watching.lastId();
    // A restore that was followed by as many writes: the same positions, other transitions.
    await own.database.query("UPDATE transitions SET tenant_id = gen_random_uuid() WHERE position > 5");
    await insertTransitions(own, 15);
    await watching.until((reader) => reader.ended, "the farewell");
    expect(watching.received.at(-1)).toMatchObject({ event: "bye", data: `{"reason":"expired"}` });
    const ask = async (after: string) => apiOf(own.url).call("GET", `/v1/events?after=${after}`);
    const refused = expectProblem(await ask(lost), 410, "watch_expired");
    expect(refused.error).toContain("list the tenants again");
    // What is before the cut is still good.
    const kept = watching.received.find(({ data }) => data.includes('"generation":5,'))?.id ?? "";
    const resumed = await open({ after: kept }, {}, own.url);
    await resumed.until(() => resumed.transitions().length === 20, "the new ones");
    expect(generations(resumed)).toEqual([...upTo(5, 6), ...upTo(15)]);
  });

  it("is what outlived its retention, also in the middle", async () => {
    const watching = await open({ after: "oldest" }, {}, own.url);
    await watching.until(() => watching.transitions().length === 25, "all");
    const old = watching.received.find(({ event }) => event === "transition")?.id ?? "";
    await own.database.query("DELETE FROM transitions WHERE position = 3");
    // A server that has it in memory still knows; one that has not must not skip it.
    const other = await own.startServer();
    expectProblem(await apiOf(other.url).call("GET", `/v1/events?after=${old}`), 410, "watch_expired");
    const oldest = await open({ after: "oldest" }, {}, other.url);
    // Of what is left, the oldest itself is the place to go on from.
    await oldest.until(() => oldest.transitions().length === 21, "what follows the hole");
  });
});

describe("many events", () => {
  const COUNT = 4_000;
  let own: TestSystem;
  beforeAll(async () => {
    own = await startTestSystem({
      ...API_ONLY,
      server: { ...API_ONLY.server, "http.event_buffer_bytes": 65_536, "http.event_heartbeat": "2s" },
    });
  });
  afterAll(() => own.stop());

  it("are read from the database by pages, then from memory, then as they come", async () => {
    await insertTransitions(own, COUNT);
    await eventually(
      async () => {
        const [row] = await own.database.query("SELECT count(position)::int AS n FROM transitions");
        return row?.["n"] === COUNT;
      },
      { what: "all have a position" },
    );
    // It begins with the newest in memory only.
    const fresh = await own.startServer();
    const early = await open({ after: "oldest" }, {}, fresh.url);
    const middle = await open({ after: "oldest" }, {}, own.url);
    await early.until(() => early.transitions().length > 100, "some");
    await insertTransitions(own, 500);
    for (const reader of [early, middle]) {
      await reader.until(() => reader.transitions().length === COUNT + 500, "all", 20_000);
      expect(generations(reader)).toEqual([...upTo(COUNT), ...upTo(500)]);
    }
    const ids = early.received.map(({ id }) => id);
    const resumed = await open({ after: ids[1_234] ?? "" }, {}, fresh.url);
    await resumed.until(() => resumed.transitions().length === COUNT + 500 - 1_234, "the rest", 20_000);
    expect(
      resumed.received
        .slice(1)
        .map(({ id }) => id)
        .slice(0, 3_000),
    ).toEqual(ids.slice(1_235, 4_235));
  });

  it(
    "end the stream of a client that does not read them, and of no other",
    { timeout: 120_000 },
    async () => {
      const healthy = await open({ selector: "padding" }, {}, own.url);
      const token = healthy.lastId();
      const { hostname, port } = new URL(own.url);
      const stuck = connect({ host: hostname, port: Number(port) });
      const chunks: Buffer[] = [];
      stuck.on("error", () => undefined);
      stuck.write(`GET /v1/events?after=${token}&selector=padding HTTP/1.1\r\nhost: ${hostname}\r\n\r\n`);
      await firstBytes(stuck, chunks);
      stuck.pause();
      const padding = Object.fromEntries(upTo(60).map((n) => [`key-${n}`, "x".repeat(1_000)]));
      const events = 400;
      // In parts, so that on a busy machine, too, only one of the two falls behind.
      for (let part = 1; part <= 8; part += 1) {
        await insertTransitions(own, events / 8, { ...padding, padding: "" });
        const seen = (part * events) / 8;
        await healthy.until(() => healthy.transitions().length === seen, "the healthy one has all", 20_000);
      }
      // Two heartbeats, and one more to be sure, in which it takes nothing.
      await delay(3 * 2_000);
      // The server has closed its end: what it had taken over is all that can still be read.
      await eventually(
        async () => {
          const [row] = await own.database.query("SELECT 1");
          stuck.resume();
          return row !== undefined && stuck.closed;
        },
        { what: "the stuck one was ended" },
      );
      const text = Buffer.concat(chunks).toString();
      const got = text.split("event: transition\n").length - 1;
      expect(got).toBeLessThan(events);
      const lastWhole = text
        .slice(0, text.lastIndexOf("\n\n"))
        .match(/id: (\S+)\n/g)
        ?.at(-1)
        ?.slice(4, -1);
      const resumed = await open({ after: lastWhole ?? "", selector: "padding" }, {}, own.url);
      const ids = healthy.received.map(({ id }) => id);
      const missing = events - ids.indexOf(lastWhole ?? "");
      await resumed.until(() => resumed.transitions().length === missing, "what it missed", 20_000);
      expect(resumed.received.filter(({ event }) => event === "transition").map(({ id }) => id)).toEqual(
        healthy.received
          .filter(({ event }) => event === "transition")
          .map(({ id }) => id)
          .slice(-missing),
      );
    },
  );
});

async function firstBytes(socket: Socket, chunks: Buffer[]): Promise<void> {
  await new Promise<void>((resolve) => {
    socket.on("data", (chunk: Buffer) => {
      chunks.push(chunk);
      resolve();
    });
  });
}

describe("bounds", () => {
  it("neither write_timeout nor the bound of requests touches a stream, but the bound of watchers does", async () => {
    const own = await startTestSystem({
      ...API_ONLY,
      server: {
        ...API_ONLY.server,
        "http.write_timeout": "300ms",
        "http.event_heartbeat": "1500ms",
        "http.max_requests_in_flight": 2,
        "http.max_watchers": 4,
      },
    });
    try {
      const streams = [];
      for (let count = 0; count < 4; count += 1) streams.push(await open({}, {}, own.url));
      const refused = await apiOf(own.url).call("GET", "/v1/events");
      expectProblem(refused, 503, "too_many_watchers");
      expect(refused.headers.get("retry-after")).not.toBeNull();
      // Silent for five times the write_timeout by then.
      for (const stream of streams) await stream.until(({ comments }) => comments > 0, "a heartbeat");
      expect(streams.some(({ ended }) => ended)).toBe(false);
      expect((await apiOf(own.url).call("GET", "/v1/tenants/nobody")).status).toBe(404);
      streams[0]?.close();
      await eventually(
        async () => {
          const next = await openEvents(own.url).catch(() => null);
          if (next !== null) readers.push(next);
          return next !== null;
        },
        { what: "a place is free again" },
      );
    } finally {
      await own.stop();
    }
  });

  it("a server that stops says good-bye, and is not held up", async () => {
    const own = await startTestSystem(API_ONLY);
    try {
      const second = await own.startServer();
      const stream = await open({}, {}, second.url);
      // As the pools of clients do: a connection for later.
      const unused = connect({ host: "127.0.0.1", port: Number(new URL(second.url).port) });
      unused.on("error", () => undefined);
      await new Promise((resolve) => unused.once("connect", resolve));
      const startedAt = performance.now();
      await second.stop();
      expect(performance.now() - startedAt).toBeLessThan(5_000);
      await stream.until((reader) => reader.ended, "the end");
      expect(stream.received.at(-1)).toMatchObject({ event: "bye", data: `{"reason":"server_stopping"}` });
      const resumed = await open({ after: stream.lastId() }, {}, own.url);
      const tenant = await create(apiOf(own.url));
      await resumed.until(() => resumed.transitions().length === 1, "the next event, at another server");
      expect(resumed.transitions()[0]?.tenant_id).toBe(tenant.id);
    } finally {
      await own.stop();
    }
  });
});
