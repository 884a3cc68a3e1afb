/**
 * The seven invariants of the design. Most are watched all the time: at each commit, at each request that the engine
 * takes, at each start of compute. The rest is looked at when a run has come to rest.
 */
import type { StoredTenant } from "../packages/landlord/src/store/store.ts";
import { isSettled } from "../packages/landlord/src/domain/status.ts";
import type { Tenant } from "../packages/landlord/src/domain/tenant.ts";
import type { Change, Database } from "./database.ts";
import type { EngineWatcher, ExecutionView, SimulatedEngine } from "./engine.ts";
import type { Host, Resource, World, WorldWatcher } from "./world.ts";

export const INVARIANTS = {
  1: "no lost change",
  2: "no duplicate",
  3: "no orphan",
  4: "no resurrection",
  5: "no false success",
  6: "no stuck tenant",
  7: "bounded work",
} as const;
export type Invariant = keyof typeof INVARIANTS;

export interface Violation {
  readonly invariant: Invariant;
  readonly message: string;
  readonly atMs: number;
}

/** Thrown where the violation happens, and the end of the run. */
class ViolationError extends Error {
  readonly violation: Violation;
  constructor(violation: Violation) {
    super(`${INVARIANTS[violation.invariant]}: ${violation.message}`);
    this.violation = violation;
  }
}

export interface Invariants extends EngineWatcher, WorldWatcher {
  committed(change: Change): void;
  /** A client was told that its write was accepted. */
  acknowledged(tenant: Tenant): void;
  /** The engine or the database lost its memory: what it forgot is no longer held against anybody. */
  forgot(who: "engine" | "database"): void;
  violated(invariant: Invariant, message: string): never;
  /** Keeps the violation without throwing it. */
  note(invariant: Invariant, message: string): void;
  readonly first: Violation | null;
  wasRemoved(tenantId: string): boolean;
  isRestored(): boolean;
}

export interface Subjects {
  readonly removesOrphans: boolean;
  readonly database: Database;
  readonly engine: () => SimulatedEngine;
  readonly world: World;
  nowMs(): number;
  /** The database is an older copy of itself. */
  readonly isRestored: () => boolean;
  /** A tenant of this id was removed, and nobody has forgotten it. */
  wasRemoved(tenantId: string): boolean;
  /** By how much the database's clock was set back, in all. */
  setBackMs(): number;
}

