/** The store kit is worth something only if it fails what is broken. */
import { describe, expect, test } from "vitest";
import { conformanceCases, runConformance, storeBehaviours } from "../../src/plugin/testing.ts";
import type { Claim, Store } from "../../src/store/store.ts";
import { openPostgresHarness } from "../conformance/harnesses/postgres-store.ts";

/** A flaw, what it does to a sound store, and the behaviour that must not survive it. */
const FLAWS: readonly (readonly [string, (store: Store) => Store, string])[] = [
  [
    "takes a late holder for the present one",
    (store) => ({
      ...store,
      commit: async (commits) =>
        (await store.commit(commits)).map((outcome) => (outcome === "lost" ? "committed" : outcome)),
    }),
    "take-over",
  ],
  [
    "writes over clients",
    (store) => ({
      ...store,
      commit: async (commits) =>
        store.commit(
          await Promise.all(
            commits.map(async (commit) => {
              const now = await store.getTenant({ idOrName: commit.tenantId });
              return { ...commit, revision: now?.revision ?? commit.revision };
            }),
          ),
        ),
    }),
    "outdated-commits",
  ],
  ["loses wake-ups", (store) => ({ ...store, wake: () => Promise.resolve() }), "wake-ups"],
  [
    "leases twice",
    (store) => {
      let last: readonly Claim[] = [];
      return {
        ...store,
        async claimDue(params) {
          const claims = await store.claimDue(params);
          const twice = [...claims, ...last.slice(0, 1)];
          last = claims;
          return twice;
        },
      };
    },
    "leases",
  ],
  [
    "ignores due times",
    (store) => ({
      ...store,
      commit: (commits) =>
        store.commit(
          commits.map((commit) => ({
            ...commit,
            release: commit.release === null ? null : { ...commit.release, dueInMs: 0 },
          })),
        ),
    }),
    "due-times",
  ],
  [
    "forgets what it was about to do",
    (store) => ({
      ...store,
      commit: (commits) => store.commit(commits.map((commit) => ({ ...commit, newOperation: null }))),
    }),
    "one-operation",
  ],
  ["leaves no tombstones", (store) => ({ ...store, listTombstones: () => Promise.resolve([]) }), "removal"],
  ["lets everybody probe", (store) => ({ ...store, takeProbe: () => Promise.resolve(true) }), "breakers"],
  [
    "wakes whatever it commits",
    (store) => ({
      ...store,
      commit: async (commits) => {
        const outcomes = await store.commit(commits);
        for (const commit of commits) await store.wake({ tenantIds: [commit.tenantId] });
        return outcomes;
      },
    }),
    "due-times",
  ],
];

describe("the store kit", () => {
  test.each(FLAWS)("fails a store that %s", async (_flaw, wrap, behaviour) => {
    const subject = { name: "broken", open: () => openPostgresHarness(wrap) };
    const only = storeBehaviours.filter(({ id }) => id === behaviour);
    const [result] = await runConformance(conformanceCases(only, subject));
    expect(result?.verdict).toBe("FAIL");
  });
});
