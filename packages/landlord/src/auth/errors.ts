import { LandlordError, UnavailableError } from "../domain/errors.ts";

/** The request does not say who makes it, or not credibly: 401. */
export class UnauthenticatedError extends LandlordError {
  static missing(): UnauthenticatedError {
    return new UnauthenticatedError(
      "unauthenticated",
      "This needs credentials: send `Authorization: Bearer <token>`.",
    );
  }

  static refused(problem: string, cause?: unknown): UnauthenticatedError {
    return new UnauthenticatedError("unauthenticated", `The token is not accepted: ${problem}.`, { cause });
  }

  static expired(): UnauthenticatedError {
    return new UnauthenticatedError("token_expired", "The token has expired. Get a new one.");
  }
}

/** It is known who asks, and that one may do nothing here: 403. */
export class NotAdmittedError extends LandlordError {}

/** The OIDC issuer did not answer: 503, and nothing that concerns keys. */
export class OidcUnavailableError extends UnavailableError {
  constructor(issuer: string, reason: string, cause: unknown) {
    super(
      "oidc_unavailable",
      `The OIDC issuer ${issuer} cannot be asked for its keys (${reason}), so JWTs cannot be checked now. Try again, or use an API key.`,
      { cause },
    );
  }
}
