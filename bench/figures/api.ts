/**
 * Requests a second of the API next to bare Fastify and pg that read and write the same rows, in turn in one run: reading a
 * tenant, creating one, and pages of 100 at the beginning and at the end of 100,000 tenants. Each side has a database of its
 * own, so that what Landlord does behind its answers (events, the audit log) is its own cost. Page 1 is counted by both.
 */
import pg from "pg";
import { openPostgresStore } from "../../packages/landlord/src/store/postgres/postgres-store.ts";
import type { Bench, Benchmark } from "../kit/bench.ts";
import { nextName } from "../kit/client.ts";
import { pairedFigure, type Figure, type Goal, type Round } from "../kit/figure.ts";
import { getRequest, openLoad, postRequest, type Load } from "../kit/load.ts";
import { startDatabase, startRaw, startServer, type DatabasePart } from "../kit/parts.ts";
import { watchUsage } from "../kit/usage.ts";

const FLEET = 100_000;
const PAGE = 100;
const CONNECTIONS = 16;
/** Read in turn: as many as a cache would not serve. */
const IDS = 10_000;

export const api: Benchmark = { id: "api", about: "requests a second: read, create, list", run: measureApi };

interface Sides<Value> {
  readonly landlord: Value;
  readonly raw: Value;
}

interface Trial {
  readonly id: string;
  readonly goal: Goal;
  readonly connections: number;
  readonly requests: Sides<() => string>;
}

interface Fleet {
  readonly ids: readonly string[];
  readonly urls: Sides<string>;
  readonly pids: Readonly<Record<"landlord" | "raw" | "database", number>>;
}

async function measureApi(bench: Bench): Promise<readonly Figure[]> {
  const fleet = await startSides(bench);
  const figures: Figure[] = [];
  // Before the writes: what they add has more to show for itself.
  for (const trial of await trialsOf(fleet)) figures.push(await measure(trial, fleet, bench));
  figures.splice(-1, 0, await measureDepth(fleet, bench));
  return figures;
}

async function startSides(bench: Bench): Promise<Fleet> {
  const folder = bench.folder();
  const database = await startDatabase(folder);
  bench.onEnd(() => database.stop());
  bench.say(`api: filling two databases with ${FLEET} tenants each`);
  const { ids, rawUrl } = await fill(database);
  const server = await startServer(bench, folder, {
    "database.url": database.url,
    "controller.enabled": false,
  });
  bench.onEnd(() => server.stop());
  const raw = await startRaw("raw/api-server.ts", [rawUrl]);
  bench.onEnd(() => raw.stop());
  return {
    ids,
    urls: { landlord: server.url, raw: `http://127.0.0.1:${raw.port}` },
    pids: { landlord: server.pid, raw: raw.pid, database: database.pid },
  };
}

async function trialsOf({ ids, urls }: Fleet): Promise<readonly Trial[]> {
  let turn = 0;
  const anyId = (): string => ids[turn++ % ids.length] ?? "";
  const last = await lastPages(urls);
  const atLeast = (bound: number): Goal => ({ kind: "at-least", bound });
  const list = `tenants?limit=${PAGE}`;
  return [
    {
      id: "api-read",
      goal: atLeast(0.8),
      connections: CONNECTIONS,
      requests: {
        landlord: () => getRequest(`/v1/tenants/${anyId()}`),
        raw: () => getRequest(`/tenants/${anyId()}`),
      },
    },
    {
      id: "api-list",
      goal: atLeast(0.7),
      connections: CONNECTIONS,
      requests: { landlord: () => getRequest(`/v1/${list}`), raw: () => getRequest(`/${list}`) },
    },
    {
      id: "api-list-deep",
      goal: atLeast(0.7),
      connections: CONNECTIONS,
      requests: { landlord: () => getRequest(last.landlord), raw: () => getRequest(last.raw) },
    },
    {
      id: "api-write",
      goal: atLeast(0.6),
      connections: CONNECTIONS,
      requests: {
        landlord: () => postRequest("/v1/tenants", { name: nextName(), compute_config: {} }),
        raw: () => postRequest("/tenants", { name: nextName(), compute_config: {} }),
      },
    },
  ];
}

async function measure(trial: Trial, { urls, pids }: Fleet, bench: Bench): Promise<Figure> {
  // Nine: the interval may leave out the highest and the lowest.
  const { rounds, sliceMs, warmUpMs } = bench.isQuick
    ? { rounds: 9, sliceMs: 150, warmUpMs: 800 }
    : { rounds: 15, sliceMs: 1_000, warmUpMs: 5_000 };
  const loads: Sides<Load> = {
    landlord: await openLoad(urls.landlord, trial.connections),
    raw: await openLoad(urls.raw, trial.connections),
  };
  const costs = { landlord: new Cost(), raw: new Cost() };
  const slice = async (side: keyof Sides<unknown>): Promise<number> => {
    const usage = watchUsage({ server: pids[side], database: pids.database });
    const rate = await loads[side].rate(trial.requests[side], sliceMs);
    const { server, database } = usage();
    costs[side].add((rate * sliceMs) / 1_000, server.cpuMs, database.cpuMs);
    return rate;
  };
  // Until the compiler has seen what is hot.
  for (const side of ["raw", "landlord"] as const) await loads[side].rate(trial.requests[side], warmUpMs);
  const measured: Round[] = [];
  for (let round = 0; round < rounds; round++) {
    const raw = await slice("raw");
    measured.push({ raw, landlord: await slice("landlord") });
  }
  loads.landlord.close();
  loads.raw.close();
  return pairedFigure(
    {
      id: trial.id,
      unit: "req/s",
      goal: trial.goal,
      details: { ...costs.landlord.details("landlord"), ...costs.raw.details("raw") },
    },
    measured,
  );
}

