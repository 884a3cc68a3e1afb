/** Bugs of somebody who wrote the statements in a hurry. */
import type { Commit, CommitOutcome } from "../../packages/landlord/src/store/store.ts";
import { addTransition, type Database } from "../database.ts";
import type { Plant } from "../planted.ts";

const noFence: Plant = {
  name: "no-fence-on-writes",
  title: "the reconciler's writes check neither lease nor revision",
  wrapStore: (store, { database }) => ({
    ...store,
    commit: (commits) => store.commit(commits.map((commit) => unfenced(commit, database))),
  }),
};

/** As it would be if nobody compared: the fence is always the present one. */
function unfenced(commit: Commit, { tables }: Database): Commit {
  const work = tables.work.get(commit.tenantId);
  const stored = tables.tenants.get(commit.tenantId);
  if (work === undefined || stored === undefined) return commit;
  return {
    ...commit,
    leaseOwner: work.leaseOwner ?? commit.leaseOwner,
    leaseToken: work.leaseToken,
    revision: stored.revision,
  };
}

const noTombstone: Plant = {
  name: "no-tombstone",
  title: "a tenant's row goes, and nothing remembers that it was there",
  wrapStore: (store, { database }) => ({
    ...store,
    async commit(commits) {
      const outcomes = await store.commit(commits);
      for (const { tenantId, remove } of commits)
        if (remove !== null) database.tables.tombstones.delete(tenantId);
      return outcomes;
    },
  }),
};

const oneColumn: Plant = {
  name: "lease-and-due-time-in-one-column",
  title: "who gives a tenant back sets its due time, also over one that a client set meanwhile",
  wrapStore: (store, { database }) => ({
    ...store,
    async commit(commits) {
      const outcomes = await store.commit(commits);
      outcomes.forEach((outcome, index) => {
        const commit = commits[index];
        if (commit !== undefined) overwriteDueTime(commit, outcome, database);
      });
      return outcomes;
    },
  }),
};

/** The column held the end of the lease, so what a client wrote there is gone with it. */
function overwriteDueTime(
  { tenantId, release }: Commit,
  outcome: CommitOutcome,
  { tables, nowMs }: Database,
): void {
  const row = tables.work.get(tenantId);
  if (row === undefined || row.leaseOwner !== null || outcome === "lost" || release === null) return;
  const { dueInMs } = release;
  tables.work.set(tenantId, { ...row, dueMs: dueInMs === null ? null : nowMs() + dueInMs });
}

const resurrectingWrite: Plant = {
  name: "resurrect-after-delete",
  title: "a write to a tenant that is gone puts it back",
  wrapStore: (store, { database }) => ({
    ...store,
    async commit(commits) {
      const before = new Map(
        commits.map(({ tenantId }) => [tenantId, database.tables.tenants.get(tenantId)]),
      );
      const outcomes = await store.commit(commits);
      commits.forEach(({ tenantId, tenant, leaseToken }, index) => {
        if (outcomes[index] !== "lost" || tenant === null || database.tables.work.has(tenantId)) return;
        const after = { tenant, revision: 1 };
        database.tables.tenants.set(tenantId, after);
        database.tell({
          tenantId,
          before: before.get(tenantId) ?? null,
          after,
          by: "reconciler",
          caller: `${leaseToken}`,
          holder: null,
        });
      });
      return outcomes;
    },
  }),
};

const twoUnfinished: Plant = {
  name: "two-unfinished-operations",
  title: "nothing keeps a second operation from being opened while one is unfinished",
  wrapStore: (store, { database }) => ({
    ...store,
    async claimDue(params) {
      const claims = await store.claimDue(params);
      // A claim that reads the ledger through a condition that is sometimes wrong.
      return claims.map((claim) =>
        claim.leaseToken % 5 === 0 ? { ...claim, operation: null, request: null } : claim,
      );
    },
    async commit(commits) {
      const hidden = commits.flatMap(({ tenantId, newOperation }) =>
        newOperation === null ? [] : hideUnfinished(tenantId, database),
      );
      try {
        return await store.commit(commits);
      } finally {
        for (const restore of hidden) restore();
      }
    },
  }),
};

/** No unique index: what is unfinished is not seen by the statement. Returns what brings it back. */
function hideUnfinished(tenantId: string, { tables }: Database): readonly (() => void)[] {
  return [...tables.operations].flatMap(([id, row]) => {
    if (row.record.tenantId !== tenantId || row.record.finishedAt !== null) return [];
    tables.operations.delete(id);
    return [() => void tables.operations.set(id, row)];
  });
}

const notifyOnly: Plant = {
  name: "notify-only-wake-up",
  title: "a tenant that waits has no due time: an event will wake it",
  wrapStore: (store) => ({
    ...store,
    commit: (commits) =>
      store.commit(
        commits.map((commit) => {
          const { release } = commit;
          const waits = release !== null && release.dueInMs !== null && release.dueInMs > 0;
          return waits ? { ...commit, release: { ...release, dueInMs: null } } : commit;
        }),
      ),
  }),
};

const transitionOutside: Plant = {
  name: "transition-outside-the-transaction",
  title: "history is written by a second statement",
  wrapStore: (store, { database }) => ({
    ...store,
    async commit(commits) {
      const names = new Map(
        commits.map(({ tenantId }) => [tenantId, database.tables.tenants.get(tenantId)?.tenant.name ?? ""]),
      );
      const outcomes = await store.commit(commits.map((commit) => ({ ...commit, transition: null })));
      await store.ping();
      commits.forEach(({ tenantId, transition }, index) => {
        if (transition === null || outcomes[index] !== "committed") return;
        addTransition(database, {
          ...transition,
          tenantId,
          tenantName: names.get(tenantId) ?? "",
          actor: "reconciler",
          requestId: null,
          labels: {},
        });
      });
      return outcomes;
    },
  }),
};

const forcedWithoutTrace: Plant = {
  name: "forced-delete-without-tombstone",
  title: "a forced delete removes the row, and nothing remembers what may be left",
  wrapStore: (store, { database }) => ({
    ...store,
    async forceDelete(params) {
      const outcome = await store.forceDelete(params);
      if (outcome === "removed") database.tables.tombstones.delete(params.tenantId);
      return outcome;
    },
  }),
};

const sleepingResume: Plant = {
  name: "resume-without-wake-up",
  title: "a resume clears the flag, and leaves the tenant asleep",
  wrapStore: (store, { database }) => ({
    ...store,
    async writeTenant(params) {
      const { work } = database.tables;
      const before = work.get(params.tenant.id);
      const outcome = await store.writeTenant(params);
      const after = work.get(params.tenant.id);
      if (params.transition.reason === "resumed" && before !== undefined && after !== undefined)
        work.set(params.tenant.id, { ...after, dueMs: before.dueMs, wakeSeq: before.wakeSeq });
      return outcome;
    },
  }),
};

export const STORE_BUGS: readonly Plant[] = [
  noFence,
  noTombstone,
  oneColumn,
  resurrectingWrite,
  twoUnfinished,
  notifyOnly,
  transitionOutside,
  forcedWithoutTrace,
  sleepingResume,
];
