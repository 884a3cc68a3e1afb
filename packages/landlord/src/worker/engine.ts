/** The port to a workflow engine, seen from a worker. Small, and named like the provider port. */

export interface WorkerEngineStatus {
  /** Where the engine sends work; null before `start`. */
  readonly listenAddress: string | null;
  /** When the engine last confirmed the registration; null before that. */
  readonly registeredAt: Date | null;
  readonly lastRegistrationError: string | null;
  readonly jobsInFlight: number;
}

/**
 * The worker's side of an engine. `start` serves jobs, `register` makes the engine send them; both may be
 * repeated. `stop` takes no new work, waits for what is running within its bound, and ends.
 */
export interface WorkflowWorkerEngine {
  readonly name: string;
  start(): Promise<void>;
  /**
   * Makes the engine know this worker. Retries with backoff until it succeeds or `signal` aborts; adds what is
   * missing and never removes. With `fail_fast` the first failure throws.
   */
  register(signal: AbortSignal): Promise<void>;
  /**
   * Also takes the jobs and questions that are bound to one of these scopes (see `nameInScope`), and lets the engine
   * know if it knows this worker already. May be called again; scopes are only ever added.
   */
  serveScopes(scopes: readonly string[]): Promise<void>;
  stop(): Promise<void>;
  status(): WorkerEngineStatus;
}
