/**
 * Virtual time, and the one place that decides what runs next. Whatever waits (a call on its way, an answer, a timer)
 * is an entry here; between two entries every continuation in the process runs until it waits again. So code under
 * test is interleaved at every await on a port, and nowhere else, in an order that the seed decides.
 */
import type { Random } from "./random.ts";

export interface Scheduler {
  /** Milliseconds since the run began; never jumps. */
  readonly nowMs: number;
  /** Entries that have run. */
  readonly steps: number;
  /** How often another activity than the one before ran although that one had not ended. */
  readonly interleavings: number;
  /**
   * Runs `effect` at `nowMs + delayMs`; of entries of one moment, chance decides the order. What it returns takes it back.
   *
   * @param activity the call that this is a part of, to count interleavings; 0 for none
   */
  after(delayMs: number, activity: number, effect: () => void): () => void;
  /** Runs `effect` at this time, before others of that moment. What is planned draws no chance: without it, the rest stays as it is. */
  plan(timeMs: number, effect: () => void): void;
  /** Runs entries until none is due by `untilMs`, or `isOver` says so, or an entry throws. */
  run(untilMs: number, isOver?: () => boolean): Promise<void>;
}

interface Entry {
  readonly timeMs: number;
  readonly order: number;
  readonly activity: number;
  effect: (() => void) | null;
}

export function createScheduler(random: Random): Scheduler {
  const heap: Entry[] = [];
  let nowMs = 0;
  let steps = 0;
  let interleavings = 0;
  let lastActivity = 0;
  const pending = new Map<number, number>();

  function count(activity: number, change: number): void {
    const left = (pending.get(activity) ?? 0) + change;
    if (left === 0) pending.delete(activity);
    else pending.set(activity, left);
  }

  function runOne(entry: Entry): void {
    nowMs = entry.timeMs;
    count(entry.activity, -1);
    if (entry.effect === null) return;
    steps += 1;
    if (entry.activity !== lastActivity && pending.has(lastActivity)) interleavings += 1;
    lastActivity = entry.activity;
    entry.effect();
  }

  return {
    get nowMs() {
      return nowMs;
    },
    get steps() {
      return steps;
    },
    get interleavings() {
      return interleavings;
    },
    after(delayMs, activity, effect) {
      const entry: Entry = {
        timeMs: nowMs + Math.max(0, delayMs),
        order: random.next(),
        activity,
        effect,
      };
      push(heap, entry);
      count(activity, 1);
      return () => (entry.effect = null);
    },
    plan(timeMs, effect) {
      push(heap, { timeMs, order: -1, activity: 0, effect });
      count(0, 1);
    },
    run(untilMs, isOver = () => false) {
      return new Promise((resolve, reject) => {
        const step = (): void => {
          const first = heap[0];
          if (first === undefined || first.timeMs > untilMs || isOver()) {
            if (!isOver()) nowMs = Math.max(nowMs, untilMs);
            resolve();
            return;
          }
          try {
            runOne(pop(heap) as Entry);
          } catch (error) {
            reject(error instanceof Error ? error : new Error(String(error)));
            return;
          }
          // A tick that is asked for by a microtask runs when all microtasks have: every continuation has had its turn.
          queueMicrotask(() => process.nextTick(step));
        };
        process.nextTick(step);
      });
    },
  };
}

function isBefore(one: Entry, other: Entry): boolean {
  return one.timeMs < other.timeMs || (one.timeMs === other.timeMs && one.order < other.order);
}

function push(heap: Entry[], entry: Entry): void {
  let index = heap.length;
  heap.push(entry);
  while (index > 0) {
    const parent = (index - 1) >> 1;
    if (!isBefore(entry, heap[parent] as Entry)) break;
    heap[index] = heap[parent] as Entry;
    index = parent;
  }
  heap[index] = entry;
}

function pop(heap: Entry[]): Entry | undefined {
  const top = heap[0];
  const last = heap.pop();
  if (last === undefined || top === last) return top;
  let index = 0;
  for (;;) {
    let child = 2 * index + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && isBefore(heap[child + 1] as Entry, heap[child] as Entry)) child += 1;
    if (!isBefore(heap[child] as Entry, last)) break;
    heap[index] = heap[child] as Entry;
    index = child;
  }
  heap[index] = last;
  return top;
}
