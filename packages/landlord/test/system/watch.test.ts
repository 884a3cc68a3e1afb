/**
 * The promise of watching, on real parts: two servers that reconcile, a worker, eight writers at once, and readers whose
 * connections break all the time, at any byte. Each sees every transition exactly once, in the order of its tenant.
 */
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { watch, type TenantEvent } from "../../../client/src/index.ts";
import type { TenantBody } from "../../src/contract/tenant.ts";
import { parseToken } from "../../src/http/event-token.ts";
import { openEvents } from "../http/event-reader.ts";
import { apiOf, type Api } from "../support/api.ts";
import { eventually } from "../support/eventually.ts";
import { startTestSystem, type TestSystem } from "../support/system.ts";

const WRITERS = 8;
const TENANTS_EACH = 4;
const CHANGES_EACH = 4;

const seed = Number(process.env["WATCH_SEED"] ?? Date.now() % 1_000_000);
let state = seed;
/** Below `limit`; Lehmer's generator, so that WATCH_SEED repeats a run's choices. */
function random(limit: number): number {
  state = (state * 48_271) % 2_147_483_647;
  return state % limit;
}

let system: TestSystem;
let urls: readonly string[];
beforeAll(async () => {
  state = (seed % 2_147_483_646) + 1;
  system = await startTestSystem({ server: { "http.event_heartbeat": "500ms" } });
  urls = [system.url, (await system.startServer()).url];
});
afterAll(() => system.stop());

it(`loses and repeats nothing (WATCH_SEED=${seed})`, { timeout: 180_000 }, async () => {
  const proxy = await startCuttingProxy(urls);
  const stop = new AbortController();
  const seenByClient: TenantEvent[] = [];
  const seenByReader: { readonly id: string; readonly tenant: string }[] = [];
  let interruptions = 0;
  const watchers = Promise.all([
    byClient(proxy.url, seenByClient, stop.signal, () => (interruptions += 1)),
    byReader(seenByReader, stop.signal),
  ]);
  try {
    await Promise.all(
      Array.from({ length: WRITERS }, (_, index) => write(apiOf(urls[index % urls.length] ?? ""), index)),
    );
    await eventually(
      async () => {
        const [row] = await system.database.query(
          `SELECT count(*) FILTER (WHERE status NOT IN ('ready')) AS busy,
             (SELECT count(*) FROM transitions WHERE position IS NULL) AS unsequenced FROM tenants`,
        );
        return Number(row?.["busy"]) === 0 && Number(row?.["unsequenced"]) === 0;
      },
      { what: "all is settled", timeoutMs: 60_000 },
    );
    const [row] = await system.database.query("SELECT max(position)::int AS newest FROM transitions");
    const newest = Number(row?.["newest"]);
    await eventually(
      () =>
        [seenByClient.at(-1)?.token, seenByReader.at(-1)?.id].every(
          (token) => parseToken(token ?? "")?.position === newest,
        ),
      { what: `both have seen all ${newest}; seen ${seenByClient.length} and ${seenByReader.length}` },
    );
  } finally {
    stop.abort();
    await watchers;
    await proxy.close();
  }
  const rows = await system.database.query(
    `SELECT position::int, tenant_id AS tenant, reason, to_status AS status, generation::int FROM transitions ORDER BY id`,
  );
  expect(rows.length).toBeGreaterThan(WRITERS * TENANTS_EACH * (CHANGES_EACH + 3));
  expect(interruptions).toBeGreaterThan(10);
  const positions = rows.map(({ position }) => Number(position)).sort((x, y) => x - y);
  // Exactly once.
  expect(seenByReader.map(({ id }) => parseToken(id)?.position)).toEqual(positions);
  expect(seenByClient.map(({ token }) => parseToken(token)?.position)).toEqual(positions);
  // In the order in which each tenant's transitions were committed, which is that of their ids.
  for (const tenant of new Set(rows.map((row) => String(row["tenant"])))) {
    const own = rows.filter((row) => row["tenant"] === tenant);
    const seen = seenByClient.filter((event) => event.tenant_id === tenant);
    expect(seen.map(({ reason, to_status, generation }) => [reason, to_status, generation])).toEqual(
      own.map((row) => [row["reason"], row["status"], row["generation"]]),
    );
  }
});

/** Creates, changes and deletes as fast as the API answers. */
async function write(api: Api, writer: number): Promise<void> {
  for (let index = 0; index < TENANTS_EACH; index += 1) {
    const made = await api.call<TenantBody>("POST", "/v1/tenants", {
      name: `w${writer}-${index}`,
      compute_provider: "mock",
      compute_config: {},
    });
    expect(made.status, JSON.stringify(made.body)).toBe(201);
    for (let change = 0; change < CHANGES_EACH; change += 1) {
      const changed = await api.call("PATCH", `/v1/tenants/${made.body.id}`, {
        labels: { change: `${change}` },
      });
      expect(changed.status, JSON.stringify(changed.body)).toBeLessThan(300);
    }
    if (index === 0) expect((await api.call("DELETE", `/v1/tenants/${made.body.id}`)).status).toBe(202);
  }
}

/** Our client, over connections that end after a few hundred or thousand bytes, wherever that is in an event. */
async function byClient(
  url: string,
  seen: TenantEvent[],
  signal: AbortSignal,
  onInterrupted: () => void,
): Promise<void> {
  for await (const event of watch({ baseUrl: url }, { after: "oldest", signal, onInterrupted }))
    seen.push(event);
}

/** A client of another make: hangs up at random moments, and resumes at the other server. */
async function byReader(
  seen: { readonly id: string; readonly tenant: string }[],
  signal: AbortSignal,
): Promise<void> {
  for (let turn = 0; !signal.aborted; turn += 1) {
    const reader = await openEvents(urls[turn % urls.length] ?? "", { after: seen.at(-1)?.id ?? "oldest" });
    await delay(random(400), undefined, { signal }).catch(() => undefined);
    reader.close();
    for (const { event, id, data } of reader.received) {
      if (event === "transition") seen.push({ id, tenant: (JSON.parse(data) as TenantEvent).tenant_id });
    }
  }
}

interface CuttingProxy {
  readonly url: string;
  close(): Promise<void>;
}

/** Lets each connection have so many bytes of its answer, and no more. */
async function startCuttingProxy(targets: readonly string[]): Promise<CuttingProxy> {
  const open = new Set<Socket>();
  const server: Server = createServer((client) => {
    const target = new URL(targets[random(targets.length)] ?? "");
    const upstream = connect({ host: target.hostname, port: Number(target.port) });
    let budget = 500 + random(12_000);
    for (const socket of [client, upstream]) {
      open.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => {
        open.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    client.pipe(upstream);
    upstream.on("data", (bytes) => {
      const piece = bytes.subarray(0, budget);
      budget -= piece.length;
      client.write(piece, () => {
        if (budget === 0) client.destroy();
      });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      for (const socket of open) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
