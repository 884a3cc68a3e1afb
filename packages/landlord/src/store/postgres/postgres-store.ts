/** Opens the store on a PostgreSQL database. */
import { randomUUID } from "node:crypto";
import type pg from "pg";
import type { ServerStore } from "../store.ts";
import { createAuditStore } from "./audit.ts";
import { guarded, openKysely, openPool, type ConnectionSettings } from "./database.ts";
import { migrate } from "./migrate.ts";
import { createEventStore } from "./events.ts";
import { createFleetStore } from "./fleet.ts";
import { createTenantStore } from "./tenant-store.ts";
import { createTokenStore } from "./tokens.ts";
import { createWorkStore } from "./work-store.ts";
import { LandlordError } from "../../domain/errors.ts";

export interface PostgresStoreSettings extends ConnectionSettings {
  /** Apply missing migrations; otherwise refuse to start on an old schema. */
  readonly autoMigrate: boolean;
}

/**
 * Connects, checks or migrates the schema, and returns the store.
 *
 * @throws StoreUnavailableError when the database does not answer
 * @throws SchemaVersionError when the schema does not fit
 */
export async function openPostgresStore(
  settings: PostgresStoreSettings,
  onIdleError: (error: Error) => void,
): Promise<ServerStore & { readonly senderId: string }> {
  const senderId = randomUUID();
  const pool = openPool(settings, onIdleError);
  const db = openKysely(pool);
  try {
    await guarded(() => migrate(db, { apply: settings.autoMigrate }));
    const instance = await guarded(() => db.selectFrom("instance").select("id").executeTakeFirst());
    if (instance === undefined) {
      throw new LandlordError(
        "instance_missing",
        "The table `instance` is empty: restore the database from a backup.",
      );
    }
    return {
      ...createTenantStore(db),
      ...createEventStore(db),
      ...createWorkStore(db, instance.id, senderId),
      ...createFleetStore(db),
      ...createTokenStore(db),
      ...createAuditStore(db),
      senderId,
      close: () => closePool(pool),
    };
  } catch (error) {
    await closePool(pool);
    throw error;
  }
}

async function closePool(pool: pg.Pool): Promise<void> {
  if (!pool.ended) await pool.end();
}
