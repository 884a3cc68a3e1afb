/** The part of the store that knows keys and the audit log. Secrets reach it as SHA-256 only. */
import type { Role } from "../domain/principal.ts";
import type { JsonObject } from "../domain/json.ts";

export interface TokenRecord {
  readonly id: string;
  readonly name: string;
  readonly role: Role;
  /** A selector; null for all tenants. */
  readonly scope: string | null;
  readonly createdBy: string;
  readonly createdAt: Date;
  readonly expiresAt: Date | null;
  /** To the minute. */
  readonly lastUsedAt: Date | null;
  /** Until then the secret before the last rotation is good; null without one. */
  readonly previousExpiresAt: Date | null;
}

/** A key that a secret was found to belong to. */
export interface FoundToken {
  readonly token: TokenRecord;
  /** By the database's clock, and of this secret; zero or less: has expired. Null: does not expire. */
  readonly expiresInMs: number | null;
}

export const AUDIT_OUTCOMES = ["allowed", "denied", "failed"] as const;
export type AuditOutcome = (typeof AUDIT_OUTCOMES)[number];

export interface AuditEntry {
  readonly at: Date;
  readonly actor: string;
  /** Null when nobody was recognised. */
  readonly role: Role | null;
  /** The operation's id in the OpenAPI document, or `tokenFirstUsed`. */
  readonly action: string;
  readonly outcome: AuditOutcome;
  readonly status: number;
  /** Of the problem that was answered. */
  readonly code: string | null;
  /** As the request named it: uuid or name. */
  readonly tenant: string | null;
  readonly requestId: string;
  readonly remoteAddress: string | null;
  readonly detail: JsonObject;
}

export interface AuditRecord extends AuditEntry {
  readonly id: number;
}

export interface AuditFilter {
  readonly actor: string | null;
  readonly action: string | null;
  readonly outcome: AuditOutcome | null;
  readonly tenant: string | null;
  /** Inclusive. */
  readonly since: Date | null;
  /** Exclusive. */
  readonly until: Date | null;
  /** Only entries with a lower id. */
  readonly beforeId: number | null;
  /** 1 to 1,000. */
  readonly limit: number;
}

export interface AccessStore {
  /** Null when the name is taken. */
  createToken(params: {
    readonly id: string;
    readonly name: string;
    readonly role: Role;
    readonly scope: string | null;
    readonly secretHash: Uint8Array;
    readonly createdBy: string;
    readonly expiresAt: Date | null;
  }): Promise<TokenRecord | null>;
  /** By name. */
  listTokens(params: {
    readonly afterName: string | null;
    readonly limit: number;
  }): Promise<readonly TokenRecord[]>;
  /** The key whose present secret this is, or whose secret before, as long as that one is good. */
  findToken(params: { readonly secretHash: Uint8Array }): Promise<FoundToken | null>;
  /** The present secret stays good for `graceMs`; one from an earlier rotation ends at once. Null: no such key. */
  rotateToken(params: {
    readonly id: string;
    readonly secretHash: Uint8Array;
    readonly graceMs: number;
  }): Promise<TokenRecord | null>;
  /** Null: no such key. */
  revokeToken(params: { readonly id: string }): Promise<TokenRecord | null>;
  /** Marks them as used now, unless they were within the minute. Answers those that never were before. */
  touchTokens(params: { readonly ids: readonly string[] }): Promise<readonly string[]>;
  /** In one statement; at most 1,000. */
  appendAudit(params: { readonly entries: readonly AuditEntry[] }): Promise<void>;
  /** Newest first. */
  listAudit(params: AuditFilter): Promise<readonly AuditRecord[]>;
  /** Deletes older entries, in bounded steps. Returns how many. */
  collectAudit(params: { readonly retentionMs: number }): Promise<number>;
}
