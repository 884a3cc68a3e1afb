/** Who somebody is, and how that is known. */
import { ANONYMOUS, type Principal } from "../domain/principal.ts";

export const AUTHENTICATION_METHODS = ["none", "key", "admin_token", "oidc"] as const;
export type AuthenticationMethod = (typeof AUTHENTICATION_METHODS)[number];

export interface Identity {
  readonly principal: Principal;
  readonly method: AuthenticationMethod;
  /** Null: does not expire. */
  readonly expiresAt: Date | null;
  /** False once it is revoked or expired: what lives longer than a request asks now and then. Seconds old at most. */
  stillValid(): Promise<boolean>;
}

/** Everybody's, while authentication is off. */
export const ANONYMOUS_IDENTITY: Identity = {
  principal: ANONYMOUS,
  method: "none",
  expiresAt: null,
  stillValid: () => Promise.resolve(true),
};
