/** Looks into Landlord's database from beside: what no answer of the API tells at once. */
import pg from "pg";

export interface Probe {
  /** Transactions that the database has seen; with one statement each, round trips that did something. */
  statements(): Promise<number>;
  /** Tenants that wait for something to be done or to end. */
  unsettled(): Promise<number>;
  close(): Promise<void>;
}

const POLL_MS = 40;

/** @param url of the database; its own looks are counted out */
export async function openProbe(url: string): Promise<Probe> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  let own = 0;
  const ask = async (text: string): Promise<number> => {
    own += 1;
    const { rows } = await client.query<{ value: string }>(text);
    return Number(rows[0]?.value ?? Number.NaN);
  };
  return {
    async statements() {
      // A session reports what it did at most once a second, unless it is told to.
      await ask("SELECT pg_stat_force_next_flush() AS value");
      const seen = await ask(
        "SELECT xact_commit + xact_rollback AS value FROM pg_stat_database WHERE datname = current_database()",
      );
      return seen - own;
    },
    unsettled: () => ask("SELECT count(*) AS value FROM tenant_work WHERE next_reconcile_at IS NOT NULL"),
    close: () => client.end(),
  };
}

export async function untilSettled(probe: Probe): Promise<void> {
  while ((await probe.unsettled()) > 0) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
}
