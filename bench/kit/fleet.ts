/**
 * A fleet of ready tenants, written by SQL: what a database with so many looks like, without the hours that creating them
 * one by one would take.
 */
import { totalmem } from "node:os";
import pg from "pg";
import { deriveConditions } from "../../packages/landlord/src/domain/conditions.ts";
import { FRESH_TENANT } from "../../packages/landlord/src/domain/new-tenant.ts";
import type { Tenant } from "../../packages/landlord/src/domain/tenant.ts";
import { openPostgresStore } from "../../packages/landlord/src/store/postgres/postgres-store.ts";
import type { ServerStore } from "../../packages/landlord/src/store/store.ts";
import type { Bench } from "./bench.ts";
import { startDatabase, type DatabasePart } from "./parts.ts";
import { STEADY_SCOPE } from "./steady-compute.ts";

/** A database with a fleet in it. */
export interface Fleet {
  readonly url: string;
  /** As a server has it. */
  readonly store: ServerStore;
  /** Adds settled tenants until there are so many. Nobody is to look at their compute before that is asked for. */
  growTo(size: number): Promise<void>;
  /** Makes so many of them due, chosen at random. */
  makeDue(count: number): Promise<void>;
  /** A look at the compute of so many of them is due, and of no others. */
  makeLooksDue(count: number): Promise<void>;
  /** Spreads the next look at each over the time that all of them take at this rate, as in a fleet that is old. */
  spreadLooks(looksPerSecond: number): Promise<void>;
  /** Tenants that are due, leased, or waiting to be looked at. */
  count(what: keyof typeof CONDITIONS): Promise<number>;
}

const CHUNK = 50_000;
/** Labels of a fleet name so many owners. */
const OWNERS = 10;

const CONDITIONS = {
  due: "next_reconcile_at IS NOT NULL",
  leased: "lease_until IS NOT NULL",
  looks_due: "resync_at <= now()",
} as const;

/**
 * A database for a million tenants is given memory: a quarter of the machine's is what PostgreSQL's manual advises, and a
 * million tenants take 2 GB. Checkpoints are far apart: after each, the first change of a page is logged as the whole page,
 * of which large fleets have more.
 */
const DATABASE_SETTINGS = {
  shared_buffers: `${Math.min(4_096, Math.floor(totalmem() / 4 / 1_048_576))}MB`,
  max_wal_size: "16GB",
  checkpoint_timeout: "1h",
};

const servers = new WeakMap<Bench, Promise<DatabasePart>>();
const fleets = new WeakMap<Bench, Map<number, Promise<Fleet>>>();

/** A fleet of this size that benchmarks of one run share; nobody else works on it. */
export function sharedFleet(bench: Bench, size: number): Promise<Fleet> {
  const known = fleets.get(bench) ?? new Map<number, Promise<Fleet>>();
  fleets.set(bench, known);
  const fleet =
    known.get(size) ??
    emptyFleet(bench, `fleet_${size}`).then(async (made) => {
      bench.say(`writing ${size} tenants`);
      await made.growTo(size);
      return made;
    });
  known.set(size, fleet);
  return fleet;
}

/** A new database without tenants; all fleets share one PostgreSQL. */
export async function emptyFleet(bench: Bench, name: string): Promise<Fleet> {
  const server = await (servers.get(bench) ?? startPostgres(bench));
  const client = new pg.Client({ connectionString: server.url });
  await client.connect();
  await client.query(`CREATE DATABASE ${name}`);
  await client.end();
  const url = new URL(server.url);
  url.pathname = name;
  return openFleet(bench, url.href);
}

function startPostgres(bench: Bench): Promise<DatabasePart> {
  const starting = startDatabase(bench.folder(), DATABASE_SETTINGS).then((database) => {
    bench.onEnd(() => database.stop());
    return database;
  });
  servers.set(bench, starting);
  return starting;
}

