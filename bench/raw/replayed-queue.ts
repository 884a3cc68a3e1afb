/**
 * The raw limit of claims: the statements of a claim and of a release as they were heard, sent again over bare pg and prepared.
 * What it leaves out is everything that Landlord's own code does around them.
 */
import pg from "pg";

interface Statement {
  readonly text: string;
  readonly values: readonly unknown[];
}

interface ClaimedRow {
  readonly tenant_id: string;
  readonly lease_owner: string;
  readonly lease_token: string;
  readonly wake_seq: string;
  readonly tenant: { readonly revision: number };
}

export interface ReplayedQueue {
  /** Claims with the parameters that were heard, and gives back what it got. Answers how many. */
  claimAndRelease(): Promise<number>;
  close(): Promise<void>;
}

/** @param nextLookMs after which a tenant that is given back is looked at */
export async function openReplayedQueue(
  url: string,
  { claim, release }: { readonly claim: Statement; readonly release: Statement },
  nextLookMs: number,
): Promise<ReplayedQueue> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  return {
    async claimAndRelease() {
      const { rows } = await client.query<ClaimedRow>({
        name: "claim",
        text: claim.text,
        values: [...claim.values],
      });
      if (rows.length === 0) return 0;
      const values = [
        literal(rows.map((row) => row.tenant_id)),
        rows.map((row) => row.lease_owner),
        literal(rows.map((row) => row.lease_token)),
        literal(rows.map((row) => row.wake_seq)),
        literal(rows.map((row) => row.tenant.revision)),
        literal(rows.map(() => "NULL")),
        literal(rows.map(() => nextLookMs)),
        literal(rows.map(() => false)),
      ];
      const { rowCount } = await client.query({ name: "release", text: release.text, values });
      if (rowCount !== rows.length) throw new Error(`${rowCount} of ${rows.length} claims were released`);
      return rows.length;
    },
    close: () => client.end(),
  };
}

function literal(values: readonly (string | number | boolean)[]): string {
  return `{${values.join(",")}}`;
}
