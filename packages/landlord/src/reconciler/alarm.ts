import type { Runtime } from "./runtime.ts";

/** A wake-up that is not lost when it comes before the wait. */
export interface Alarm {
  ring(): void;
  /** Forgets earlier rings: call it before the work that a ring asks for, so that a ring during the work counts. */
  reset(): void;
  /** Resolves at the next ring, or at one since the last reset, or after `timeoutMs`. */
  wait(timeoutMs: number): Promise<void>;
}

export function createAlarm(runtime: Pick<Runtime, "schedule">): Alarm {
  let rung = false;
  let wakeUp: (() => void) | null = null;
  return {
    ring() {
      rung = true;
      wakeUp?.();
    },
    reset() {
      rung = false;
    },
    wait(timeoutMs) {
      if (rung) return Promise.resolve();
      return new Promise((resolve) => {
        const done = (): void => {
          cancel();
          wakeUp = null;
          resolve();
        };
        const cancel = runtime.schedule(timeoutMs, done);
        wakeUp = done;
      });
    },
  };
}