/** Processor time of server and database by request. */
class Cost {
  private requests = 0;
  private serverMs = 0;
  private databaseMs = 0;

  add(requests: number, serverMs: number, databaseMs: number): void {
    this.requests += requests;
    this.serverMs += serverMs;
    this.databaseMs += databaseMs;
  }

  details(side: string): Record<string, number> {
    return {
      [`${side}_server_cpu_us_per_request`]: (this.serverMs / this.requests) * 1_000,
      [`${side}_database_cpu_us_per_request`]: (this.databaseMs / this.requests) * 1_000,
    };
  }
}

/** The last page next to the second, which is the first one that follows a token. */
async function measureDepth({ urls }: Fleet, bench: Bench): Promise<Figure> {
  const load = await openLoad(urls.landlord, 1);
  const pageMs = async (path: string): Promise<number> => {
    const startedMs = performance.now();
    await load.ask(getRequest(path));
    return performance.now() - startedMs;
  };
  const { landlord: last } = await lastPages(urls);
  const first = `/v1/tenants?limit=${PAGE}&page_token=${await nextToken(load, 0)}`;
  const rounds: Round[] = [];
  for (let round = 0; round < (bench.isQuick ? 40 : 300); round++)
    rounds.push({ raw: await pageMs(first), landlord: await pageMs(last) });
  load.close();
  return pairedFigure({ id: "api-list-last", unit: "ms", goal: { kind: "at-most", bound: 1.2 } }, rounds);
}

/** Paths of page 1,000 on either side. */
async function lastPages(urls: Sides<string>): Promise<Sides<string>> {
  const load = await openLoad(urls.landlord, 1);
  const token = await nextToken(load, FLEET - 2 * PAGE);
  load.close();
  const { after, total } = JSON.parse(Buffer.from(token, "base64url").toString()) as {
    after: string;
    total: number;
  };
  return {
    landlord: `/v1/tenants?limit=${PAGE}&page_token=${token}`,
    raw: `/tenants?limit=${PAGE}&after=${after}&total=${total}`,
  };
}

async function nextToken(load: Load, offset: number): Promise<string> {
  const { body } = await load.ask(getRequest(`/v1/tenants?limit=${PAGE}&offset=${offset}`));
  return (JSON.parse(body.toString()) as { next_page_token: string }).next_page_token;
}

/** Ready tenants as the reconciler leaves them, twice. */
async function fill(
  database: DatabasePart,
): Promise<{ readonly ids: readonly string[]; readonly rawUrl: string }> {
  const store = await openPostgresStore(
    {
      url: database.url,
      maxConnections: 1,
      connectTimeoutMs: 5_000,
      statementTimeoutMs: 60_000,
      applicationName: "bench",
      autoMigrate: true,
    },
    () => undefined,
  );
  await store.close();
  const ids = await withClient(database.url, async (client) => {
    await client.query(FILL, [FLEET]);
    await client.query("VACUUM ANALYZE tenants");
    const { rows } = await client.query<{ id: string }>(
      `SELECT id FROM tenants ORDER BY random() LIMIT ${IDS}`,
    );
    return rows.map(({ id }) => id);
  });
  const own = new URL(database.url);
  const name = own.pathname.slice(1);
  own.pathname = "/postgres";
  await withClient(own.href, (client) => client.query(`CREATE DATABASE raw TEMPLATE ${name}`));
  own.pathname = "/raw";
  return { ids, rawUrl: own.href };
}

const FILL = `
  INSERT INTO tenants (id, name, status, status_message, intent, compute_provider, desired_config, config_hash, generation,
    observed_generation, observed_config, observed_resource_ids, endpoints, health, scopes, paused, attempts, conditions, labels,
    annotations, version, revision, created_at)
  SELECT gen_random_uuid(), 'fleet-' || n, 'ready', '', 'present', 'mock', config, repeat('0', 64), 1, 1, config,
    jsonb_build_object('mock', 'fleet-' || n),
    jsonb_build_array(jsonb_build_object('name', 'http', 'address', '127.0.0.1', 'port', 20000 + n % 10000,
      'url', 'http://127.0.0.1:' || 20000 + n % 10000)),
    'healthy', '["mock"]', false, 0,
    (SELECT jsonb_agg(jsonb_build_object('type', type, 'status', status, 'reason', reason, 'message', '',
       'observedGeneration', 1, 'since', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')))
     FROM (VALUES ('Ready', 'True', 'ready'), ('Progressing', 'False', 'settled'), ('Healthy', 'True', 'observed_healthy'),
       ('ComputeReachable', 'True', 'reachable'), ('EngineReachable', 'True', 'reachable'),
       ('Stalled', 'False', 'settled'), ('Paused', 'False', 'not_paused')) c (type, status, reason)),
    jsonb_build_object('env', CASE WHEN n % 2 = 0 THEN 'prod' ELSE 'dev' END), '{}', 1, 4,
    now() - ($1::int - n) * interval '1 millisecond'
  FROM generate_series(1, $1::int) n, (SELECT '{"compute_provider": "mock", "size": "small"}'::jsonb AS config) c`;

async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
