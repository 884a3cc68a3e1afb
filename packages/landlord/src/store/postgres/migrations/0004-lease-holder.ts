import { sql, type Kysely, type Migration } from "kysely";

/**
 * Who holds a lease, in a column that is in no index: `lease_owner` is in the predicate of `tenant_work_busy`, so that a claim
 * which wrote it would write to every index of its row. The column is added without a look at any row.
 *
 * The release before runs on it. It goes on with `lease_owner`, which this one leaves null; tokens keep the two apart. What
 * this one has claimed and not yet begun is not counted there: it starts that much too much.
 */
export const leaseHolder: Migration = {
  async up(db: Kysely<never>): Promise<void> {
    await sql.raw(`ALTER TABLE tenant_work ADD COLUMN lease_holder text`).execute(db);
  },
};
