/** The simulation itself: it repeats what it did, it is not tame, and it can be made smaller. */
import { describe, expect, it } from "vitest";
import { newLife, createNetwork, thaw, type Conditions } from "./parties.ts";
import { COUNTED_KINDS, type CountedKind } from "./plan.ts";
import { findPlant } from "./planted/plants.ts";
import { createRandom } from "./random.ts";
import { LEAST_INTERLEAVINGS, LEAST_TENANTS } from "./report.ts";
import { runSeed } from "./run.ts";
import { createScheduler } from "./scheduler.ts";
import { shrink } from "./shrink.ts";

const CALM: Conditions = { faultFor: () => null, isReachable: () => true, crash: () => undefined };
const silent = (): void => undefined;

describe("virtual time", () => {
  it("runs what is due in the order of time, and every continuation before the next", async () => {
    const scheduler = createScheduler(createRandom(1));
    const seen: string[] = [];
    scheduler.after(20, 0, () => seen.push(`b at ${scheduler.nowMs}`));
    scheduler.after(10, 0, () => {
      seen.push(`a at ${scheduler.nowMs}`);
      void (async () => {
        for (let depth = 0; depth < 50; depth++) await Promise.resolve();
        seen.push("a's continuation");
      })();
    });
    scheduler.after(15, 0, () => seen.push("never"))();
    await scheduler.run(100);
    expect(seen).toEqual(["a at 10", "a's continuation", "b at 20"]);
    expect(scheduler.nowMs).toBe(100);
  });

  it("lets the seed decide between entries of one moment", async () => {
    const orderOf = async (seed: number): Promise<string> => {
      const scheduler = createScheduler(createRandom(seed));
      const order: number[] = [];
      for (let entry = 0; entry < 6; entry++) scheduler.after(5, 0, () => order.push(entry));
      await scheduler.run(10);
      return order.join("");
    };
    expect(await orderOf(3)).toBe(await orderOf(3));
    const orders = new Set(await Promise.all([1, 2, 3, 4, 5].map(orderOf)));
    expect(orders.size).toBeGreaterThan(1);
  });

  it("drops what comes for a process that died, and keeps what comes for one that is frozen", async () => {
    const scheduler = createScheduler(createRandom(1));
    const network = createNetwork(scheduler, createRandom(2), CALM, silent);
    const [dead, frozen] = [newLife("dead"), newLife("frozen")];
    const seen: string[] = [];
    for (const life of [dead, frozen]) {
      void network
        .call<string>({
          from: life,
          to: "far",
          name: "call",
          timeoutMs: 1_000,
          perform: () => "answer",
          failure: (reason) => new Error(reason),
        })
        .then((answer) => seen.push(`${life.party}: ${answer} at ${scheduler.nowMs}`));
    }
    dead.isOver = true;
    frozen.held = [];
    scheduler.after(500, 0, () => thaw(frozen, scheduler));
    await scheduler.run(2_000);
    expect(seen).toEqual(["frozen: answer at 500"]);
  });
});

describe("runs", () => {
  const SEEDS = Array.from({ length: 150 }, (_, index) => 500_000 + index);

  it("repeat: the same seed gives the same trace", async () => {
    for (const seed of SEEDS.slice(0, 5)) {
      const [first, second] = [
        await runSeed({ seed, keepTrace: true }),
        await runSeed({ seed, keepTrace: true }),
      ];
      expect(second.trace).toEqual(first.trace);
      expect(second.fingerprint).toBe(first.fingerprint);
      expect(first.trace.length).toBeGreaterThan(100);
    }
    const prints = await Promise.all(
      SEEDS.slice(0, 5).map(async (seed) => (await runSeed({ seed })).fingerprint),
    );
    expect(new Set(prints).size).toBe(5);
  });

  it("are wild, and hold every invariant", async () => {
    const counts = new Map<CountedKind, number>();
    const interleavings: number[] = [];
    for (const seed of SEEDS) {
      const result = await runSeed({ seed });
      expect(result.violation, `seed ${seed}`).toBeNull();
      expect(result.tenants).toBeGreaterThanOrEqual(LEAST_TENANTS);
      interleavings.push(result.interleavings);
      for (const [kind, count] of result.counts) counts.set(kind, (counts.get(kind) ?? 0) + count);
    }
    const median = interleavings.sort((one, other) => one - other)[SEEDS.length / 2] ?? 0;
    expect(median).toBeGreaterThanOrEqual(LEAST_INTERLEAVINGS);
    expect(COUNTED_KINDS.filter((kind) => !counts.has(kind))).toEqual([]);
  });
});

it("shrinks a failing run to a few events that fail alike", async () => {
  const plant = findPlant("update-lost-in-flight");
  let failed = await runSeed({ seed: 1, plant });
  for (let seed = 2; failed.violation === null; seed++) failed = await runSeed({ seed, plant });
  const all = failed.plan.actions.length + failed.plan.faults.length;
  const { only, result } = await shrink(failed, { plant });
  expect(only.length).toBeLessThan(all / 3);
  const again = await runSeed({ seed: failed.seed, plant, only });
  expect(again.violation).toEqual(result.violation);
  expect(again.violation?.invariant).toBe(failed.violation.invariant);
  for (const left of only) {
    const { violation } = await runSeed({ seed: failed.seed, plant, only: only.filter((id) => id !== left) });
    expect(violation?.invariant, `${left} is needed`).not.toBe(failed.violation.invariant);
  }
});
