/**
 * One server with many tenants under a steady load, and whether its memory stays flat. Engine and compute are the
 * mocks, inside the server: what they remember is bounded, and counts.
 */
import { readFileSync } from "node:fs";
import { chmod, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { startEmbeddedPostgres } from "../packages/landlord/src/store/embedded/embedded-postgres.ts";
import { startLandlord, type LandlordProcess } from "../packages/landlord/test/support/landlord-process.ts";
import { openSql, type SqlClient } from "../packages/landlord/test/support/sql.ts";
import { slopePerMinute, type Sample } from "./least-squares.ts";
import { createRandom, type Random } from "./random.ts";

export interface SoakOptions {
  readonly minutes: number;
  readonly tenants: number;
  /** Samples before this do not count: caches and the compiler's code fill up first. */
  readonly warmUpMs: number;
  readonly limitMbPerMinute: number;
  /** How often the server collects all garbage and tells its heap. */
  readonly heapEveryMs: number;
  /** Ends the run early. */
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
}

export interface SoakReport {
  readonly tenants: number;
  readonly minutes: number;
  readonly requests: number;
  readonly failed_requests: number;
  readonly operations: number;
  /** Least squares over the samples after the warm-up, in MB (10^6 bytes) per minute. */
  readonly heap_slope_mb_per_minute: number | null;
  readonly rss_slope_mb_per_minute: number | null;
  readonly limit_mb_per_minute: number;
  /** First and last counted sample. */
  readonly heap_mb: readonly [number, number];
  readonly rss_mb: readonly [number, number];
  readonly samples: number;
  readonly is_flat: boolean;
}

const CREATE_LANES = 16;
const READY_TIMEOUT_MS = 600_000;
const RSS_EVERY_MS = 1_000;
const SAY_EVERY_MS = 30_000;
const MB = 1e6;
/** Requests in a second, besides. */
const LOAD = { updates: 10, replacements: 2, reads: 10, pages: 1, histories: 1 } as const;

const quiet = { info: () => undefined, warn: () => undefined };
const PROBE = new URL("memory-probe.mjs", import.meta.url).href;

interface Soaked {
  readonly server: LandlordProcess;
  readonly sql: SqlClient;
  /** Tenants that exist, by id. */
  readonly ids: string[];
  requests: number;
  failed: number;
}

export async function runSoak(options: SoakOptions): Promise<SoakReport> {
  const folder = await mkdtemp(join(tmpdir(), "landlord-soak-"));
  await chmod(folder, 0o711);
  const postgres = await startEmbeddedPostgres({
    dataDir: join(folder, "postgres"),
    port: null,
    logFile: join(folder, "postgres.log"),
    log: quiet,
  });
  try {
    const server = await startLandlord(
      "serve",
      {
        data_dir: folder,
        "http.port": 0,
        "database.url": postgres.url,
        "workflow.default_provider": "mock",
        "workflow.allow_mock": true,
        "compute.mock": {},
        "log.level": "warn",
      },
      { NODE_OPTIONS: `--import ${PROBE}` },
    );
    const soaked: Soaked = { server, sql: openSql(postgres.url), ids: [], requests: 0, failed: 0 };
    try {
      await fill(soaked, options);
      return await watch(soaked, options);
    } finally {
      await soaked.sql.close();
      await server.stop();
    }
  } finally {
    await postgres.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

/** Creates the tenants and waits until all are ready. */
async function fill(soaked: Soaked, { tenants, signal, say }: SoakOptions): Promise<void> {
  const startMs = performance.now();
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < tenants && !signal.aborted) await create(soaked, `soak-${next++}`);
  };
  await Promise.all(Array.from({ length: CREATE_LANES }, lane));
  const deadlineMs = performance.now() + READY_TIMEOUT_MS;
  for (;;) {
    signal.throwIfAborted();
    const [row] = await soaked.sql.query<{ open: number }>(
      "SELECT count(*)::int AS open FROM tenants WHERE status <> 'ready'",
    );
    if (row?.open === 0) break;
    if (performance.now() > deadlineMs) throw new Error(`${row?.open} of ${tenants} tenants are not ready`);
    await delay(1_000);
  }
  const seconds = ((performance.now() - startMs) / 1000).toFixed(0);
  say(`${soaked.ids.length} tenants are ready after ${seconds} s`);
}

async function watch(soaked: Soaked, options: SoakOptions): Promise<SoakReport> {
  const { minutes, tenants, warmUpMs, limitMbPerMinute, say } = options;
  const ended = AbortSignal.any([AbortSignal.timeout(minutes * 60_000), options.signal]);
  const startMs = performance.now();
  const rss: Sample[] = [];
  const heap: Sample[] = [];
  const atMs = (): number => performance.now() - startMs;
  const every = async (periodMs: number, act: () => Promise<void> | void): Promise<void> => {
    while (!ended.aborted) {
      await act();
      await delay(periodMs, undefined, { signal: ended }).catch(() => undefined);
    }
  };
  await Promise.all([
    load(soaked, createRandom(1), ended),
    every(RSS_EVERY_MS, () => void rss.push({ atMs: atMs(), value: rssBytes(soaked.server.pid) / MB })),
    every(options.heapEveryMs, async () => {
      heap.push({ atMs: atMs(), value: (await heapBytes(soaked.server)) / MB });
    }),
    every(SAY_EVERY_MS, () =>
      say(
        `minute ${(atMs() / 60_000).toFixed(1)}: heap ${heap.at(-1)?.value.toFixed(1) ?? "?"} MB, RSS ${rss.at(-1)?.value.toFixed(1) ?? "?"} MB, ${soaked.requests} requests, ${soaked.failed} failed`,
      ),
    ),
  ]);
  options.signal.throwIfAborted();
  const counted = (samples: readonly Sample[]): readonly Sample[] =>
    samples.filter((sample) => sample.atMs >= warmUpMs);
  const slopes = [slopePerMinute(counted(heap)), slopePerMinute(counted(rss))] as const;
  const [row] = await soaked.sql.query<{ operations: number }>(
    "SELECT count(*)::int AS operations FROM operations",
  );
  return {
    tenants,
    minutes,
    requests: soaked.requests,
    failed_requests: soaked.failed,
    operations: row?.operations ?? 0,
    heap_slope_mb_per_minute: slopes[0],
    rss_slope_mb_per_minute: slopes[1],
    limit_mb_per_minute: limitMbPerMinute,
    heap_mb: ends(counted(heap)),
    rss_mb: ends(counted(rss)),
    samples: counted(heap).length + counted(rss).length,
    is_flat: slopes.every((slope) => slope !== null && slope <= limitMbPerMinute),
  };
}

/** Writes and reads at a constant rate; tenants come and go, and their number stays. */
async function load(soaked: Soaked, random: Random, ended: AbortSignal): Promise<void> {
  let round = 0;
  while (!ended.aborted) {
    const beganMs = performance.now();
    round += 1;
    const some = (count: number): readonly string[] =>
      Array.from({ length: count }, () => random.pick(soaked.ids));
    await Promise.all([
      ...some(LOAD.updates).map((id, index) =>
        call(soaked, "PUT", `/v1/tenants/${id}`, { compute_config: { round: `${round}.${index}` } }),
      ),
      ...Array.from({ length: LOAD.replacements }, (_, index) =>
        replace(soaked, random, `again-${round}-${index}`),
      ),
      ...some(LOAD.reads).map((id) => call(soaked, "GET", `/v1/tenants/${id}`)),
      ...some(LOAD.histories).map((id) => call(soaked, "GET", `/v1/tenants/${id}/history`)),
      ...Array.from({ length: LOAD.pages }, () =>
        call(soaked, "GET", `/v1/tenants?limit=100&offset=${random.between(0, soaked.ids.length)}`),
      ),
    ]);
    const restMs = Math.max(0, 1_000 - (performance.now() - beganMs));
    await delay(restMs, undefined, { signal: ended }).catch(() => undefined);
  }
}

async function replace(soaked: Soaked, random: Random, name: string): Promise<void> {
  const [id] = soaked.ids.splice(random.between(0, soaked.ids.length - 1), 1);
  await call(soaked, "DELETE", `/v1/tenants/${id}`);
  await create(soaked, name);
}

async function create(soaked: Soaked, name: string): Promise<void> {
  const body = { name, compute_provider: "mock", compute_config: { size: "small" } };
  const created = await call(soaked, "POST", "/v1/tenants", body, { "idempotency-key": name });
  if (created !== null) soaked.ids.push((created as { readonly id: string }).id);
}

/** The body of a 2xx; null for anything else, which is counted. Deleted ones are asked for as well, so 404 is no failure. */
async function call(
  soaked: Soaked,
  method: string,
  path: string,
  body?: object,
  headers: Readonly<Record<string, string>> = {},
): Promise<unknown> {
  soaked.requests += 1;
  const response = await fetch(`${soaked.server.url}${path}`, {
    method,
    headers: { ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const answer = await response.json();
  if (response.ok) return answer;
  if (response.status !== 404 && response.status !== 409) soaked.failed += 1;
  return null;
}

function heapBytes({ child }: LandlordProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    const onMessage = (message: unknown): void => {
      const { kind, heapBytes: bytes } = message as { readonly kind: string; readonly heapBytes: number };
      if (kind !== "memory") return;
      child.off("message", onMessage);
      child.off("exit", onExit);
      resolve(bytes);
    };
    const onExit = (): void => reject(new Error("the server ended"));
    child.on("message", onMessage);
    child.once("exit", onExit);
    child.send({ kind: "memory?" });
  });
}

function rssBytes(pid: number): number {
  const kilobytes = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Number(kilobytes) * 1_024;
}

function ends(samples: readonly Sample[]): readonly [number, number] {
  const round = (sample: Sample | undefined): number => Math.round((sample?.value ?? 0) * 10) / 10;
  return [round(samples[0]), round(samples.at(-1))];
}
