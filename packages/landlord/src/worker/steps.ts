/** What a job needs from an engine to be durable. Each worker engine supplies one; the job is written once. */
export interface DurableSteps {
  /**
   * Runs `effect` and remembers its answer under `name`, so that a resumed job does not run it again. It may still
   * run more than once: an answer that was not remembered yet is lost with its worker. What it throws is retried by
   * the engine with backoff, a bounded number of times; then the execution fails.
   */
  run<T>(name: string, effect: (signal: AbortSignal) => Promise<T>): Promise<T>;
  /** A pause that survives the worker. */
  sleep(durationMs: number): Promise<void>;
  /** A key that is the same for every run of the step `name` of this execution. */
  idempotencyKey(name: string): string;
  /** Tells the engine that from now on the job only waits for compute to become healthy. */
  announceWaiting(): void;
}
