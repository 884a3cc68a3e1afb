/** Takes tasks of one activity by long polls, never more than there are free slots. */
import type { SFN } from "@aws-sdk/client-sfn";
import { messageOf } from "../../domain/errors.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { ActivityTask } from "./job-task.ts";
import { pause } from "./pause.ts";

export interface PollerSettings {
  readonly sfn: SFN;
  readonly workerName: string;
  readonly logger: Logger;
  /** Polls open at once. */
  readonly polls: number;
  /** Tasks in hand at once, those that are being polled for included. */
  readonly slots: number;
  /** Resolves with the activity's ARN once the engine knows it; rejects when the worker stops before. */
  activityArn(): Promise<string>;
  /** The engine does not know the activity any more. */
  onForgotten(): void;
  /** Never rejects. */
  run(task: ActivityTask): Promise<void>;
  /** For a task that arrives when nothing new is begun. Never rejects. */
  handBack(task: ActivityTask): Promise<void>;
  /** Aborted when no new poll should begin. */
  readonly stopping: AbortSignal;
  /** Aborted when open polls should end. */
  readonly leaving: AbortSignal;
}

export interface Poller {
  readonly inHand: () => number;
  /** Resolves when all polls have ended; tasks may still be in hand. */
  readonly polled: Promise<void>;
}

/** The engine holds a poll for 60 s; AWS asks for 5 s more at the client. */
const POLL_TIMEOUT_MS = 70_000;
/** A poll that comes back empty sooner than this did not wait, and the next one should not follow at once. */
const EMPTY_POLL_MIN_MS = 1_000;
const FIRST_RETRY_MS = 200;
const LONGEST_RETRY_MS = 10_000;

export function startPoller(settings: PollerSettings): Poller {
  const { logger, stopping, leaving } = settings;
  const slots = createSlots(settings.slots);
  stopping.addEventListener("abort", () => slots.close(), { once: true });
  let inHand = 0;
  let failures = 0;

  async function poll(): Promise<ActivityTask | null> {
    const activityArn = await settings.activityArn();
    const abortSignal = AbortSignal.any([leaving, AbortSignal.timeout(POLL_TIMEOUT_MS)]);
    const begunMs = performance.now();
    const { taskToken, input } = await settings.sfn.getActivityTask(
      { activityArn, workerName: settings.workerName },
      { abortSignal },
    );
    if (failures > 0) logger.info({ failures }, "Step Functions answers again");
    failures = 0;
    if (taskToken !== undefined && taskToken !== "") return { token: taskToken, input: input ?? "" };
    const tooSoonMs = EMPTY_POLL_MIN_MS - (performance.now() - begunMs);
    if (tooSoonMs > 0) await pause(tooSoonMs, stopping);
    return null;
  }

  async function begin(task: ActivityTask, release: () => void): Promise<void> {
    inHand += 1;
    try {
      await settings.run(task);
    } finally {
      inHand -= 1;
      release();
    }
  }

  async function lane(): Promise<void> {
    while (!stopping.aborted) {
      const release = await slots.take();
      if (release === null) return;
      let task: ActivityTask | null = null;
      try {
        task = await poll();
      } catch (error) {
        if (!leaving.aborted && !stopping.aborted) await backOff(error);
      }
      if (task === null) release();
      else if (!stopping.aborted) void begin(task, release);
      else {
        await settings.handBack(task);
        release();
      }
    }
  }

  async function backOff(error: unknown): Promise<void> {
    if (error instanceof Error && error.name === "ActivityDoesNotExist") settings.onForgotten();
    failures += 1;
    const delayMs = Math.min(FIRST_RETRY_MS * 2 ** Math.min(failures - 1, 10), LONGEST_RETRY_MS);
    logger.warn(
      { error: messageOf(error), failures, retry_in_ms: delayMs },
      "Step Functions gave no answer to a poll",
    );
    await pause(delayMs, stopping);
  }

  const lanes = Array.from({ length: Math.min(settings.polls, settings.slots) }, lane);
  return { inHand: () => inHand, polled: Promise.all(lanes).then(() => undefined) };
}

interface Slots {
  /** Waits for a free slot; null after `close`. The answer frees it. */
  take(): Promise<(() => void) | null>;
  close(): void;
}

function createSlots(limit: number): Slots {
  let free = limit;
  let isClosed = false;
  const waiting: (() => void)[] = [];
  const release = (): void => {
    free += 1;
    waiting.shift()?.();
  };
  return {
    async take() {
      while (free === 0 && !isClosed) await new Promise<void>((resolve) => waiting.push(resolve));
      if (isClosed) return null;
      free -= 1;
      return release;
    },
    close() {
      isClosed = true;
      for (const wake of waiting.splice(0)) wake();
    },
  };
}
