import type { Config } from "../config/schema.ts";
import { guarded, openKysely, openPool } from "../store/postgres/database.ts";
import { migrate, type MigrationReport } from "../store/postgres/migrate.ts";
import { databaseUrl } from "./database-url.ts";

const MIGRATION_TIMEOUT_MS = 10 * 60_000;

/** Applies what is missing, and returns. Safe beside running servers and other migrations. */
export async function migrateDatabase(config: Config): Promise<MigrationReport> {
  const pool = openPool(
    {
      url: databaseUrl(config.database),
      maxConnections: 2,
      connectTimeoutMs: config.database.connect_timeout,
      statementTimeoutMs: MIGRATION_TIMEOUT_MS,
      applicationName: "landlord-migrate",
    },
    () => undefined,
  );
  try {
    return await guarded(() => migrate(openKysely(pool), { apply: true }));
  } finally {
    await pool.end();
  }
}
