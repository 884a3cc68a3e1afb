/** Reads transitions by position. The sequencer's commits are in order, so what is visible has no hole that fills later. */
import type { Kysely } from "kysely";
import type { EventStore } from "../event-store.ts";
import { guarded, type Database } from "./database.ts";
import { toSequenced } from "./rows.ts";

export function createEventStore(db: Kysely<Database>): EventStore {
  return {
    listEvents: ({ from, limit }) =>
      guarded(async () => {
        // A row without a position compares as null, which is not true.
        const rows = await db
          .selectFrom("transitions")
          .selectAll()
          .where("position", ">=", from)
          .orderBy("position")
          .limit(limit)
          .execute();
        return rows.map(toSequenced);
      }),
    newestEvent: () =>
      guarded(async () => {
        const row = await db
          .selectFrom("transitions")
          .selectAll()
          .where("position", "is not", null)
          .orderBy("position", "desc")
          .limit(1)
          .executeTakeFirst();
        return row === undefined ? null : toSequenced(row);
      }),
  };
}
