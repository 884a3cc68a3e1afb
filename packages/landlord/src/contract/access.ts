/** Wire shapes of access: keys, the caller's own identity, the audit log. */
import { z } from "zod";
import { ROLES } from "../domain/principal.ts";
import { timestamp } from "./json.ts";
import { pageQuerySchema, selectorSchema } from "./tenant.ts";

const ROTATION_GRACE_DEFAULT_SECONDS = 3_600;
const ROTATION_GRACE_LIMIT_SECONDS = 30 * 24 * 3_600;

/** Names that history and audit log use for those who have no key. */
const RESERVED_NAMES = ["anonymous", "reconciler", "admin-token", "unknown"];

const role = z.enum(ROLES).meta({
  description:
    "`viewer` reads; `operator` also writes tenants; `admin` may do everything; `worker` only what a worker needs.",
});

export const createTokenSchema = z
  .strictObject({
    name: z
      .string()
      .regex(
        /^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}$/,
        "must be 1 to 100 of A-Z a-z 0-9 . _ @ -, the first a letter or digit",
      )
      .refine((name) => !RESERVED_NAMES.includes(name), { error: "is reserved" })
      .meta({ description: "Who history and audit log say it was. Unique." }),
    role,
    scope: z
      .string()
      .refine((text) => selectorSchema.safeParse(text).success, { error: "is not a label selector" })
      .refine((text) => text.trim() !== "", { error: "must not be empty; leave it out for all tenants" })
      .optional()
      .meta({
        description:
          "A label selector: tenants outside of it do not exist for this key. Without it: all tenants.",
        example: "team=payments",
      }),
    expires_at: z.iso
      .datetime({ offset: true })
      .optional()
      .meta({ description: "In the future. Without it: it does not expire." }),
  })
  .refine(({ role: given, scope }) => given !== "worker" || scope === undefined, {
    path: ["scope"],
    error: "cannot be given to a worker: it works for all tenants",
  })
  .meta({ id: "CreateToken" });

export const tokenSchema = z
  .object({
    id: z.uuid(),
    name: z.string(),
    role,
    scope: z.string().nullable(),
    created_by: z.string(),
    created_at: timestamp,
    expires_at: timestamp.nullable(),
    last_used_at: timestamp.nullable().meta({ description: "To the minute." }),
    previous_secret_expires_at: timestamp
      .nullable()
      .meta({ description: "After a rotation: until then the secret before is good too." }),
  })
  .meta({ id: "Token", description: "A key of the API, without its secret" });
export type TokenBody = z.infer<typeof tokenSchema>;

export const newTokenSchema = tokenSchema
  .extend({ secret: z.string().meta({ description: "Shown this once; nobody can read it again." }) })
  .meta({ id: "NewToken" });

const pageToken = z
  .string()
  .max(1_024)
  .optional()
  .meta({ description: "The next_page_token of the page before, with the same filters." });
const nextPageToken = z
  .string()
  .nullable()
  .meta({ description: "Send it as page_token to get what follows; null: this is the end." });

export const listTokensQuerySchema = pageQuerySchema.omit({ offset: true }).extend({ page_token: pageToken });

export const tokenListSchema = z
  .object({ tokens: z.array(tokenSchema).meta({ description: "By name." }), next_page_token: nextPageToken })
  .meta({ id: "TokenList" });

export const tokenParamsSchema = z.object({ token_id: z.uuid() });

export const rotateTokenQuerySchema = z.strictObject({
  grace_seconds: z
    .string()
    .regex(/^\d{1,9}$/, "must be a whole number")
    .transform(Number)
    .pipe(z.int().max(ROTATION_GRACE_LIMIT_SECONDS))
    .default(ROTATION_GRACE_DEFAULT_SECONDS)
    .meta({ description: "How long the present secret stays good; 0 ends it at once." }),
});

export const identitySchema = z
  .object({
    name: z.string(),
    role,
    scope: z.string().nullable().meta({ description: "Label selector; null for all tenants" }),
    authenticated_by: z.enum(["none", "key", "admin_token", "oidc"]),
    expires_at: timestamp.nullable(),
  })
  .meta({ id: "Identity", description: "Who makes this request" });

const auditOutcome = z.enum(["allowed", "denied", "failed"]);

export const auditEntrySchema = z
  .object({
    id: z.int(),
    at: timestamp,
    actor: z.string(),
    role: role.nullable(),
    action: z.string().meta({ description: "The operation's id in this document, or `tokenFirstUsed`" }),
    outcome: auditOutcome,
    status: z.int(),
    code: z.string().nullable().meta({ description: "Of the problem that was answered" }),
    tenant: z.string().nullable().meta({ description: "As the request named it: UUID or name" }),
    request_id: z.string(),
    remote_address: z.string().nullable(),
    detail: z.record(z.string(), z.unknown()),
  })
  .meta({ id: "AuditEntry" });

export const auditListSchema = z
  .object({
    entries: z.array(auditEntrySchema).meta({ description: "Newest first." }),
    next_page_token: nextPageToken,
  })
  .meta({ id: "AuditList" });

const time = z.iso.datetime({ offset: true }).transform((text) => new Date(text));

export const auditQuerySchema = pageQuerySchema.omit({ offset: true }).extend({
  actor: z.string().max(256).optional(),
  action: z.string().max(100).optional(),
  outcome: auditOutcome.optional(),
  tenant: z.string().max(255).optional().meta({ description: "As the requests named it: UUID or name" }),
  since: time.optional().meta({ description: "RFC 3339; inclusive" }),
  until: time.optional().meta({ description: "RFC 3339; exclusive" }),
  page_token: pageToken,
});
export type AuditQuery = z.infer<typeof auditQuerySchema>;