export function createInvariants(subjects: Subjects): Invariants {
  const { database, world } = subjects;
  const removed = new Set<string>();
  /** Compute of removed tenants that a sweep took to be there: only to be removed again. */
  const adopted = new Set<string>();
  /** Removed by force: what was under way goes on until a sweep meets it. */
  const forced = new Set<string>();
  let first: Violation | null = null;
  /** Operations from before the engine lost its memory may be run by it again. */
  let engineForgotMs = -1;
  let isRestored = false;

  function note(invariant: Invariant, message: string): Violation {
    return (first ??= { invariant, message, atMs: subjects.nowMs() });
  }

  function violated(invariant: Invariant, message: string): never {
    throw new ViolationError(note(invariant, message));
  }

  function holds(isTrue: boolean, invariant: Invariant, message: () => string): void {
    if (!isTrue) violated(invariant, message());
  }

  function watchForced({ tenantId, before }: Change): void {
    forced.add(tenantId);
    removed.add(tenantId);
    holds(before !== null, 4, () => `${tenantId} was removed by force, and was not there`);
    holds(
      database.tables.tombstones.has(tenantId),
      4,
      () => `${tenantId} was removed by force, and has no tombstone`,
    );
  }

  function watchClient({ tenantId, before, after }: Change): void {
    if (after === null) return;
    const { intent, name } = after.tenant;
    holds(!removed.has(tenantId), 4, () => `${name} came back after it had been removed`);
    holds(
      before?.tenant.intent !== "deleted" || intent === "deleted",
      4,
      () => `${name} was deleted, and then was not`,
    );
  }

  function watchAdoption({ tenantId, after }: Change): void {
    adopted.add(tenantId);
    holds(after?.tenant.intent === "deleted", 4, () => `${tenantId} was adopted, and not to be deleted`);
  }

  function watchReconciler(change: Change): void {
    const { tenantId, before, after, caller, holder } = change;
    holds(
      holder === null || holder === caller,
      2,
      () => `${caller} wrote ${nameOf(change)}, which ${holder} holds`,
    );
    if (after === null) {
      removed.add(tenantId);
      holds(
        before?.tenant.intent === "deleted",
        1,
        () => `${nameOf(change)} was removed, and nobody wanted that`,
      );
      holds(
        database.tables.tombstones.has(tenantId),
        4,
        () => `${nameOf(change)} was removed without a tombstone`,
      );
      // A restored database may not know of all places, nor a sweep that takes one after the other; what is left elsewhere
      // is the next sweep's.
      const places = before?.tenant.observed.scopes ?? [];
      const left = world
        .resourcesOf(tenantId)
        .filter(({ scope }) => !forced.has(tenantId) || places.includes(scope));
      holds(
        isRestored || left.length === 0,
        3,
        () => `${nameOf(change)} was removed and its compute was not`,
      );
      return;
    }
    holds(
      before !== null && (!removed.has(tenantId) || adopted.has(tenantId)),
      4,
      () => `${nameOf(change)} was written after its removal`,
    );
    if (before === null) return;
    const [old, now] = [before.tenant, after.tenant];
    holds(
      old.intent === now.intent && old.configHash === now.configHash && now.generation >= old.generation,
      1,
      () => `the reconciler undid a change of ${now.name}`,
    );
    watchAttempts(old, now);
    if (old.status !== now.status || old.observedGeneration !== now.observedGeneration) watchSuccess(now);
  }

  function watchAttempts(old: Tenant, now: Tenant): void {
    if (old.generation !== now.generation || isSettled(now)) return;
    holds(
      now.attempts >= old.attempts,
      7,
      () => `the count of ${now.name}'s attempts fell from ${old.attempts} to ${now.attempts}`,
    );
  }

  function watchSuccess(tenant: Tenant): void {
    const { name, generation, observedGeneration, id, configHash } = tenant;
    if (tenant.status === "ready") {
      holds(
        observedGeneration === generation,
        5,
        () => `${name} is ready at ${observedGeneration}, and wanted at ${generation}`,
      );
      holds(
        world.wasHealthy(id, generation, configHash),
        5,
        () => `${name} is ready at generation ${generation}, which nobody has seen healthy`,
      );
    }
    if (tenant.status === "archived") {
      holds(
        isRestored || world.resourcesOf(id).length === 0,
        5,
        () => `${name} is archived, and its compute is there`,
      );
    }
    if (tenant.status === "failed") {
      holds(tenant.lastError !== null, 6, () => `${name} failed without a reason`);
    }
  }

  function watchLedger({ tenantId, after }: Change): void {
    let unfinished = 0;
    for (const { record } of database.tables.operations.values()) {
      if (record.tenantId !== tenantId) continue;
      if (record.finishedAt === null) unfinished += 1;
      else if (record.finishedAt.getTime() === database.nowMs()) {
        const status = subjects.engine().statusOf(record.executionId);
        // An engine that lost its memory runs again what it is asked again, also when its end had been heard before.
        holds(
          status.state !== "running" || engineForgotMs >= 0 || record.outcome === "abandoned",
          2,
          () => `operation ${record.id} was closed while its execution runs`,
        );
      }
    }
    holds(unfinished <= 1, 2, () => `a tenant has ${unfinished} unfinished operations`);
    const work = database.tables.work.get(tenantId);
    if (after === null || isSettled(after.tenant) || after.tenant.paused) return;
    holds(
      work !== undefined && (work.dueMs !== null || work.leaseOwner !== null),
      6,
      () => `${after.tenant.name} is ${after.tenant.status}, and nobody will ever look at it`,
    );
  }

  function watchStart({ before, after, by }: Change): void {
    if (by !== "reconciler" || before === null || after === null) return;
    const { nextAttemptAt, name } = before.tenant;
    const isStart = after.tenant.workflowExecutionId !== before.tenant.workflowExecutionId;
    holds(
      !isStart ||
        nextAttemptAt === null ||
        nextAttemptAt.getTime() <= database.nowMs() + subjects.setBackMs(),
      7,
      () => `an attempt of ${name} began before its backoff was over`,
    );
  }

  return {
    get first() {
      return first;
    },
    isRestored: () => isRestored,
    wasRemoved: (tenantId) => removed.has(tenantId),
    violated,
    note,
    committed(change) {
      if (change.by === "client" && change.after === null) watchForced(change);
      else if (change.by === "client") watchClient(change);
      else if (change.by === "reconciler") watchReconciler(change);
      else watchAdoption(change);
      watchLedger(change);
      watchStart(change);
    },
    acknowledged(tenant) {
      if (isRestored) return;
      const row = database.tables.tenants.get(tenant.id);
      holds(
        row !== undefined ? row.tenant.generation >= tenant.generation : removed.has(tenant.id),
        1,
        () => `a change of ${tenant.name} was accepted as generation ${tenant.generation}, and is not there`,
      );
    },
    forgot(who) {
      engineForgotMs = subjects.nowMs();
      if (who === "engine") return;
      isRestored = true;
      removed.clear();
      forced.clear();
    },
    accepted(execution) {
      if (isRestored) return;
      holds(
        operationOf(database, execution) !== null,
        2,
        () => `the engine runs ${execution.executionId}, which is not in the ledger`,
      );
    },
    remembered(execution, step, answer) {
      if (step !== "begin" || answer !== true || isRestored) return;
      const operation = operationOf(database, execution);
      // An engine that lost its memory has lost the ids that were occupied, and those of what had ended.
      if (operation?.finishedAt !== null && engineForgotMs >= 0) return;
      if (operation?.outcome === "abandoned") return;
      holds(
        operation !== null && operation.finishedAt === null,
        4,
        () => `execution ${execution.executionId} began although its operation is closed`,
      );
      watchOnlyOne(execution, subjects.engine());
    },
    started(host: Host, resource: Resource) {
      const fence = host.fences.get(resource.tenantId);
      holds(
        fence === undefined || fence.generation <= resource.generation,
        4,
        () =>
          `generation ${resource.generation} of a tenant was started after generation ${fence?.generation}`,
      );
      if (isRestored || forced.has(resource.tenantId)) return;
      holds(
        !removed.has(resource.tenantId),
        4,
        () => `compute was started for a tenant that had been removed`,
      );
      const all = world.resourcesOf(resource.tenantId);
      holds(
        all.length === 1,
        2,
        () => `a tenant has ${all.length} sets of compute: ${all.map(({ name }) => name).join(", ")}`,
      );
    },
  };

  function watchOnlyOne(execution: ExecutionView, engine: SimulatedEngine): void {
    for (const other of engine.executions()) {
      if (other.executionId === execution.executionId || other.state !== "running") continue;
      if (other.request?.tenant_id !== execution.request?.tenant_id || other.journal.get("begin") !== true)
        continue;
      if (forced.has(other.request?.tenant_id ?? "")) continue;
      violated(2, `two executions of one tenant run: ${other.executionId} and ${execution.executionId}`);
    }
  }
}

