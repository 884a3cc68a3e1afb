import { messageOf } from "../../domain/errors.ts";
import { ComputeError } from "../provider.ts";

/** The error of work that was given up because its execution was cancelled. Nothing is left half done. */
export function aborted(): ComputeError {
  return new ComputeError("aborted", "The execution was cancelled before the provider was done.", {
    retryable: true,
  });
}

/** Runs `work`; whatever it throws that is no ComputeError becomes a retryable `process_failed`. */
export async function guarded<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ComputeError) throw error;
    throw new ComputeError(
      "process_failed",
      `The host did not do what was needed: ${messageOf(error)}. It is tried again.`,
      {
        retryable: true,
        providerError: messageOf(error),
        cause: error,
      },
    );
  }
}
