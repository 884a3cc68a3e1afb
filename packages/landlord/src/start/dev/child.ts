/** A process of ours that `landlord dev` keeps running: started again with backoff whenever it ends unasked. */
import type { ChildProcess } from "node:child_process";
import { truncate, stat, copyFile } from "node:fs/promises";
import { LandlordError, messageOf } from "../../domain/errors.ts";
import { logTail, openLog } from "../../os/supervised.ts";
import type { SupervisedPart, SupervisorMessage } from "../supervision.ts";

export interface ChildOptions {
  readonly name: string;
  /** Starts one that waits for its orders; see ahead.ts. */
  readonly start: () => ChildProcess;
  /** One that was started before; null when there is none. */
  readonly first: ChildProcess | null;
  /** Its command line. */
  readonly words: readonly string[];
  /** Of its environment. It is started before this is known, and told then: meanwhile it loads its program. */
  readonly settings: Promise<Readonly<Record<string, string>>>;
  /** When what it uses can be used; it is told. */
  readonly ups: Readonly<Partial<Record<SupervisedPart, Promise<unknown>>>>;
  readonly logFile: string;
  readonly onRestart: (reason: string, delayMs: number) => void;
  readonly onReadyAgain: () => void;
}

export interface ManagedChild {
  /** Resolves when the child has reported that it does its work. */
  readonly ready: Promise<void>;
  readonly pid: number | null;
  stop(): Promise<void>;
}

const READY_TIMEOUT_MS = 60_000;
const RESTART_FIRST_MS = 200;
const RESTART_LONGEST_MS = 5_000;
/** A child that ran this long is healthy; its next end starts the backoff anew. */
const HEALTHY_AFTER_MS = 10_000;
const STOP_TIMEOUT_MS = 40_000;
const LOG_LIMIT_BYTES = 20 * 1024 * 1024;
const LOG_CHECK_MS = 60_000;

export function keepRunning(options: ChildOptions): ManagedChild {
  let child: ChildProcess | null = null;
  let ahead = options.first;
  let stopping = false;
  let restartTimer: NodeJS.Timeout | null = null;
  let delayMs = RESTART_FIRST_MS;
  let settleReady: { resolve(): void; reject(error: Error): void } | null = null;
  const ready = new Promise<void>((resolve, reject) => (settleReady = { resolve, reject }));
  // Whoever starts it waits for other parts first, and may never come to wait for this one.
  ready.catch(() => undefined);
  let readyTimer: NodeJS.Timeout | undefined;
  Promise.all([options.settings, ...Object.values(options.ups)]).then(
    () => {
      if (stopping || settleReady === null) return;
      readyTimer = setTimeout(
        () => void failStart(`did not become ready within ${READY_TIMEOUT_MS / 1_000} s`),
        READY_TIMEOUT_MS,
      );
    },
    // Told to whoever waits for the part that failed; this one is then stopped.
    () => undefined,
  );
  // A log that cannot be cut now is cut later.
  const logTimer = setInterval(() => void boundLog(options.logFile).catch(() => undefined), LOG_CHECK_MS);
  logTimer.unref();

  async function failStart(reason: string): Promise<void> {
    clearTimeout(readyTimer);
    const tail = await logTail(options.logFile);
    settleReady?.reject(
      new LandlordError(
        "start_failed",
        `The ${options.name} ${reason}. The end of ${options.logFile}:\n${tail}`,
      ),
    );
    settleReady = null;
  }

  async function launch(): Promise<void> {
    // Made, or put aside, by us; the child opens it again.
    await (await openLog(options.logFile)).close();
    if (stopping) return;
    const startedMs = performance.now();
    const started = takeAhead() ?? options.start();
    child = started;
    started.ref();
    started.channel?.ref();
    tell(started, options).catch(() => undefined);
    started.on("message", (message) => {
      if (!isReadyMessage(message)) return;
      clearTimeout(readyTimer);
      if (settleReady === null) options.onReadyAgain();
      settleReady?.resolve();
      settleReady = null;
    });
    started.once("error", (error) => scheduleRestart(error.message));
    started.once("exit", (code, signal) => {
      child = null;
      if (stopping) return;
      const reason = signal === null ? `exit code ${code}` : signal;
      // Before it was ever ready, an orderly refusal (a bad setting) will not mend itself.
      if (settleReady !== null && signal === null) {
        void failStart(`ended with ${reason}`);
        return;
      }
      if (performance.now() - startedMs > HEALTHY_AFTER_MS) delayMs = RESTART_FIRST_MS;
      scheduleRestart(reason);
    });
  }

  /** Null as well for one that ended before anybody looked. */
  function takeAhead(): ChildProcess | null {
    const taken = ahead;
    ahead = null;
    return taken?.pid !== undefined && taken.exitCode === null && taken.signalCode === null ? taken : null;
  }

  function scheduleRestart(reason: string): void {
    if (stopping) return;
    options.onRestart(reason, delayMs);
    restartTimer = setTimeout(() => {
      launch().catch((error: unknown) => scheduleRestart(messageOf(error)));
    }, delayMs);
    delayMs = Math.min(delayMs * 2, RESTART_LONGEST_MS);
  }

  void launch().catch((error: unknown) => void failStart(`could not be started: ${String(error)}`));
  return {
    ready,
    get pid() {
      return child?.pid ?? null;
    },
    async stop() {
      stopping = true;
      clearTimeout(readyTimer);
      clearInterval(logTimer);
      if (restartTimer !== null) clearTimeout(restartTimer);
      const running = child;
      if (running === null || running.exitCode !== null || running.signalCode !== null) return;
      await new Promise<void>((resolve) => {
        const killTimer = setTimeout(() => running.kill("SIGKILL"), STOP_TIMEOUT_MS);
        running.once("exit", () => {
          clearTimeout(killTimer);
          resolve();
        });
        running.kill("SIGTERM");
      });
    },
  };
}

/** One that ended meanwhile is told nothing: its end is seen. Rejects with what failed, which others report. */
async function tell(child: ChildProcess, { words, settings, logFile, ups }: ChildOptions): Promise<void> {
  const send = (message: SupervisorMessage): void => {
    if (child.connected) child.send(message, () => undefined);
  };
  send({ kind: "orders", words, settings: await settings, logFile });
  const parts = Object.entries(ups) as [SupervisedPart, Promise<unknown>][];
  await Promise.all(parts.map(([part, up]) => up.then(() => send({ kind: "up", part }))));
}

function isReadyMessage(message: unknown): boolean {
  return typeof message === "object" && message !== null && "kind" in message && message.kind === "ready";
}

/** The child appends, so its log can be cut while it runs; one old part is kept. */
async function boundLog(file: string): Promise<void> {
  const size = (await stat(file).catch(() => null))?.size ?? 0;
  if (size <= LOG_LIMIT_BYTES) return;
  await copyFile(file, `${file}.1`);
  await truncate(file, 0);
}