async function openFleet(bench: Bench, url: string): Promise<Fleet> {
  const store = await openPostgresStore(
    {
      url,
      maxConnections: 10,
      connectTimeoutMs: 5_000,
      statementTimeoutMs: 60_000,
      applicationName: "bench",
      autoMigrate: true,
    },
    () => undefined,
  );
  bench.onEnd(() => store.close());
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  bench.onEnd(() => client.end());
  const conditions = JSON.stringify(deriveConditions(READY, READY.createdAt, { operationDeadlineMs: 1 }));
  let size = 0;
  const tidy = (): Promise<unknown> => client.query("VACUUM (ANALYZE) tenant_work");
  return {
    url,
    store,
    async growTo(wanted) {
      for (; size < wanted; size = Math.min(wanted, size + CHUNK)) {
        await client.query(FILL, [size + 1, Math.min(wanted, size + CHUNK), conditions, OWNERS]);
      }
      await client.query("VACUUM (ANALYZE) tenants");
      await tidy();
    },
    async makeDue(count) {
      await client.query(
        `UPDATE tenant_work SET next_reconcile_at = now() - random() * interval '10 seconds', resync_at = NULL
         WHERE tenant_id IN (SELECT tenant_id FROM tenant_work ORDER BY random() LIMIT $1)`,
        [count],
      );
      await tidy();
    },
    async makeLooksDue(count) {
      await client.query("UPDATE tenant_work SET resync_at = NULL WHERE resync_at IS NOT NULL");
      await client.query(
        `UPDATE tenant_work SET resync_at = now() - random() * interval '10 seconds'
         WHERE tenant_id IN (SELECT tenant_id FROM tenant_work ORDER BY random() LIMIT $1)`,
        [count],
      );
      await client.query("DELETE FROM chores");
      await tidy();
    },
    async spreadLooks(looksPerSecond) {
      await client.query(
        // In the order in which servers that run meanwhile lock what they give back; else one of the two has to yield.
        `UPDATE tenant_work SET resync_at = now() + (random() * $1 - 60) * interval '1 second'
         WHERE tenant_id IN (SELECT tenant_id FROM tenant_work ORDER BY tenant_id FOR UPDATE)`,
        [size / looksPerSecond],
      );
      await tidy();
    },
    async count(what) {
      const { rows } = await client.query<{ count: string }>(
        `SELECT count(*) FROM tenant_work WHERE ${CONDITIONS[what]}`,
      );
      return Number(rows[0]?.count);
    },
  };
}

/** As a create leaves it. */
const READY: Tenant = {
  ...FRESH_TENANT,
  id: "",
  name: "",
  status: "ready",
  intent: "present",
  computeProvider: "steady",
  desiredConfig: {},
  configHash: "",
  generation: 1,
  generationAt: new Date(0),
  observedGeneration: 1,
  observed: { config: null, resourceIds: {}, endpoints: [], health: "healthy", scopes: [STEADY_SCOPE] },
  createdAt: new Date(0),
  updatedAt: new Date(0),
};

const FILL = `
  WITH made AS (
    INSERT INTO tenants (id, name, status, status_message, intent, compute_provider, desired_config, config_hash,
      generation, observed_generation, observed_config, observed_resource_ids, endpoints, health, scopes, paused, attempts,
      workflow_execution_id, workflow_sub_state, workflow_retry_count, conditions, labels, annotations, version, revision)
    SELECT gen_random_uuid(), 'fleet-' || n, 'ready', '', 'present', 'steady', '{"compute_provider":"steady"}',
      md5('config'), 1, 1, '{"compute_provider":"steady"}', '{}', '[]', 'healthy', '["${STEADY_SCOPE}"]', false, 0,
      gen_random_uuid()::text, 'succeeded', 0, $3::jsonb, jsonb_build_object('owner', 'owner-' || n % $4::int), '{}', 1, 4
    FROM generate_series($1::int, $2::int) n
    RETURNING id, labels
  )
  INSERT INTO tenant_work (tenant_id, owner, compute_provider) SELECT id, labels ->> 'owner', 'steady' FROM made`;
