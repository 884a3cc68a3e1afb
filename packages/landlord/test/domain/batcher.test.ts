import { expect, it } from "vitest";
import { createBatcher } from "../../src/domain/batcher.ts";
import { nodeRuntime } from "../../src/reconciler/runtime.ts";

/** A batcher whose batches end when they are told to. */
function heldBatcher(maxRunning?: number) {
  const running: { readonly items: readonly number[]; end(): void; fail(): void }[] = [];
  const add = createBatcher<number, string>(
    { maxBatch: 3, lingerMs: 0, ...(maxRunning === undefined ? {} : { maxRunning }) },
    nodeRuntime,
    (items) =>
      new Promise((resolve, reject) =>
        running.push({
          items,
          end: () => resolve(items.map((item) => `done ${item}`)),
          fail: () => reject(new Error("the batch failed")),
        }),
      ),
  );
  return { add, running };
}

const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));

it("sends what comes in one turn together, in batches of at most so many", async () => {
  const { add, running } = heldBatcher();
  const answers = [1, 2, 3, 4].map((each) => add(each));
  await turn();
  expect(running.map(({ items }) => items)).toEqual([[1, 2, 3], [4]]);
  for (const batch of running) batch.end();
  expect(await Promise.all(answers)).toEqual(["done 1", "done 2", "done 3", "done 4"]);
});

it("keeps what comes while enough batches run, and sends it together when one has ended", async () => {
  const { add, running } = heldBatcher(1);
  const first = add(1);
  await turn();
  const later = [add(2), add(3)];
  await turn();
  expect(running).toHaveLength(1);
  running[0]?.end();
  await turn();
  expect(running.map(({ items }) => items)).toEqual([[1], [2, 3]]);
  running[1]?.end();
  expect(await Promise.all([first, ...later])).toEqual(["done 1", "done 2", "done 3"]);
});

it("goes on after a batch that failed, and tells everybody in it", async () => {
  const { add, running } = heldBatcher(1);
  const failed = Promise.allSettled([add(1), add(2)]);
  await turn();
  const next = add(3);
  running[0]?.fail();
  expect((await failed).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  await turn();
  running[1]?.end();
  expect(await next).toBe("done 3");
});
