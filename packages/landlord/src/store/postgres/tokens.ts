/** Keys of the API. */
import { sql, type Kysely } from "kysely";
import type { Role } from "../../domain/principal.ts";
import type { AccessStore, TokenRecord } from "../access-store.ts";
import { guarded, violatedConstraint, type Database } from "./database.ts";

interface TokenRow {
  id: string;
  name: string;
  role: Role;
  scope: string | null;
  created_by: string;
  created_at: Date;
  expires_at: Date | null;
  last_used_at: Date | null;
  previous_expires_at: Date | null;
}

type TokenStore = Pick<
  AccessStore,
  "createToken" | "listTokens" | "findToken" | "rotateToken" | "revokeToken" | "touchTokens"
>;

/** Seconds less than a minute: several servers that each touch once a minute still write about once. */
const TOUCH_EVERY = sql`interval '55 seconds'`;

const columns = sql`id, name, role, scope, created_by, created_at, expires_at, last_used_at,
  CASE WHEN previous_expires_at > now() THEN previous_expires_at END AS previous_expires_at`;

function toToken(row: TokenRow): TokenRecord {
  return {
    id: row.id,
    name: row.name,
    role: row.role,
    scope: row.scope,
    createdBy: row.created_by,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    lastUsedAt: row.last_used_at,
    previousExpiresAt: row.previous_expires_at,
  };
}

export function createTokenStore(db: Kysely<Database>): TokenStore {
  const one = async (query: ReturnType<typeof sql<TokenRow>>): Promise<TokenRecord | null> => {
    const [row] = (await query.execute(db)).rows;
    return row === undefined ? null : toToken(row);
  };
  return {
    createToken: (params) =>
      guarded(async () => {
        try {
          return await one(sql<TokenRow>`
            INSERT INTO tokens (id, name, role, scope, secret_hash, created_by, expires_at)
            VALUES (${params.id}, ${params.name}, ${params.role}, ${params.scope},
              ${Buffer.from(params.secretHash)}, ${params.createdBy}, ${params.expiresAt})
            RETURNING ${columns}`);
        } catch (error) {
          if (violatedConstraint(error) === "tokens_name_key") return null;
          throw error;
        }
      }),
    listTokens: ({ afterName, limit }) =>
      guarded(async () => {
        const result = await sql<TokenRow>`
          SELECT ${columns} FROM tokens WHERE name > ${afterName ?? ""} ORDER BY name LIMIT ${limit}`.execute(
          db,
        );
        return result.rows.map(toToken);
      }),
    findToken: ({ secretHash }) =>
      guarded(async () => {
        const hash = Buffer.from(secretHash);
        const result = await sql<TokenRow & { expires_in_ms: number | null }>`
          SELECT ${columns}, (extract(epoch FROM CASE WHEN secret_hash = ${hash} THEN expires_at
            ELSE least(expires_at, previous_expires_at) END - now()) * 1000)::float8 AS expires_in_ms
          FROM tokens WHERE secret_hash = ${hash} OR previous_secret_hash = ${hash}`.execute(db);
        const [row] = result.rows;
        return row === undefined ? null : { token: toToken(row), expiresInMs: row.expires_in_ms };
      }),
    rotateToken: ({ id, secretHash, graceMs }) =>
      guarded(() =>
        one(sql<TokenRow>`
          UPDATE tokens SET previous_secret_hash = secret_hash,
            previous_expires_at = now() + ${graceMs} * interval '1 millisecond',
            secret_hash = ${Buffer.from(secretHash)}
          WHERE id = ${id} RETURNING ${columns}`),
      ),
    revokeToken: ({ id }) =>
      guarded(() => one(sql<TokenRow>`DELETE FROM tokens WHERE id = ${id} RETURNING ${columns}`)),
    touchTokens: ({ ids }) =>
      guarded(async () => {
        const result = await sql<{ id: string; first: boolean }>`
          UPDATE tokens t SET last_used_at = now()
          FROM (SELECT id, last_used_at FROM tokens WHERE id = ANY(${[...ids]}::uuid[]) ORDER BY id FOR UPDATE) before
          WHERE t.id = before.id
            AND (before.last_used_at IS NULL OR before.last_used_at < now() - ${TOUCH_EVERY})
          RETURNING t.id, before.last_used_at IS NULL AS first`.execute(db);
        return result.rows.filter(({ first }) => first).map(({ id }) => id);
      }),
  };
}