function operationOf(database: Database, { executionId }: ExecutionView) {
  for (const { record } of database.tables.operations.values()) {
    if (record.executionId === executionId) return record;
  }
  return null;
}

function nameOf({ before, after }: Change): string {
  return (before ?? after)?.tenant.name ?? "a tenant";
}

/** What is wrong with a run that has come to rest; null when nothing is. */
export function restingProblem(subjects: Subjects): Omit<Violation, "atMs"> | null {
  const { database, world } = subjects;
  for (const stored of database.tables.tenants.values()) {
    const problem = problemOf(stored, subjects);
    if (problem !== null) return problem;
  }
  for (const host of world.hosts) {
    for (const resource of host.resources.values()) {
      if (resource.state === "ended") continue;
      const owner = database.tables.tenants.get(resource.tenantId);
      const isReported =
        !subjects.removesOrphans &&
        [...database.tables.orphans.values()].some(({ tenantId }) => tenantId === resource.tenantId);
      if (owner === undefined && isReported && !subjects.wasRemoved(resource.tenantId)) continue;
      if (owner === undefined || (owner.tenant.status === "archived" && !owner.tenant.paused)) {
        return { invariant: 3, message: `${resource.name} belongs to no tenant that should have it` };
      }
    }
  }
  // Revisions of an older copy are given out again: what was read before the restore may be written once after it.
  return subjects.isRestored() ? null : historyProblem(database);
}

