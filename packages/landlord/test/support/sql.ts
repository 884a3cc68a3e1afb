/** Plain SQL for checks. */
import pg from "pg";

export type SqlRow = Readonly<Record<string, unknown>>;

export interface SqlClient {
  query<Row extends SqlRow = SqlRow>(text: string, values?: readonly unknown[]): Promise<readonly Row[]>;
  close(): Promise<void>;
}

/** A small pool. A connection that is lost is made anew by the next query. A bigint comes as text: cast it. */
export function openSql(url: string): SqlClient {
  const pool = new pg.Pool({
    connectionString: url,
    max: 2,
    connectionTimeoutMillis: 5_000,
    query_timeout: 30_000,
  });
  pool.on("error", () => undefined);
  return {
    query: async <Row extends SqlRow>(text: string, values: readonly unknown[] = []) =>
      (await pool.query<Row>(text, [...values])).rows,
    close: () => pool.end(),
  };
}
