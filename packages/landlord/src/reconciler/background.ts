/** Chores of a server that have no tenant: the sequencer and the collection of garbage. */
import { messageOf } from "../domain/errors.ts";
import type { WorkStore } from "../store/store.ts";
import type { Logger } from "../telemetry/logger.ts";
import { createAlarm } from "./alarm.ts";
import { sleep, type Runtime } from "./runtime.ts";

export interface Background {
  start(): void;
  /** A transition was committed here. */
  wake(): void;
  stop(): Promise<void>;
}

export interface BackgroundSettings {
  readonly historyRetentionMs: number;
}

/** At most 50 batches, and so notifications, a second. */
const SEQUENCER_PAUSE_MS = 20;
/** Between two looks for what another server left unnumbered; it grows as long as there is nothing. */
const SEQUENCER_INTERVAL_MS = 1_000;
const SEQUENCER_MAX_INTERVAL_MS = 5_000;
const GARBAGE_INTERVAL_MS = 60_000;
/** As long as there is garbage, more is collected: otherwise a busy fleet would make it faster than it goes. */
const GARBAGE_PAUSE_MS = 1_000;

/** Numbers committed transitions and tells other servers; deletes what has outlived its retention. */
export function createBackground(
  store: Pick<WorkStore, "sequenceTransitions" | "collectGarbage">,
  settings: BackgroundSettings,
  runtime: Runtime,
  logger: Logger,
): Background {
  const alarm = createAlarm(runtime);
  let stopping = false;
  let isWoken = false;
  let loop: Promise<void> | null = null;
  let cancelGarbage: () => void = () => undefined;

  async function run(): Promise<void> {
    let intervalMs = SEQUENCER_INTERVAL_MS;
    while (!stopping) {
      alarm.reset();
      // Nothing numbered after a wake-up: another server was at it, and may not have seen what was committed here.
      const isExpected = isWoken;
      isWoken = false;
      const sequenced = await sequence();
      const isQuiet = sequenced === 0 && !isExpected;
      intervalMs = isQuiet ? Math.min(SEQUENCER_MAX_INTERVAL_MS, 2 * intervalMs) : SEQUENCER_INTERVAL_MS;
      await sleep(runtime, SEQUENCER_PAUSE_MS);
      if (!stopping) await alarm.wait(intervalMs);
    }
  }

  /** Answers how many transitions were numbered; null when the database did not say. */
  async function sequence(): Promise<number | null> {
    try {
      return (await store.sequenceTransitions()).count;
    } catch (error) {
      logger.debug({ error: messageOf(error) }, "transitions not sequenced; trying again");
      return null;
    }
  }

  function scheduleGarbage(delayMs: number): void {
    cancelGarbage = runtime.schedule(delayMs, () => void collectGarbage());
  }

  async function collectGarbage(): Promise<void> {
    let collected = 0;
    try {
      collected = await store.collectGarbage(settings);
    } catch (error) {
      logger.debug({ error: messageOf(error) }, "garbage not collected; trying again");
    }
    if (!stopping) scheduleGarbage(collected > 0 ? GARBAGE_PAUSE_MS : GARBAGE_INTERVAL_MS);
  }

  return {
    start() {
      loop ??= run();
      scheduleGarbage(GARBAGE_INTERVAL_MS);
    },
    wake() {
      isWoken = true;
      alarm.ring();
    },
    async stop() {
      stopping = true;
      cancelGarbage();
      alarm.ring();
      await loop;
    },
  };
}