function problemOf(
  { tenant }: StoredTenant,
  { database, world, engine, isRestored }: Subjects,
): Omit<Violation, "atMs"> | null {
  const { name, status, id } = tenant;
  // Compute in a place that the tenant is not known to be in is reported by the sweep, and left to people.
  const resources = world
    .resourcesOf(id)
    .filter(
      ({ scope }) =>
        !isRestored() || tenant.observed.scopes.length === 0 || tenant.observed.scopes.includes(scope),
    );
  const unfinished = [...database.tables.operations.values()].filter(
    ({ record }) => record.tenantId === id && record.finishedAt === null,
  );
  if (!isSettled(tenant)) {
    if (tenant.paused || isExplained(tenant)) return null;
    const why = tenant.lastError?.message ?? "it does not say why";
    return { invariant: 6, message: `${name} is still ${status} at generation ${tenant.generation}: ${why}` };
  }
  if (unfinished.length > 0)
    return { invariant: 2, message: `${name} is ${status} with an unfinished operation` };
  for (const execution of engine().executions()) {
    if (execution.request?.tenant_id === id && execution.state === "running") {
      return { invariant: 2, message: `${name} is ${status}, and an execution of it runs` };
    }
  }
  // Nothing is repaired of a tenant that is paused.
  if (status === "ready" && !tenant.paused) {
    const [resource] = resources;
    const isRight =
      resources.length === 1 &&
      resource?.generation === tenant.generation &&
      resource.configHash === tenant.configHash &&
      resource.state === "running";
    if (!isRight)
      return {
        invariant: 5,
        message: `${name} is ready at ${tenant.generation}, and there is ${namesOf(resources)}`,
      };
  }
  if (status === "archived" && resources.length > 0 && !tenant.paused) {
    return { invariant: 3, message: `${name} is archived, and there is ${namesOf(resources)}` };
  }
  return null;
}

/** Its config can never come to be, it says so, and it has a time to try again. */
function isExplained(tenant: Tenant): boolean {
  const cannotBe = tenant.desiredConfig["fail"] === "retryable" || tenant.desiredConfig["unhealthy"] === true;
  return cannotBe && tenant.intent === "present" && tenant.lastError !== null;
}

function namesOf(resources: readonly Resource[]): string {
  return resources.length === 0 ? "no compute" : resources.map((each) => each.name).join(", ");
}

/** Every status that a tenant had follows from the one before, and positions have no gap. */
function historyProblem({ tables }: Database): Omit<Violation, "atMs"> | null {
  const last = new Map<string, string | null>();
  const rows = [...tables.transitions.values()].sort((one, other) => one.id - other.id);
  for (const row of rows) {
    const before = last.has(row.tenantId) ? (last.get(row.tenantId) ?? null) : null;
    if (row.fromStatus !== before) {
      return {
        invariant: 1,
        message: `history of ${row.tenantName}: ${before} is followed by a change from ${row.fromStatus}`,
      };
    }
    last.set(row.tenantId, row.toStatus);
  }
  for (const { tenant } of tables.tenants.values()) {
    if (last.get(tenant.id) !== tenant.status) {
      return {
        invariant: 1,
        message: `${tenant.name} is ${tenant.status}, and its history ends with ${last.get(tenant.id)}`,
      };
    }
  }
  const positions = rows.map(({ position }) => position ?? 0).sort((one, other) => one - other);
  const gap = positions.findIndex((position, index) => position !== index + 1);
  return gap < 0 ? null : { invariant: 1, message: `positions of the history have a gap at ${gap + 1}` };
}
