/** What the tests of the PostgreSQL store share. */
import { randomUUID } from "node:crypto";
import { openPostgresStore } from "../../src/store/postgres/postgres-store.ts";
import type {
  Claim,
  ClaimLimits,
  Commit,
  NewOperation,
  NewTenant,
  Store,
  StoredTenant,
} from "../../src/store/store.ts";
import type { Lane, Tenant } from "../../src/domain/tenant.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { operationWith, tenantWith } from "../support/tenants.ts";

export interface StoreUnderTest {
  readonly database: TestDatabase;
  readonly store: Store;
  /** Another server over the same database. */
  open(): Promise<Store>;
  close(): Promise<void>;
}

const ACTOR = { name: "anonymous", requestId: "req-1" } as const;
export const ALL_LANES: ClaimLimits = { interactive: 100, repair: 100, background: 100 };

export async function openStoreUnderTest(): Promise<StoreUnderTest> {
  const database = await createTestDatabase();
  const stores: Store[] = [];
  const open = async (): Promise<Store> => {
    const store = await openPostgresStore(
      {
        url: database.url,
        maxConnections: 10,
        connectTimeoutMs: 10_000,
        statementTimeoutMs: 10_000,
        applicationName: "store-test",
        autoMigrate: true,
      },
      () => undefined,
    );
    stores.push(store);
    return store;
  };
  return {
    database,
    store: await open(),
    open,
    async close() {
      await Promise.all(stores.map((store) => store.close()));
      await database.drop();
    },
  };
}

function newTenant(change: Partial<Tenant> = {}): NewTenant {
  const id = randomUUID();
  return tenantWith({ id, name: `n-${id.slice(0, 13)}`, computeProvider: "mock", ...change });
}

export async function created(
  store: Store,
  change: Partial<Tenant> = {},
  lane: Lane = "interactive",
): Promise<Tenant> {
  const outcome = await store.createTenant({
    tenant: newTenant(change),
    actor: ACTOR,
    lane,
    idempotency: null,
  });
  if (outcome.kind !== "created") throw new Error(`not created: ${outcome.kind}`);
  return outcome.tenant;
}

export async function stored(store: Store, id: string): Promise<StoredTenant> {
  const found = await store.getTenant({ idOrName: id });
  if (found === null) throw new Error(`no tenant ${id}`);
  return found;
}

/** A client's change of the config, by compare-and-set on what was read. */
export function clientWrite(store: Store, read: StoredTenant, change: Partial<Tenant> = {}) {
  const { tenant } = read;
  const next: Tenant = {
    ...tenant,
    generation: tenant.generation + 1,
    version: tenant.version + 1,
    status: "updating",
    ...change,
  };
  return store.writeTenant({
    tenant: next,
    revision: read.revision,
    generationRaised: next.generation !== tenant.generation,
    transition: {
      fromStatus: tenant.status,
      toStatus: next.status,
      reason: "changed",
      message: "",
      generation: next.generation,
      operationId: null,
    },
    actor: ACTOR,
    lane: "interactive",
  });
}

export const claim = (
  store: Store,
  leaseOwner = "a",
  limits = ALL_LANES,
  leaseDurationMs = 60_000,
): Promise<readonly Claim[]> => store.claimDue({ leaseOwner, leaseDurationMs, limits });

export async function claimOne(store: Store, leaseOwner = "a"): Promise<Claim> {
  const [only, ...more] = await claim(store, leaseOwner);
  if (only === undefined || more.length > 0)
    throw new Error(`claimed ${more.length + (only === undefined ? 0 : 1)}`);
  return only;
}

export function commitOf(from: Claim, change: Partial<Commit> = {}): Commit {
  return {
    tenantId: from.tenantId,
    leaseToken: from.leaseToken,
    wakeSeq: from.wakeSeq,
    revision: from.stored.revision,
    tenant: null,
    newOperation: null,
    operationUpdate: null,
    transition: null,
    remove: null,
    release: null,
    ...change,
  };
}

export function newOperation(from: Claim): NewOperation {
  const operation = operationWith({
    id: randomUUID(),
    tenantId: from.tenantId,
    executionId: randomUUID(),
    generation: from.stored.tenant.generation,
    startBefore: new Date(from.now.getTime() + 60_000),
    invokedAt: null,
  });
  return { operation, request: { payload: from.tenantId } };
}

export const transitionTo = (from: Claim, toStatus: Tenant["status"] | null) => ({
  fromStatus: from.stored.tenant.status,
  toStatus,
  reason: "test",
  message: "",
  generation: from.stored.tenant.generation,
  operationId: null,
});

/** Seconds from now until the tenant is due; null for not until somebody writes. */
export async function dueIn(database: TestDatabase, id: string): Promise<number | null> {
  const [row] = await database.query(
    `SELECT extract(epoch FROM next_reconcile_at - now())::float8 AS due FROM tenant_work WHERE tenant_id = $1`,
    [id],
  );
  return (row?.["due"] ?? null) as number | null;
}
