/**
 * JWTs of an OpenID Connect issuer, found by discovery (OpenID Connect Discovery 1.0) and checked as RFC 8725 advises:
 * only asymmetric algorithms, issuer and audience exactly as configured, never without an expiry.
 */
import type * as Jose from "jose";
import type { JWTPayload, JWTVerifyGetKey } from "jose";
import { isJsonObject } from "../domain/json.ts";
import { LandlordError, messageOf } from "../domain/errors.ts";
import type { Role } from "../domain/principal.ts";
import { parseSelector, type Selector } from "../domain/selector.ts";
import { NotAdmittedError, OidcUnavailableError, UnauthenticatedError } from "./errors.ts";
import type { Identity } from "./identity.ts";

export interface OidcSettings {
  readonly issuer: string;
  readonly audience: string;
  /** Name of the claim, or a path of names joined by dots. Its value: text, or a list of texts. */
  readonly roleClaim: string;
  /** Value of the claim to role; of several the one that may do most counts. */
  readonly roleMapping: Readonly<Record<string, Role>>;
  /** Claim with a label selector; null: every JWT is for all tenants. */
  readonly scopeClaim: string | null;
  readonly clockSkewSeconds: number;
  /** Keys are fetched anew when they are older. */
  readonly jwksCacheMs: number;
  /** An unknown key id makes them be fetched at most this often. */
  readonly jwksCooldownMs: number;
  readonly timeoutMs: number;
}

export interface OidcVerifier {
  /**
   * @throws UnauthenticatedError for a JWT that does not hold
   * @throws NotAdmittedError 403 when its claims give no role, or no scope where one is needed
   * @throws OidcUnavailableError when the issuer's keys cannot be had
   */
  verify(jwt: string): Promise<Identity>;
}

/** RFC 7518 and RFC 8037; no `none` and no HMAC, whose "public" key would be a secret. */
const ALGORITHMS = [
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
  "EdDSA",
  "Ed25519",
];
/** Rising; `worker` is no step of it, and counts only where it is the only one. */
const RANK: Readonly<Record<Role, number>> = { worker: 0, viewer: 1, operator: 2, admin: 3 };
const DISCOVERY_LIMIT_BYTES = 256 * 1024;
/** While the issuer does not answer, it is asked this often. */
const DISCOVERY_RETRY_MS = 1_000;

export function createOidcVerifier(settings: OidcSettings, nowMs: () => number): OidcVerifier {
  const keySet = createKeySet(settings, nowMs);

  async function verify(jwt: string): Promise<Identity> {
    const jose = await import("jose");
    const payload = await checked(jose, jwt, settings, await keySet());
    const scope = scopeOf(payload, settings);
    const expiresAt = new Date((payload.exp ?? 0) * 1_000);
    return {
      principal: { name: payload.sub ?? "", role: roleOf(payload, settings), scope },
      method: "oidc",
      expiresAt,
      stillValid: () => Promise.resolve(Date.now() < expiresAt.getTime() + settings.clockSkewSeconds * 1_000),
    };
  }
  return { verify };
}

async function checked(
  jose: typeof Jose,
  jwt: string,
  settings: OidcSettings,
  keys: JWTVerifyGetKey,
): Promise<JWTPayload> {
  const { errors } = jose;
  try {
    const { payload } = await jose.jwtVerify(jwt, keys, {
      issuer: settings.issuer,
      audience: settings.audience,
      algorithms: ALGORITHMS,
      clockTolerance: settings.clockSkewSeconds,
      requiredClaims: ["exp", "sub"],
    });
    if (payload.sub === "") throw UnauthenticatedError.refused("its subject is empty");
    return payload;
  } catch (error) {
    if (error instanceof errors.JWTExpired) throw UnauthenticatedError.expired();
    // Its own code for an answer that is not 200, and whatever fetch itself throws.
    const isOutage =
      error instanceof errors.JWKSTimeout ||
      (error instanceof errors.JOSEError && error.code === "ERR_JOSE_GENERIC") ||
      error instanceof errors.JWKSInvalid ||
      !(error instanceof errors.JOSEError || error instanceof LandlordError);
    if (isOutage) throw new OidcUnavailableError(settings.issuer, messageOf(error), error);
    if (error instanceof LandlordError) throw error;
    throw UnauthenticatedError.refused(messageOf(error), error);
  }
}

