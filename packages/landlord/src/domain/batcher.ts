/**
 * Collects calls that are made close together into one. Per-tenant code stays simple, and the database and the
 * engine see batches.
 */
export interface Batcher<In, Out> {
  (item: In): Promise<Out>;
}

export interface BatcherSettings {
  readonly maxBatch: number;
  /** How long the first item waits for company; 0 for the end of the present turn of the event loop. */
  readonly lingerMs: number;
  /** Batches under way at once; what comes meanwhile makes the next ones larger. Left out: any number. */
  readonly maxRunning?: number;
}

/**
 * @param run answers a batch in order; what it throws is thrown to every caller of the batch
 */
export function createBatcher<In, Out>(
  settings: BatcherSettings,
  timers: { schedule(delayMs: number, run: () => void): unknown },
  run: (items: readonly In[]) => Promise<readonly Out[]>,
): Batcher<In, Out> {
  interface Waiting {
    readonly item: In;
    readonly resolve: (value: Out) => void;
    readonly reject: (error: unknown) => void;
  }
  let waiting: Waiting[] = [];
  let scheduled = false;
  let running = 0;
  const maxRunning = settings.maxRunning ?? Infinity;

  async function flush(): Promise<void> {
    scheduled = false;
    const batch = waiting.slice(0, settings.maxBatch);
    waiting = waiting.slice(settings.maxBatch);
    running += 1;
    if (waiting.length > 0) schedule();
    try {
      const results = await run(batch.map((entry) => entry.item));
      batch.forEach((entry, index) => entry.resolve(results[index] as Out));
    } catch (error) {
      for (const entry of batch) entry.reject(error);
    } finally {
      running -= 1;
      if (waiting.length > 0) schedule();
    }
  }

  function schedule(): void {
    if (scheduled || running >= maxRunning) return;
    scheduled = true;
    timers.schedule(settings.lingerMs, () => void flush());
  }

  return (item) =>
    new Promise<Out>((resolve, reject) => {
      waiting.push({ item, resolve, reject });
      schedule();
    });
}
