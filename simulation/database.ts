/**
 * The database of a run: tables of immutable rows, and the statements of the PostgreSQL store, each of which happens
 * whole at one moment. What PostgreSQL does in between two moments (a claim reads its facts before it locks) is two
 * calls here as well. Who watches is told of every row that changed.
 */
import type {
  Actor,
  Commit,
  GenerationRecord,
  Breaker,
  Chore,
  IdempotentAnswer,
  OperationEvent,
  OperationRecord,
  Orphan,
  StoredTenant,
  Tombstone,
  Transition,
} from "../packages/landlord/src/store/store.ts";
import type { JsonObject } from "../packages/landlord/src/domain/json.ts";
import type { Lane, Tenant } from "../packages/landlord/src/domain/tenant.ts";

export interface WorkRow {
  readonly tenantId: string;
  readonly owner: string;
  readonly computeProvider: string;
  readonly lane: Lane;
  /** There is an unfinished operation. */
  readonly inFlight: boolean;
  /** The next look at its compute; null for none. */
  readonly resyncMs: number | null;
  readonly dueMs: number | null;
  readonly leaseUntilMs: number | null;
  readonly leaseOwner: string | null;
  readonly leaseToken: number;
  readonly wakeSeq: number;
}

export interface OperationRow {
  readonly record: OperationRecord;
  /** Kept until the operation is finished. */
  readonly request: JsonObject | null;
}

interface KeyRow extends IdempotentAnswer {
  readonly expiresMs: number;
}

interface EventRow {
  readonly operationId: string;
  readonly event: OperationEvent;
}

export interface ChoreRow extends Chore {
  readonly nextRunMs: number;
  readonly takenMs: number | null;
  readonly options: JsonObject;
}

interface RateRow {
  readonly tokens: number;
  readonly refilledMs: number;
}

/** Kept of a tenant. */
const GENERATIONS_LIMIT = 100;

/** A tombstone, and since when it is there. */
export interface TombstoneRow {
  readonly tombstone: Tombstone;
  readonly createdMs: number;
}

export interface OrphanRow extends Orphan {
  readonly firstSeenMs: number;
  readonly lastSeenMs: number;
}

export interface Tables {
  readonly tenants: Map<string, StoredTenant>;
  readonly work: Map<string, WorkRow>;
  readonly operations: Map<string, OperationRow>;
  /** Of each tenant, newest first. */
  readonly generations: Map<string, readonly GenerationRecord[]>;
  readonly transitions: Map<number, Transition>;
  readonly tombstones: Map<string, TombstoneRow>;
  readonly breakers: Map<string, Breaker>;
  readonly keys: Map<string, KeyRow>;
  readonly events: Map<number, EventRow>;
  readonly chores: Map<string, ChoreRow>;
  /** By scope and tenant. */
  readonly orphans: Map<string, OrphanRow>;
  /** By compute provider. */
  readonly rates: Map<string, RateRow>;
}

/** Told after each statement, when everything of it has happened. */
export interface Watcher {
  committed(change: Change): void;
}

/** A tenant before and after a statement. */
export interface Change {
  readonly tenantId: string;
  readonly before: StoredTenant | null;
  readonly after: StoredTenant | null;
  /** Who wrote: a client's request, the holder of a lease, or a sweep that found compute of nobody. */
  readonly by: "client" | "reconciler" | "sweep";
  /** The process whose call this was. */
  readonly caller: string;
  /** Of a reconciler's write: who held the lease. */
  readonly holder: string | null;
}

export interface Database {
  tables: Tables;
  /** Its clock, in milliseconds since the epoch. */
  readonly nowMs: () => number;
  /** The last number that a sequence gave; a sequence survives a rollback. */
  nextId(): number;
  readonly instanceId: string;
  watch(watcher: Watcher): void;
  /** @throws what a watcher throws */
  tell(change: Change): void;
  /** A copy of all tables as they are now. */
  backup(): Tables;
}

/** Violates a constraint: the statement changed nothing. */
export class ConstraintError extends Error {}