/** Discovery is repeated as often as keys are; while the issuer is away, the address it gave before is used. */
function createKeySet(settings: OidcSettings, nowMs: () => number): () => Promise<JWTVerifyGetKey> {
  let known: { readonly uri: string; readonly keys: JWTVerifyGetKey } | null = null;
  let askAgainAtMs = 0;
  let failure: OidcUnavailableError | null = null;
  let asking: Promise<void> | null = null;

  async function discover(): Promise<void> {
    try {
      const uri = await jwksUriOf(settings);
      if (known?.uri !== uri) {
        const { createRemoteJWKSet } = await import("jose");
        const keys = createRemoteJWKSet(new URL(uri), {
          cacheMaxAge: settings.jwksCacheMs,
          cooldownDuration: settings.jwksCooldownMs,
          timeoutDuration: settings.timeoutMs,
        });
        known = { uri, keys };
      }
      failure = null;
      askAgainAtMs = nowMs() + settings.jwksCacheMs;
    } catch (error) {
      failure = new OidcUnavailableError(settings.issuer, messageOf(error), error);
      askAgainAtMs = nowMs() + DISCOVERY_RETRY_MS;
    }
  }

  return async () => {
    if (nowMs() >= askAgainAtMs) await (asking ??= discover().finally(() => (asking = null)));
    if (known !== null) return known.keys;
    throw failure ?? new OidcUnavailableError(settings.issuer, "not discovered yet", null);
  };
}

async function jwksUriOf({ issuer, timeoutMs }: OidcSettings): Promise<string> {
  const url = `${issuer.replace(/\/$/, "")}/.well-known/openid-configuration`;
  const response = await fetch(url, { redirect: "error", signal: AbortSignal.timeout(timeoutMs) });
  if (response.status !== 200) throw new Error(`${url} answered ${response.status}`);
  const text = await response.text();
  if (text.length > DISCOVERY_LIMIT_BYTES) throw new Error(`${url} answered too much`);
  const document = JSON.parse(text) as { readonly issuer?: unknown; readonly jwks_uri?: unknown };
  // Discovery 1.0, section 4.3: otherwise one issuer could speak for another.
  if (document.issuer !== issuer) {
    throw new Error(
      `${url} is of the issuer ${String(document.issuer)}: set auth.oidc.issuer to exactly that`,
    );
  }
  if (typeof document.jwks_uri !== "string" || !URL.canParse(document.jwks_uri))
    throw new Error(`${url} names no jwks_uri`);
  return document.jwks_uri;
}

function roleOf(payload: JWTPayload, settings: OidcSettings): Role {
  const value = claimOf(payload, settings.roleClaim);
  const values = (Array.isArray(value) ? value : [value]).filter((each) => typeof each === "string");
  const roles = values.flatMap((each) =>
    Object.hasOwn(settings.roleMapping, each) ? [settings.roleMapping[each] as Role] : [],
  );
  const [best] = roles.toSorted((a, b) => RANK[b] - RANK[a]);
  if (best !== undefined) return best;
  throw new NotAdmittedError(
    "forbidden",
    `The claim ${settings.roleClaim} of this JWT gives its subject no role: let the issuer put one of ${Object.keys(settings.roleMapping).join(", ")} into it, or add its value to auth.oidc.role_mapping.`,
  );
}

/** Without the claim nobody gets everything by accident; an empty text is how the issuer says "all tenants". */
function scopeOf(payload: JWTPayload, { scopeClaim }: OidcSettings): Selector | null {
  if (scopeClaim === null) return null;
  const value = claimOf(payload, scopeClaim);
  if (value === "") return null;
  if (typeof value === "string") {
    try {
      return parseSelector(value);
    } catch (error) {
      throw new NotAdmittedError(
        "forbidden",
        `The claim ${scopeClaim} of this JWT is not a selector: ${messageOf(error)}`,
        { cause: error },
      );
    }
  }
  throw new NotAdmittedError(
    "forbidden",
    `This JWT has no claim ${scopeClaim}: let the issuer put a label selector into it, or "" for all tenants.`,
  );
}

/** By its own name first: names that are URLs have dots in them. */
function claimOf(payload: JWTPayload, claim: string): unknown {
  if (Object.hasOwn(payload, claim)) return payload[claim];
  return claim
    .split(".")
    .reduce<unknown>(
      (value, key) => (isJsonObject(value) && Object.hasOwn(value, key) ? value[key] : undefined),
      payload,
    );
}
