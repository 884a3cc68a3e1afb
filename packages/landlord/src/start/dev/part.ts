/** An embedded server (database or engine) that is started again on its folder whenever it ends unasked. */

/** What the embedded supervisors have in common. */
export interface Part {
  stop(): Promise<void>;
  onExit(callback: () => void): void;
}

export interface PartEvents {
  onEnded(): void;
  onBack(): void;
  onFailed(error: unknown): void;
}

export interface ServedPart<Started> {
  /** The first start; its failure is final. */
  readonly first: Promise<Started>;
  stop(): Promise<void>;
}

const RESTART_FIRST_MS = 100;
const RESTART_LONGEST_MS = 5_000;

/** @param start is given what the first start answered; null for the first start itself */
export function keepServing<Started extends Part>(
  start: (first: Started | null) => Promise<Started>,
  events: PartEvents,
): ServedPart<Started> {
  let stopping = false;
  let current: Promise<Started>;
  let firstStarted: Started | null = null;
  let timer: NodeJS.Timeout | null = null;

  function watch(started: Started): void {
    started.onExit(() => {
      if (stopping) return;
      events.onEnded();
      again(RESTART_FIRST_MS);
    });
  }

  function again(delayMs: number): void {
    timer = setTimeout(() => {
      if (stopping) return;
      current = start(firstStarted);
      current.then(
        (started) => {
          if (!stopping) events.onBack();
          watch(started);
        },
        (error: unknown) => {
          events.onFailed(error);
          if (!stopping) again(Math.min(delayMs * 2, RESTART_LONGEST_MS));
        },
      );
    }, delayMs);
  }

  const first = start(null);
  current = first;
  first.then(
    (started) => {
      firstStarted = started;
      watch(started);
    },
    () => undefined,
  );
  return {
    first,
    async stop() {
      stopping = true;
      if (timer !== null) clearTimeout(timer);
      const started = await current.catch(() => null);
      await started?.stop();
    },
  };
}
