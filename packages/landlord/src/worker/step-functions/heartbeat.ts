/** Tells the engine that a task is still worked on, and the task when it is not ours any more. */
import { messageOf } from "../../domain/errors.ts";
import type { Logger } from "../../telemetry/logger.ts";
import { isLostTask } from "./client.ts";
import { pause } from "./pause.ts";

/** Thrown into a job whose task the engine has taken away. */
export class TaskLost extends Error {
  override readonly name = "TaskLost";
}

const BEATS_PER_TIMEOUT = 3;

/**
 * Beats until `ended` aborts. `onLost` is called once: when the engine says so, and also when no heartbeat got through
 * for `timeoutMs`, because then the engine has given the task to somebody else, whether we hear of it or not. So a worker
 * that was stopped and goes on later, or is cut off, ends its step like one that was told.
 */
export async function keepAlive(settings: {
  readonly timeoutMs: number;
  readonly ended: AbortSignal;
  readonly logger: Logger;
  beat(signal: AbortSignal): Promise<unknown>;
  onLost(reason: TaskLost): void;
}): Promise<void> {
  const { ended, logger, timeoutMs } = settings;
  const intervalMs = timeoutMs / BEATS_PER_TIMEOUT;
  let heardMs = performance.now();
  for (;;) {
    await pause(intervalMs, ended);
    if (ended.aborted) return;
    const begunMs = performance.now();
    if (begunMs - heardMs >= timeoutMs) {
      settings.onLost(new TaskLost(`no heartbeat got through for ${timeoutMs / 1_000} s`));
      return;
    }
    try {
      await settings.beat(AbortSignal.any([ended, AbortSignal.timeout(intervalMs)]));
      heardMs = begunMs;
    } catch (error) {
      if (ended.aborted) return;
      if (isLostTask(error)) {
        settings.onLost(new TaskLost(`the engine has ended the task: ${messageOf(error)}`, { cause: error }));
        return;
      }
      logger.warn({ error: messageOf(error) }, "heartbeat did not get through");
    }
  }
}
