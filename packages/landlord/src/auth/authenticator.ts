/** From the `Authorization` header to an identity. */
import { UnauthenticatedError } from "./errors.ts";
import type { Identity } from "./identity.ts";
import type { KeyVerifier } from "./key-verifier.ts";
import type { OidcVerifier } from "./oidc.ts";
import { isKeyShaped, isSameSecret } from "./secret.ts";

export interface Authenticator {
  /**
   * @throws UnauthenticatedError 401, NotAdmittedError 403, UnavailableError 503
   */
  authenticate(authorization: string | undefined): Promise<Identity>;
  /** True for what was good before: it is let through where guessing is slowed down. */
  isKnown(authorization: string | undefined): boolean;
}

/** The name of whoever holds `auth.admin_token`. */
const ADMIN_TOKEN_NAME = "admin-token";
/** RFC 6750, section 2.1. */
const BEARER = /^Bearer +([A-Za-z0-9._~+/-]+=*) *$/i;
const JWT_SHAPE = /^[\w-]+\.[\w-]+\.[\w-]+$/;

export function createAuthenticator(parts: {
  readonly adminToken: string | null;
  readonly keys: KeyVerifier;
  /** Null when no issuer is configured. */
  readonly oidc: OidcVerifier | null;
}): Authenticator {
  const { adminToken, keys, oidc } = parts;
  const isAdmin = (token: string): boolean => adminToken !== null && isSameSecret(token, adminToken);
  return {
    async authenticate(authorization) {
      if (authorization === undefined) throw UnauthenticatedError.missing();
      const token = BEARER.exec(authorization)?.[1];
      if (token === undefined)
        throw UnauthenticatedError.refused("the header is not `Authorization: Bearer <token>`");
      if (isAdmin(token)) return ADMIN;
      if (isKeyShaped(token)) return keys.verify(token);
      if (!JWT_SHAPE.test(token)) throw UnauthenticatedError.refused("it is neither an API key nor a JWT");
      if (oidc === null)
        throw UnauthenticatedError.refused("it is a JWT, and no issuer is configured (auth.oidc)");
      return oidc.verify(token);
    },
    isKnown(authorization) {
      const token = BEARER.exec(authorization ?? "")?.[1];
      return token !== undefined && (isAdmin(token) || (isKeyShaped(token) && keys.wasGood(token)));
    },
  };
}

const ADMIN: Identity = {
  principal: { name: ADMIN_TOKEN_NAME, role: "admin", scope: null },
  method: "admin_token",
  expiresAt: null,
  stillValid: () => Promise.resolve(true),
};
