/** Time and chance, given to the reconciler from outside: a simulation owns both. */
import { randomUUID } from "node:crypto";

export interface Runtime {
  /** Milliseconds of a clock that never jumps; only differences mean anything. */
  monotonicMs(): number;
  /** Calls back once, `delayMs` from now; 0 is the end of the present turn. What it returns takes the call back. */
  schedule(delayMs: number, callback: () => void): () => void;
  /** Aborts after `timeoutMs`. */
  timeout(timeoutMs: number): AbortSignal;
  /** Uniform in [0, 1). */
  random(): number;
  newId(): string;
}

/** The real ones. Its timers keep the process alive. */
export const nodeRuntime: Runtime = {
  monotonicMs: () => performance.now(),
  schedule(delayMs, callback) {
    if (delayMs === 0) {
      const immediate = setImmediate(callback);
      return () => clearImmediate(immediate);
    }
    const timer = setTimeout(callback, delayMs);
    return () => clearTimeout(timer);
  },
  timeout: (timeoutMs) => AbortSignal.timeout(timeoutMs),
  random: Math.random,
  newId: randomUUID,
};

export function sleep(runtime: Runtime, delayMs: number): Promise<void> {
  return new Promise((resolve) => void runtime.schedule(delayMs, resolve));
}
