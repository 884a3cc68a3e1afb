/**
 * The base of every error that Landlord raises on purpose: a stable `code` to branch on, a message that says
 * what happened and what to do, and the cause where there is one.
 */
export class LandlordError extends Error {
  readonly code: string;
  /** Further facts, one sentence each; shown to API clients. */
  readonly details: readonly string[];

  constructor(code: string, message: string, options: { details?: readonly string[]; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = code;
    this.details = options.details ?? [];
  }
}

/** A party we depend on (database, engine, API) did not answer or refused to serve. Always worth another try. */
export class UnavailableError extends LandlordError {}

/** The text of anything that was thrown. */
export function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.message === "") return error.errors.map(messageOf).join("; ");
  return error instanceof Error ? error.message : String(error);
}
