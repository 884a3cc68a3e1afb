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

export type PostgresStore = ServerStore & { readonly senderId: string };

/** A store whose parts can be put together before its database is there. */
export interface UnopenedPostgresStore {
  /** Nothing of it may be used before `open` has resolved. */
  readonly store: PostgresStore;
  /**
   * Connects, and checks or migrates the schema. May be called again when the database did not answer.
   *
   * @throws StoreUnavailableError when the database does not answer
   * @throws SchemaVersionError when the schema does not fit
   */
  readonly open: () => Promise<void>;
}

export function createPostgresStore(
  settings: PostgresStoreSettings,
  onIdleError: (error: Error) => void,
): UnopenedPostgresStore {
  const senderId = randomUUID();
  const pool = openPool(settings, onIdleError);
  const db = openKysely(pool);
  let instanceId: string | null = null;
  const store: PostgresStore = {
    ...createTenantStore(db),
    ...createEventStore(db),
    ...createWorkStore(db, senderId),
    ...createFleetStore(db),
    ...createTokenStore(db),
    ...createAuditStore(db),
    get instanceId() {
      if (instanceId === null) throw new LandlordError("store_not_open", "Open the store before it is used.");
      return instanceId;
    },
    senderId,
    close: () => closePool(pool),
  };
  return {
    store,
    async open() {
      await guarded(() => migrate(db, { apply: settings.autoMigrate }));
      const instance = await guarded(() => db.selectFrom("instance").select("id").executeTakeFirst());
      if (instance === undefined) {
        throw new LandlordError(
          "instance_missing",
          "The table `instance` is empty: restore the database from a backup.",
        );
      }
      instanceId = instance.id;
    },
  };
}

/** A store that is open; throws what `open` throws. */
export async function openPostgresStore(
  settings: PostgresStoreSettings,
  onIdleError: (error: Error) => void,
): Promise<PostgresStore> {
  const { store, open } = createPostgresStore(settings, onIdleError);
  try {
    await open();
    return store;
  } catch (error) {
    await store.close();
    throw error;
  }
}

async function closePool(pool: pg.Pool): Promise<void> {
  if (!pool.ended) await pool.end();
}
