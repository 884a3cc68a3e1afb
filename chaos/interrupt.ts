/** Ctrl-C in the middle of a run: what was started is stopped first, since databases and engines outlive their starter. */

/** 128 + SIGINT, as shells report it. */
const INTERRUPTED_EXIT_CODE = 130;

/** Aborts at the first SIGINT or SIGTERM; a second one ends the process as usual. */
export function untilInterrupted(): AbortSignal {
  const controller = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    process.once(name, () => controller.abort(new Error(`stopped by ${name}`)));
  }
  return controller.signal;
}

/** For the failure of a run: one that was interrupted ends the process, any other is thrown. */
export function endInterrupted(signal: AbortSignal, error: unknown): never {
  if (!signal.aborted) throw error;
  process.stderr.write(`${(signal.reason as Error).message}\n`);
  process.exit(INTERRUPTED_EXIT_CODE);
}
