/** The Store port over a simulated database. */
import { StoreUnavailableError, type Store } from "../packages/landlord/src/store/store.ts";
import * as chores from "./chore-statements.ts";
import * as claims from "./claim-statements.ts";
import * as clients from "./client-statements.ts";
import { findTenant, snapshotOf, type Database } from "./database.ts";
import * as reconcilers from "./reconciler-statements.ts";

/** How a statement gets to the database, and its answer back. What `perform` throws is thrown to the caller. */
export type Statement = <T>(name: string, perform: () => T | Promise<T>) => Promise<T>;

const BREAKERS_LIMIT = 1_000;
const EVENTS_LIMIT = 100;

/**
 * @param caller the process that this is the store of
 * @param pause the time between a statement's snapshot and its locks
 */
export function createSimulatedStore(
  database: Database,
  statement: Statement,
  caller: string,
  pause: () => Promise<void> = () => Promise.resolve(),
): Store {
  const listBreakers: Store["listBreakers"] = () =>
    statement("listBreakers", () => [...database.tables.breakers.values()].slice(0, BREAKERS_LIMIT));
  return {
    instanceId: database.instanceId,
    createTenant: (params) => statement("createTenant", () => clients.createTenant(database, params, caller)),
    getTenant: ({ idOrName }) => statement("getTenant", () => findTenant(database.tables, idOrName)),
    listTenants: (filter) => statement("listTenants", () => clients.listTenants(database, filter)),
    writeTenant: (params) => statement("writeTenant", () => clients.writeTenant(database, params, caller)),
    forceDelete: (params) => statement("forceDelete", () => clients.forceDelete(database, params, caller)),
    listGenerations: ({ tenantId }) =>
      statement("listGenerations", () => database.tables.generations.get(tenantId) ?? []),
    findIdempotentAnswer: ({ key }) =>
      statement("findIdempotentAnswer", () => {
        const row = database.tables.keys.get(key);
        if (row === undefined || row.expiresMs <= database.nowMs()) return null;
        return { requestHash: row.requestHash, tenant: row.tenant };
      }),
    listTransitions: (page) => statement("listTransitions", () => clients.listTransitions(database, page)),
    listEvents: (page) => statement("listEvents", () => clients.listEvents(database, page)),
    newestEvent: () => statement("newestEvent", () => clients.newestEvent(database)),
    listOperations: (page) => statement("listOperations", () => clients.listOperations(database, page)),
    recordProgress: (hint) => statement("recordProgress", () => clients.recordProgress(database, hint)),
    listOperationEvents: ({ idOrName, scope = null, operationId }) =>
      statement("listOperationEvents", () => {
        const known = clients.listOperations(database, { idOrName, scope, limit: Infinity, offset: 0 });
        if (!known.some(({ id }) => id === operationId)) return null;
        return [...database.tables.events.values()]
          .filter((row) => row.operationId === operationId)
          .map(({ event }) => event)
          .slice(0, EVENTS_LIMIT);
      }),
    listBreakers,
    ping: () => statement("ping", () => undefined),
    claimDue: (params) =>
      statement("claimDue", async () => {
        const seen = snapshotOf(database.tables);
        await pause();
        return claims.claimDue(database, params, seen);
      }),
    claimResync: (params) =>
      statement("claimResync", async () => {
        const seen = snapshotOf(database.tables);
        await pause();
        return claims.claimResync(database, params, seen);
      }),
    requestResync: ({ tenantIds }) =>
      statement("requestResync", () => claims.requestResync(database, tenantIds)),
    describeOwners: ({ tenantIds }) =>
      statement("describeOwners", () => chores.describeOwners(database, tenantIds)),
    listScopes: (params) => statement("listScopes", () => chores.listScopes(database, params)),
    recordOrphans: (params) => statement("recordOrphans", () => chores.recordOrphans(database, params)),
    adoptOrphans: (params) => statement("adoptOrphans", () => chores.adoptOrphans(database, params, caller)),
    takeChore: ({ name, everyMs }) => statement("takeChore", () => chores.takeChore(database, name, everyMs)),
    finishChore: ({ name, report }) =>
      statement("finishChore", () => chores.finishChore(database, name, report)),
    requestChore: ({ name, options }) =>
      statement("requestChore", () => chores.requestChore(database, name, options)),
    getChore: ({ name }) => statement("getChore", () => chores.getChore(database, name)),
    listOrphans: ({ limit }) => statement("listOrphans", () => chores.listOrphans(database, limit)),
    commit: (commits) => statement("commit", () => reconcilers.commitAll(database, commits, caller)),
    wake: ({ tenantIds }) => statement("wake", () => reconcilers.wake(database, tenantIds)),
    openBreaker: (params) => statement("openBreaker", () => reconcilers.openBreaker(database, params)),
    closeBreaker: ({ key }) => statement("closeBreaker", () => reconcilers.closeBreaker(database, key)),
    takeProbe: ({ key, probeInMs }) =>
      statement("takeProbe", () => reconcilers.takeProbe(database, key, probeInMs)),
    sequenceTransitions: () =>
      statement("sequenceTransitions", () => reconcilers.sequenceTransitions(database)),
    collectGarbage: ({ historyRetentionMs }) =>
      statement("collectGarbage", () => reconcilers.collectGarbage(database, historyRetentionMs)),
    listTombstones: ({ limit }) =>
      statement("listTombstones", () =>
        [...database.tables.tombstones.values()]
          .map(({ tombstone }) => tombstone)
          .sort((one, other) => one.expiresAt.getTime() - other.expiresAt.getTime())
          .slice(0, limit),
      ),
    close: () => Promise.resolve(),
  };
}

export function databaseUnavailable(reason: string): StoreUnavailableError {
  return new StoreUnavailableError("database_unavailable", `The database did not answer: ${reason}.`);
}
