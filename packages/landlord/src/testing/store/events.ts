/** What watching relies on: transitions by position, in pages, while others write. */
import assert from "node:assert/strict";
import type { SequencedTransition } from "../../store/store.ts";
import type { Behaviour } from "../behaviour.ts";
import type { StoreHarness } from "./harness.ts";
import { clientWrite, created, historyOf, stored } from "./records.ts";

const pagesEvents: Behaviour<StoreHarness> = {
  id: "event-pages",
  title: "lists events from a position on, in order and in pages, and none that has no position yet",
  essential: true,
  async prove(harness) {
    const store = await harness.open();
    assert.deepEqual(await store.listEvents({ from: 1, limit: 10 }), []);
    assert.equal(await store.newestEvent(), null);
    const first = await created(store, { labels: { env: "prod" } });
    assert.deepEqual(await store.listEvents({ from: 1, limit: 10 }), [], "it has no position yet");
    assert.equal(await store.newestEvent(), null);
    for (let count = 0; count < 4; count += 1) await created(store);
    while ((await store.sequenceTransitions()).count > 0);
    const positions = async (from: number, limit: number): Promise<readonly number[]> =>
      (await store.listEvents({ from, limit })).map(({ position }) => position);
    assert.deepEqual(await positions(1, 3), [1, 2, 3]);
    assert.deepEqual(await positions(3, 3), [3, 4, 5]);
    assert.deepEqual(await positions(5, 3), [5]);
    assert.deepEqual(await positions(6, 3), []);
    const [event] = await store.listEvents({ from: 1, limit: 1 });
    assert.deepEqual(event, (await historyOf(store, first.id))[0], "the same as in its history");
    assert.deepEqual(event?.labels, { env: "prod" });
    assert.equal((await store.newestEvent())?.position, 5);
  },
};

const tellsWhatItNumbered: Behaviour<StoreHarness> = {
  id: "event-numbering",
  title: "whoever numbers transitions is told them after the newest one before, as a read would tell",
  essential: true,
  async prove(harness) {
    const store = await harness.open();
    assert.deepEqual(await store.sequenceTransitions(), { count: 0, events: [] });
    for (let count = 0; count < 3; count += 1) await created(store);
    const first = await store.sequenceTransitions();
    assert.equal(first.count, 3);
    assert.deepEqual(first.events, await store.listEvents({ from: 1, limit: 10 }));
    for (let count = 0; count < 2; count += 1) await created(store);
    const second = await store.sequenceTransitions();
    assert.equal(second.count, 2);
    assert.deepEqual(second.events, await store.listEvents({ from: 3, limit: 10 }), "from the newest before");
    assert.deepEqual(await store.sequenceTransitions(), { count: 0, events: [] }, "nothing is left");
  },
};

const followsWriters: Behaviour<StoreHarness> = {
  id: "event-following",
  title: "whoever reads on from the last position misses and repeats nothing, whatever is written meanwhile",
  essential: true,
  async prove(harness) {
    const [store, other] = await Promise.all([harness.open(), harness.open()]);
    const ids = await Promise.all([store, other, store, other].map(async (each) => (await created(each)).id));
    let writing = true;
    const sequencers = [store, other].map(async (each) => {
      while (writing) await each.sequenceTransitions();
    });
    const seen: SequencedTransition[] = [];
    const read = async (): Promise<number> => {
      const page = await other.listEvents({ from: (seen.at(-1)?.position ?? 0) + 1, limit: 3 });
      seen.push(...page);
      return page.length;
    };
    const reader = (async () => {
      while (writing) await read();
    })();
    await Promise.all(
      ids.map(async (id) => {
        for (let round = 0; round < 5; round += 1) {
          assert.equal((await clientWrite(store, await stored(store, id))).kind, "written");
        }
      }),
    ).finally(() => (writing = false));
    await Promise.all([...sequencers, reader]);
    while ((await store.sequenceTransitions()).count > 0);
    while ((await read()) > 0);
    assert.deepEqual(
      seen.map(({ position }) => position),
      Array.from({ length: ids.length * 6 }, (_, index) => index + 1),
    );
    for (const id of ids) {
      const own = seen.filter(({ tenantId }) => tenantId === id).map(({ generation }) => generation);
      assert.deepEqual(own, [1, 2, 3, 4, 5, 6], "in the order of the writes");
    }
  },
};

export const eventBehaviours: readonly Behaviour<StoreHarness>[] = [
  pagesEvents,
  tellsWhatItNumbered,
  followsWriters,
];
