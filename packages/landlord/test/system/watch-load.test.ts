/** A thousand watchers cost the database what none does: statements are counted on the wire before PostgreSQL. */
import { setTimeout as delay } from "node:timers/promises";
import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, expect, it } from "vitest";
import { apiOf, type Api } from "../support/api.ts";
import { eventually } from "../support/eventually.ts";
import { startTestSystem, type TestSystem } from "../support/system.ts";
import { API_ONLY, create } from "../http/kit.ts";
import { startStatementCounter, type StatementCounter } from "../http/statement-counter.ts";

const WATCHERS = 1_000;
const WRITES = 20;
const PAUSE_MS = 150;

let system: TestSystem;
let counter: StatementCounter;
let url: URL;
let api: Api;
const sockets: Socket[] = [];
beforeAll(async () => {
  system = await startTestSystem({
    worker: false,
    server: { ...API_ONLY.server, "http.event_heartbeat": "1s" },
  });
  counter = await startStatementCounter(system.database.url);
  const server = await system.startServer({
    "database.url": counter.url,
    "database.listen_url": system.database.url,
  });
  url = new URL(server.url);
  api = apiOf(server.url);
});
afterAll(async () => {
  for (const socket of sockets) socket.destroy();
  await system.stop();
  await counter.close();
});

/** A stream, as cheap as it gets: this process must not be what is measured. */
function watch(counts: Map<number, number>, index: number, after: string): void {
  const socket = connect({ host: url.hostname, port: Number(url.port) });
  sockets.push(socket);
  socket.on("error", () => undefined);
  const query = index % 2 === 0 ? `?after=${after}` : `?after=${after}&selector=load`;
  socket.write(`GET /v1/events${query} HTTP/1.1\r\nhost: ${url.hostname}\r\n\r\n`);
  socket.on("data", (bytes) => {
    const found = bytes.toString("latin1").split("event: transition\n").length - 1;
    counts.set(index, (counts.get(index) ?? 0) + found);
  });
}

/** Statements while so many tenants are made, one after the other. */
async function statementsOfWrites(): Promise<number> {
  const before = counter.count();
  for (let write = 0; write < WRITES; write += 1) {
    await create(api, { labels: { load: "" } });
    await delay(PAUSE_MS);
  }
  return counter.count() - before;
}

it("0 and 1,000 watchers: as many statements for the same writes", { timeout: 120_000 }, async () => {
  await statementsOfWrites();
  const alone = await statementsOfWrites();

  const counts = new Map<number, number>();
  const beforeConnecting = counter.count();
  const connectedAt = performance.now();
  // Half of them resume: what they missed is in memory.
  const token = await tokenNow();
  for (let index = 0; index < WATCHERS; index += 1) {
    watch(counts, index, token);
    if (index % 100 === 99) await delay(50);
  }
  await eventually(() => counts.size === WATCHERS, { what: "all are connected" });
  const seconds = (performance.now() - connectedAt) / 1_000;
  const connecting = counter.count() - beforeConnecting;
  // Two looks a second, by feed and sequencer.
  expect(connecting).toBeLessThan(4 * seconds + 20);

  const watched = await statementsOfWrites();
  console.log(`statements for ${WRITES} writes: ${alone} without watchers, ${watched} with ${WATCHERS}`);
  await eventually(() => [...counts.values()].every((count) => count === WRITES), {
    what: "each watcher has seen every write",
  });
  // A look that coincides with another is one statement less; one watcher in a hundred that asked would be 200 more.
  expect(Math.abs(watched - alone)).toBeLessThanOrEqual(0.5 * alone);
});

async function tokenNow(): Promise<string> {
  const hangUp = new AbortController();
  const response = await fetch(`${url.origin}/v1/events`, { signal: hangUp.signal });
  const reader = response.body?.getReader() as ReadableStreamDefaultReader<Uint8Array>;
  const { value } = await reader.read();
  hangUp.abort();
  return /id: (\S+)/.exec(new TextDecoder().decode(value))?.[1] ?? "";
}
