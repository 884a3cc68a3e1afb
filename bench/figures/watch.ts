/**
 * From sending a write to the last of 1,000 open streams having its event, next to a bare server that writes the same bytes
 * to 1,000 open responses after a NOTIFY. Both keep their watchers open all the time, and take turns write by write.
 */
import { connect, type Socket } from "node:net";
import type { Bench, Benchmark } from "../kit/bench.ts";
import { nextName } from "../kit/client.ts";
import { median, pairedFigure, quantile, type Figure, type Round } from "../kit/figure.ts";
import { getRequest, openLoad, postRequest } from "../kit/load.ts";
import { startDatabase, startRaw, startServer } from "../kit/parts.ts";
import { watchUsage } from "../kit/usage.ts";

const WATCHERS = 1_000;
/** As many as the kernel keeps waiting for a server that is busy. */
const CONNECT_AT_ONCE = 100;
/** An event by itself: what follows at once is put together with others, and that is cheaper. */
const PAUSE_MS = 30;
const EVENT_LIMIT_MS = 10_000;
const WARM_UP = 10;

export const watch: Benchmark = {
  id: "watch",
  about: `from a write to the last of ${WATCHERS} watchers`,
  run: measureWatch,
};

async function measureWatch(bench: Bench): Promise<readonly Figure[]> {
  const folder = bench.folder();
  const database = await startDatabase(folder);
  bench.onEnd(() => database.stop());
  const [server, raw] = await Promise.all([
    startServer(bench, folder, {
      "database.url": database.url,
      // One transition for each tenant that is created.
      "controller.enabled": false,
      "http.event_heartbeat": "30s",
    }),
    startRaw("raw/watch-server.ts", [database.url]),
  ]);
  bench.onEnd(() => server.stop());
  bench.onEnd(() => raw.stop());
  const rawUrl = `http://127.0.0.1:${raw.port}`;
  const landlord = await openAudience(server.url, "/v1/events");
  const bare = await openAudience(rawUrl, "/");
  const pids = { landlord: server.pid, raw: raw.pid, client: process.pid, database: database.pid };
  const write = (): Promise<number> =>
    landlord.timeTo(postRequest("/v1/tenants", { name: nextName(), compute_config: {} }));
  await write();
  const frame = landlord.lastFrame();
  const writeBare = (): Promise<number> => bare.timeTo(postRequest("/", { frame }));
  const { rounds, samples } = bench.isQuick ? { rounds: 7, samples: 8 } : { rounds: 15, samples: 40 };
  for (let sample = 0; sample < WARM_UP; sample++) {
    await writeBare();
    await write();
  }
  const usage = watchUsage(pids);
  const all = { landlord: [] as number[], raw: [] as number[] };
  const measured: Round[] = [];
  for (let round = 0; round < rounds; round++) {
    const times = { landlord: [] as number[], raw: [] as number[] };
    for (let sample = 0; sample < samples; sample++) {
      times.raw.push(await alone(writeBare));
      times.landlord.push(await alone(write));
    }
    measured.push({ landlord: median(times.landlord), raw: median(times.raw) });
    all.landlord.push(...times.landlord);
    all.raw.push(...times.raw);
  }
  const used = usage();
  landlord.close();
  bare.close();
  const events = rounds * samples;
  return [
    pairedFigure(
      {
        id: "watch",
        unit: "ms",
        goal: { kind: "at-most", bound: 2 },
        details: {
          landlord_p99_ms: quantile(all.landlord, 0.99),
          raw_p99_ms: quantile(all.raw, 0.99),
          landlord_server_cpu_ms_per_event: used.landlord.cpuMs / events,
          raw_server_cpu_ms_per_event: used.raw.cpuMs / events,
          client_cpu_ms_per_event: used.client.cpuMs / (2 * events),
        },
      },
      measured,
    ),
  ];
}

async function alone(sample: () => Promise<number>): Promise<number> {
  await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  return sample();
}

interface Audience {
  /** Sends the request, and answers how long it took until every watcher had an event. */
  timeTo(request: string): Promise<number>;
  /** As the last watcher got it. */
  lastFrame(): string;
  close(): void;
}

const EVENT = Buffer.from("event: transition");

/** Watchers of one server; each looks for the beginning of an event and at nothing else. */
async function openAudience(url: string, path: string): Promise<Audience> {
  const writer = await openLoad(url, 1);
  const { hostname, port } = new URL(url);
  let waiting = 0;
  let frame = "";
  let settle: () => void = () => undefined;
  const onData = (data: Buffer): void => {
    if (!data.includes(EVENT)) return;
    waiting -= 1;
    if (waiting > 0) return;
    // A chunk of HTTP/1.1: its length in the line before.
    frame = data.toString().split("\r\n")[1] ?? "";
    settle();
  };
  const sockets: Socket[] = [];
  while (sockets.length < WATCHERS) {
    const next = Array.from({ length: CONNECT_AT_ONCE }, () =>
      openWatcher(hostname, Number(port), path, onData),
    );
    sockets.push(...(await Promise.all(next)));
  }
  return {
    async timeTo(request) {
      waiting = WATCHERS;
      const startedMs = performance.now();
      let endedMs = 0;
      const seen = new Promise<void>((resolve, reject) => {
        const timer = setTimeout(
          () =>
            reject(new Error(`${waiting} of ${WATCHERS} watchers have no event after ${EVENT_LIMIT_MS} ms`)),
          EVENT_LIMIT_MS,
        );
        settle = () => {
          endedMs = performance.now();
          clearTimeout(timer);
          resolve();
        };
      });
      const [{ status }] = await Promise.all([writer.ask(request), seen]);
      if (status >= 300) throw new Error(`${url}: a write was answered ${status}`);
      return endedMs - startedMs;
    },
    lastFrame: () => frame,
    close() {
      writer.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** One buffer for all: what is read is looked at before the next is read. */
const READ_BUFFER = Buffer.alloc(64 * 1024);

/** Open when the first words have come. */
function openWatcher(
  host: string,
  port: number,
  path: string,
  onData: (data: Buffer) => void,
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const callback = (length: number): boolean => {
      onData(READ_BUFFER.subarray(0, length));
      resolve(socket);
      return true;
    };
    const socket: Socket = connect({ host, port, onread: { buffer: READ_BUFFER, callback } });
    socket.once("error", reject);
    socket.once("connect", () => socket.write(getRequest(path)));
  });
}
