/** The words of the engine for a failure, made readable for people. */

const MESSAGE_LIMIT = 2_000;

const TIMEOUTS: Readonly<Record<string, string>> = {
  "States.Timeout": "The worker was not heard of in time, or the job took too long.",
  "States.HeartbeatTimeout": "The worker was not heard of in time.",
};

/** At most 2,000 characters. `cause` may be empty, and then the error's name has to do. */
export function failureText(error: string, cause: string): string {
  const text = cause === "" ? (TIMEOUTS[error] ?? error) : cause;
  return text.slice(0, MESSAGE_LIMIT);
}

/** The Fail state keeps error and cause as one JSON text; what the engine itself ended has a plain cause. */
export function executionFailureText(error: string | undefined, cause: string | undefined): string {
  try {
    const kept = JSON.parse(cause ?? "") as { Error?: unknown; Cause?: unknown } | null;
    if (typeof kept?.Error === "string") {
      return failureText(kept.Error, typeof kept.Cause === "string" ? kept.Cause : "");
    }
  } catch {
    // A plain text.
  }
  return failureText(error ?? "The execution failed without a reason.", cause ?? "");
}
