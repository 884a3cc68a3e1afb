/** Brings a database to this binary's schema, once, however many replicas start together. */
import { Migrator, sql, type Kysely, type Migration } from "kysely";
import { LandlordError } from "../../domain/errors.ts";
import { SchemaVersionError } from "../store.ts";
import type { Database } from "./database.ts";
import { MIGRATIONS } from "./migrations/index.ts";

/** A binary runs on its own schema and on the next one: the second half of an expand/contract roll-out. */
const TOLERATED_SCHEMA_VERSIONS_AHEAD = 1;

export interface MigrationReport {
  /** Names of the migrations that this call applied. */
  readonly applied: readonly string[];
  readonly schemaVersion: number;
}

/** The version that a migration's name starts with; 0 for none. */
export function versionOf(name: string): number {
  return Number.parseInt(name, 10) || 0;
}

async function appliedMigrations(db: Kysely<Database>): Promise<readonly string[]> {
  const found = await sql<{ present: boolean }>`
    SELECT to_regclass('kysely_migration') IS NOT NULL AS present`.execute(db);
  if (found.rows[0]?.present !== true) return [];
  const rows = await sql<{ name: string }>`SELECT name FROM kysely_migration ORDER BY name`.execute(db);
  return rows.rows.map((row) => row.name);
}

/**
 * Checks the schema, and applies what is missing if `apply` is set.
 *
 * @throws SchemaVersionError when the schema is more than one version ahead of this binary, or behind it and
 * `apply` is not set
 */
export async function migrate(
  db: Kysely<Database>,
  options: { readonly apply: boolean; readonly migrations?: Readonly<Record<string, Migration>> },
): Promise<MigrationReport> {
  const migrations = options.migrations ?? MIGRATIONS;
  const own = Math.max(...Object.keys(migrations).map(versionOf));
  const applied = await appliedMigrations(db);
  const present = Math.max(0, ...applied.map(versionOf));
  if (present > own + TOLERATED_SCHEMA_VERSIONS_AHEAD) {
    throw new SchemaVersionError(
      "schema_too_new",
      `The database has schema version ${present}; this binary knows ${own} and runs on ${own + TOLERATED_SCHEMA_VERSIONS_AHEAD} at most. Deploy a newer version of Landlord.`,
    );
  }
  if (present > own || applied.length === Object.keys(migrations).length) {
    return { applied: [], schemaVersion: present };
  }
  if (!options.apply) {
    throw new SchemaVersionError(
      "schema_too_old",
      `The database has schema version ${present}; this binary needs ${own}. Run \`landlord migrate\`, or set database.auto_migrate to true.`,
    );
  }
  // Kysely's migrator takes an advisory lock: replicas that start together wait for the first.
  const migrator = new Migrator({
    db,
    provider: { getMigrations: () => Promise.resolve({ ...migrations }) },
  });
  const { error, results } = await migrator.migrateToLatest();
  if (error !== undefined) {
    // A newer binary may have migrated while this one waited for the lock.
    const now = Math.max(0, ...(await appliedMigrations(db)).map(versionOf));
    if (now > own) return migrate(db, { ...options, apply: false });
    const failed = results?.find((result) => result.status === "Error")?.migrationName ?? "unknown";
    throw new LandlordError("migration_failed", `Migration ${failed} failed and was rolled back.`, {
      cause: error,
    });
  }
  return {
    applied: (results ?? [])
      .filter((result) => result.status === "Success")
      .map((result) => result.migrationName),
    schemaVersion: own,
  };
}
