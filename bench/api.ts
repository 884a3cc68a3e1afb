/**
 * Requests a second of the API next to bare Fastify routes over the same statements, in turn in one run; and what the last
 * page of a list of 100,000 tenants costs, next to the first.
 */
import { fork, type ChildProcess } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Pool } from "undici";
import pg from "pg";
import { startEmbeddedPostgres } from "../packages/landlord/src/store/embedded/embedded-postgres.ts";
import { nextNumber, quantile, sample, type Figure } from "./measure.ts";

const BENCH = dirname(fileURLToPath(import.meta.url));
const FLEET = 100_000;
const PAGE = 100;
const AT_ONCE = 16;

interface Load {
  readonly id: string;
  readonly goalRatio: number;
  send(pool: Pool, isRaw: boolean): Promise<number>;
}

export async function measureApi(settings: {
  readonly rounds: number;
  readonly requests: number;
}): Promise<Figure[]> {
  const folder = mkdtempSync(join(tmpdir(), "landlord-bench-api-"));
  chmodSync(folder, 0o755);
  const log = {
    info: () => undefined,
    warn: (_: object, text: string) => process.stderr.write(`${text}\n`),
  };
  const postgres = await startEmbeddedPostgres({
    dataDir: join(folder, "postgres"),
    port: null,
    logFile: join(folder, "postgres.log"),
    log,
  });
  const children: ChildProcess[] = [];
  try {
    const raw = fork(join(BENCH, "raw-api.ts"), [postgres.url], {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    children.push(raw);
    const rawUrl = `http://127.0.0.1:${String((await message(raw))["port"])}`;
    const { child, url } = await startServer(postgres.url, folder);
    children.push(child);
    const ids = await fillFleet(postgres.url);
    const pools = {
      landlord: new Pool(url, { connections: AT_ONCE }),
      raw: new Pool(rawUrl, { connections: AT_ONCE }),
    };
    const figures = [
      // Before the writes: what they add has more to show for itself.
      await measureDepth(pools.landlord, settings.rounds),
      ...(await measureLoads(pools, ids, settings)),
    ];
    await Promise.all([pools.landlord.close(), pools.raw.close()]);
    return figures;
  } finally {
    for (const child of children) await ended(child);
    await postgres.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function measureLoads(
  pools: Readonly<Record<"landlord" | "raw", Pool>>,
  ids: readonly string[],
  { rounds, requests }: { readonly rounds: number; readonly requests: number },
): Promise<Figure[]> {
  const anyId = (): string => ids[nextNumber() % ids.length] ?? "";
  const get = async (pool: Pool, path: string): Promise<number> => {
    const { statusCode, body } = await pool.request({ method: "GET", path });
    await body.dump();
    return statusCode;
  };
  const loads: readonly Load[] = [
    {
      id: "api-read",
      goalRatio: 0.8,
      send: (pool, isRaw) => get(pool, `${isRaw ? "" : "/v1"}/tenants/${anyId()}`),
    },
    {
      id: "api-write",
      goalRatio: 0.6,
      async send(pool, isRaw) {
        const { statusCode, body } = await pool.request({
          method: "POST",
          path: `${isRaw ? "" : "/v1"}/tenants`,
          headers: { "content-type": "application/json" },
          body: JSON.stringify({
            name: `bench-${process.pid}-${nextNumber()}`,
            ...(isRaw ? {} : { compute_config: {} }),
          }),
        });
        await body.dump();
        return statusCode;
      },
    },
  ];
  const figures: Figure[] = [];
  for (const load of loads) {
    const rates = { landlord: [] as number[], raw: [] as number[] };
    for (const side of ["raw", "landlord"] as const)
      await rate(pools[side], load, side === "raw", requests / 4);
    for (let round = 1; round <= rounds; round++) {
      for (const side of ["raw", "landlord"] as const)
        rates[side].push(await rate(pools[side], load, side === "raw", requests));
      process.stderr.write(`${load.id}: round ${round} of ${rounds}\n`);
    }
    figures.push(rateFigure(load, rates));
  }
  return figures;
}

function rateFigure({ id, goalRatio }: Load, rates: Readonly<Record<"landlord" | "raw", number[]>>): Figure {
  const ratios = rates.landlord
    .map((each, round) => each / (rates.raw[round] ?? Number.NaN))
    .sort((a, b) => a - b);
  const median = (values: readonly number[]): number =>
    quantile(
      [...values].sort((a, b) => a - b),
      0.5,
    );
  const ratio = quantile(ratios, 0.5);
  return {
    id,
    value: median(rates.landlord),
    unit: "req/s",
    raw: median(rates.raw),
    ratio,
    goal: `>= ${goalRatio} x raw`,
    met: ratio >= goalRatio,
    spread: [ratios[0] ?? Number.NaN, ratios.at(-1) ?? Number.NaN],
  };
}

/** Requests a second, AT_ONCE at a time. */
async function rate(pool: Pool, load: Load, isRaw: boolean, requests: number): Promise<number> {
  let left = requests;
  const startedMs = performance.now();
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      while (left-- > 0) {
        const status = await load.send(pool, isRaw);
        if (status >= 300) throw new Error(`${load.id}: an answer of ${status}`);
      }
    }),
  );
  return (requests / (performance.now() - startedMs)) * 1_000;
}

/** Walks the whole list once for the token of its last page; then takes first and last page in turn. */
async function measureDepth(pool: Pool, rounds: number): Promise<Figure> {
  const page = async (
    token: string | null,
  ): Promise<{ readonly ms: number; readonly next: string | null }> => {
    const startedMs = performance.now();
    const query = token === null ? "" : `&page_token=${token}`;
    const { body } = await pool.request({ method: "GET", path: `/v1/tenants?limit=${PAGE}${query}` });
    const { next_page_token: next } = (await body.json()) as { next_page_token: string | null };
    return { ms: performance.now() - startedMs, next };
  };
  let last: string | null = null;
  let second: string | null = null;
  for (let next: string | null = null, pages = 0; ; pages++) {
    const answer = await page(next);
    if (answer.next === null) {
      last = next;
      process.stderr.write(`api-list: walked ${pages + 1} pages\n`);
      break;
    }
    if (pages === 0) second = answer.next;
    next = answer.next;
  }
  const all = { first: [] as number[], last: [] as number[] };
  const ratios: number[] = [];
  for (let round = 0; round < rounds; round++) {
    // The first page that follows a token: the very first one also counts.
    const first = await sample(50, async () => (await page(second)).ms);
    const end = await sample(50, async () => (await page(last)).ms);
    all.first.push(...first);
    all.last.push(...end);
    ratios.push(quantile(end, 0.5) / quantile(first, 0.5));
  }
  for (const samples of [ratios, all.first, all.last]) samples.sort((a, b) => a - b);
  const ratio = quantile(ratios, 0.5);
  return {
    id: "api-list-last",
    value: quantile(all.last, 0.5),
    unit: "ms",
    raw: quantile(all.first, 0.5),
    ratio,
    goal: "<= 1.2 x first page",
    met: ratio <= 1.2,
    spread: [ratios[0] ?? Number.NaN, ratios.at(-1) ?? Number.NaN],
  };
}

/** Ready tenants by the statement's own means; answers some of their ids. */
async function fillFleet(url: string): Promise<readonly string[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(
      `INSERT INTO tenants (id, name, status, status_message, intent, compute_provider, desired_config, config_hash, generation,
         observed_generation, observed_resource_ids, endpoints, health, scopes, paused, attempts, conditions, labels, annotations,
         version, revision, created_at)
       SELECT gen_random_uuid(), 'fleet-' || n, 'ready', '', 'present', 'mock', '{"compute_provider":"mock"}', '', 1, 1, '{}', '[]',
         'healthy', '[]', false, 0, '[]', jsonb_build_object('env', CASE WHEN n % 2 = 0 THEN 'prod' ELSE 'dev' END), '{}', 1, 1,
         now() - (${FLEET} - n) * interval '1 millisecond'
       FROM generate_series(1, ${FLEET}) n`,
    );
    await client.query("VACUUM ANALYZE tenants");
    const { rows } = await client.query<{ id: string }>(
      "SELECT id FROM tenants ORDER BY random() LIMIT 1000",
    );
    return rows.map(({ id }) => id);
  } finally {
    await client.end();
  }
}

async function startServer(
  databaseUrl: string,
  folder: string,
): Promise<{ readonly child: ChildProcess; readonly url: string }> {
  const config = join(folder, "bench.yaml");
  writeFileSync(config, "compute:\n  mock: {}\ncontroller:\n  enabled: false\nlog:\n  level: warn\n");
  const child = fork(
    join(BENCH, "../packages/landlord/src/start/main.ts"),
    ["serve", "--set", "http.port=0", "--config-file", config, "--set", `database.url=${databaseUrl}`],
    { stdio: ["ignore", "ignore", "inherit", "ipc"] },
  );
  const { url } = await message(child);
  return { child, url: String(url) };
}

function message(child: ChildProcess): Promise<Readonly<Record<string, unknown>>> {
  return new Promise((resolve, reject) => {
    child.once("message", (value) => resolve(value as Record<string, unknown>));
    child.once("exit", (code) => reject(new Error(`a process of the benchmark ended with ${code}`)));
  });
}

function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null) return resolve();
    child.once("exit", () => resolve());
    child.kill("SIGTERM");
  });
}
