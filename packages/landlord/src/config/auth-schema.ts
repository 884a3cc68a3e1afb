/** The section `auth`: who may use the API. */
import { z } from "zod";
import { ROLES } from "../domain/principal.ts";
import { ANY_SPAN, duration, HOUR, MINUTE, SECOND } from "./duration-schema.ts";

const oidcSection = z.strictObject({
  issuer: z
    .url({ protocol: /^https?$/, error: "must be a URL that starts with https:// or http://" })
    .describe("Issuer of the JWTs, exactly as it names itself; its keys are found by discovery."),
  audience: z.string().min(1).describe("What the claim aud of a JWT must hold."),
  role_claim: z
    .string()
    .min(1)
    .default("roles")
    .describe("Claim that holds the role: its name, or a path like realm_access.roles."),
  role_mapping: z
    .record(z.string(), z.enum(ROLES))
    .refine((mapping) => Object.keys(mapping).length > 0, { error: "must map at least one value" })
    .describe("Value of the claim to role (viewer, operator, admin, worker). Without a match: 403."),
  scope_claim: z
    .string()
    .min(1)
    .optional()
    .describe(
      'Claim that holds a label selector, to which its bearer is bound; "" there for all tenants. With this key a JWT without the claim is refused.',
    ),
  clock_skew: duration({ minMs: 0, maxMs: 10 * MINUTE })
    .default(30 * SECOND)
    .describe("How far the clocks of issuer and server may be apart."),
  jwks_cache: duration({ minMs: SECOND })
    .default(10 * MINUTE)
    .describe("How long the issuer's keys are used before they are fetched again."),
  jwks_cooldown: duration({ minMs: 0 })
    .default(10 * SECOND)
    .describe("A key id that is not known makes them be fetched at most this often."),
  timeout: duration()
    .default(5 * SECOND)
    .describe("Longest time that one request to the issuer may take."),
});

export const authSection = z.strictObject({
  enabled: z
    .boolean()
    .default(false)
    .describe(
      "Ask for credentials. Without it the API listens on loopback only, and everybody may do everything.",
    ),
  admin_token: z
    .string()
    .min(16, { error: "must have at least 16 characters" })
    .regex(/^[A-Za-z0-9._~+/-]+=*$/, { error: "may hold letters, digits and ._~+/- (RFC 6750)" })
    .optional()
    .describe("A token with the role admin, to make the first keys with. Secret."),
  audit_retention: duration(ANY_SPAN)
    .default(9_600 * HOUR)
    .describe("How long entries of the audit log are kept."),
  oidc: oidcSection
    .optional()
    .describe("JWTs of an OpenID Connect issuer. A block that is present enables them."),
});

/** TLS of the API. */
export const tlsSection = z.strictObject({
  cert_file: z
    .string()
    .min(1)
    .describe("PEM file with the server's certificate, and those between it and its root."),
  key_file: z.string().min(1).describe("PEM file with its private key."),
  client_ca_file: z
    .string()
    .min(1)
    .optional()
    .describe("PEM file with roots; with it, clients must show a certificate that one of them signed."),
});

export const rateLimitSection = z.strictObject({
  requests_per_second: z
    .number()
    .min(0.1)
    .max(1_000_000)
    .optional()
    .describe("Of each actor at each server. Without it: 200 with auth.enabled, else no limit."),
  burst: z
    .int()
    .min(1)
    .max(1_000_000)
    .optional()
    .describe("Requests that may come at once. Without it: twice requests_per_second."),
});