export function createDatabase(clock: () => number, instanceId: string): Database {
  const watchers: Watcher[] = [];
  let lastId = 0;
  const database: Database = {
    tables: emptyTables(),
    nowMs: clock,
    nextId: () => ++lastId,
    instanceId,
    watch: (watcher) => void watchers.push(watcher),
    tell(change) {
      for (const watcher of watchers) watcher.committed(change);
    },
    backup: () => copyTables(database.tables),
  };
  return database;
}

/** What a claim reads. */
export type Facts = Pick<Tables, "tenants" | "work" | "operations">;

export function snapshotOf({ tenants, work, operations }: Tables): Facts {
  return { tenants: new Map(tenants), work: new Map(work), operations: new Map(operations) };
}

/** The unfinished operation of a tenant. */
export function unfinishedOf({ operations }: Facts, tenantId: string): OperationRow | null {
  for (const row of operations.values()) {
    if (row.record.tenantId === tenantId && row.record.finishedAt === null) return row;
  }
  return null;
}

function emptyTables(): Tables {
  return {
    tenants: new Map(),
    work: new Map(),
    operations: new Map(),
    generations: new Map(),
    transitions: new Map(),
    tombstones: new Map(),
    breakers: new Map(),
    keys: new Map(),
    events: new Map(),
    chores: new Map(),
    orphans: new Map(),
    rates: new Map(),
  };
}

/** Rows are never changed in place, so a copy of the maps is a copy of the tables. */
function copyTables(tables: Tables): Tables {
  return Object.fromEntries(
    Object.entries(tables).map(([name, rows]) => [name, new Map(rows as Map<unknown, unknown>)]),
  ) as unknown as Tables;
}

export function findTenant(tables: Tables, idOrName: string): StoredTenant | null {
  const byId = tables.tenants.get(idOrName);
  if (byId !== undefined) return byId;
  for (const stored of tables.tenants.values()) if (stored.tenant.name === idOrName) return stored;
  return null;
}

export function addTransition(database: Database, row: Omit<Transition, "id" | "position" | "at">): void {
  const id = database.nextId();
  database.tables.transitions.set(id, { ...row, id, position: null, at: new Date(database.nowMs()) });
}

/** The row goes, a tombstone stays. */
export function bury(
  database: Database,
  remove: NonNullable<Commit["remove"]>,
  { tenant }: StoredTenant,
): null {
  const { tables } = database;
  tables.tenants.delete(tenant.id);
  tables.work.delete(tenant.id);
  tables.generations.delete(tenant.id);
  const nowMs = database.nowMs();
  const tombstone = {
    tenantId: tenant.id,
    name: tenant.name,
    generation: tenant.generation,
    computeProvider: tenant.computeProvider,
    scopes: tenant.observed.scopes,
    expiresAt: new Date(nowMs + remove.tombstoneTtlMs),
  };
  // A tenant that was adopted has a tombstone already: of that, generation and expiry are renewed.
  const known = tables.tombstones.get(tenant.id);
  tables.tombstones.set(
    tenant.id,
    known === undefined
      ? { tombstone, createdMs: nowMs }
      : {
          ...known,
          tombstone: { ...known.tombstone, generation: tombstone.generation, expiresAt: tombstone.expiresAt },
        },
  );
  return null;
}

/** Of two with one number the first stays. */
export function keepGeneration(database: Database, tenant: Tenant, actor: Actor): void {
  const { generations } = database.tables;
  const kept = generations.get(tenant.id) ?? [];
  if (kept.some(({ generation }) => generation === tenant.generation)) return;
  const record: GenerationRecord = {
    generation: tenant.generation,
    intent: tenant.intent,
    computeProvider: tenant.computeProvider,
    desiredConfig: tenant.desiredConfig,
    configHash: tenant.configHash,
    actor: actor.name,
    requestId: actor.requestId,
    createdAt: new Date(database.nowMs()),
  };
  generations.set(
    tenant.id,
    [record, ...kept].filter(({ generation }) => generation > tenant.generation - GENERATIONS_LIMIT),
  );
}
