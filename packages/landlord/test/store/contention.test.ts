/** Clients and reconcilers on the same rows at the same time: no deadlock, no lost write. */
import { afterEach, beforeEach, expect, it } from "vitest";
import {
  claim,
  clientWrite,
  commitOf,
  created,
  openStoreUnderTest,
  stored,
  transitionTo,
  type StoreUnderTest,
} from "./kit.ts";

const DURATION_MS = 2_000;
const TENANTS = 12;

let under: StoreUnderTest;
beforeEach(async () => {
  under = await openStoreUnderTest();
});
afterEach(() => under.close());

it("writers, claimers, wakers and the sequencer for two seconds", { timeout: 30_000 }, async () => {
  const other = await under.open();
  const stores = [under.store, other];
  const ids = await Promise.all(Array.from({ length: TENANTS }, async () => (await created(under.store)).id));
  const accepted = new Map(ids.map((id) => [id, 0]));
  const done = { commits: 0, lost: 0, outdated: 0, written: 0, refused: 0 };
  const untilMs = performance.now() + DURATION_MS;
  const repeat = async (step: (round: number) => Promise<void>): Promise<void> => {
    for (let round = 0; performance.now() < untilMs; round++) await step(round);
  };
  const storeOf = (index: number) => stores[index % stores.length] ?? under.store;

  const writer = (index: number): Promise<void> =>
    repeat(async (round) => {
      const id = ids[(index * 5 + round) % ids.length] ?? "";
      const outcome = await clientWrite(storeOf(index), await stored(storeOf(index), id));
      if (outcome.kind === "written") {
        accepted.set(id, (accepted.get(id) ?? 0) + 1);
        done.written += 1;
      } else done.refused += 1;
    });
  const reconciler = (index: number): Promise<void> =>
    repeat(async () => {
      const claims = await claim(storeOf(index), `r-${index}`, { interactive: 6, repair: 0, background: 0 });
      // Batches in another order than the claims': the store sorts its locks itself.
      const commits = [...claims].reverse().map((each) =>
        commitOf(each, {
          tenant: { ...each.stored.tenant, statusMessage: `by ${index}` },
          transition: transitionTo(each, each.stored.tenant.status),
          release: { dueInMs: 0, resyncInMs: null },
        }),
      );
      for (const outcome of await storeOf(index).commit(commits)) {
        if (outcome === "committed") done.commits += 1;
        else done[outcome] += 1;
      }
    });
  const waker = (index: number): Promise<void> =>
    repeat(async (round) => {
      const some = ids.filter((_, at) => (at + round) % 3 === 0);
      await storeOf(index).wake({ tenantIds: round % 2 === 0 ? some : some.reverse() });
    });
  const sequencer = (index: number): Promise<void> =>
    repeat(async () => void (await storeOf(index).sequenceTransitions()));

  // A deadlock (40P01) or a statement timeout rejects one of these.
  await Promise.all([
    ...Array.from({ length: 6 }, (_, index) => writer(index)),
    ...Array.from({ length: 4 }, (_, index) => reconciler(index)),
    waker(0),
    waker(1),
    sequencer(0),
    sequencer(1),
  ]);

  for (const id of ids) {
    const { tenant } = await stored(under.store, id);
    expect(tenant.generation).toBe(1 + (accepted.get(id) ?? 0));
    expect(tenant.version).toBe(tenant.generation);
  }
  const history = await under.database.query(`SELECT count(*)::int AS count FROM transitions`);
  expect(history[0]?.["count"]).toBe(TENANTS + done.written + done.commits);
  // The test has to have tested something.
  expect(done.written).toBeGreaterThan(50);
  expect(done.commits).toBeGreaterThan(50);
  // Every tenant that a client wrote last can be claimed: nobody's wake-up was lost.
  await under.database.query(`UPDATE tenant_work SET lease_until = now() WHERE lease_until IS NOT NULL`);
  expect(await claim(under.store, "last")).toHaveLength(TENANTS);
});
