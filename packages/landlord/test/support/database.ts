/** A database of its own for each test that asks. */
import pg from "pg";
import { inject } from "vitest";
import { randomUUID } from "node:crypto";

export interface TestDatabase {
  readonly url: string;
  query(text: string, values?: readonly unknown[]): Promise<readonly Record<string, unknown>[]>;
  drop(): Promise<void>;
}

/** Creates an empty database at the shared server. */
export async function createTestDatabase(): Promise<TestDatabase> {
  const name = `t_${randomUUID().replaceAll("-", "")}`;
  const adminUrl = inject("postgresUrl");
  await once(adminUrl, `CREATE DATABASE ${name}`);
  const url = new URL(adminUrl);
  url.pathname = `/${name}`;
  const pool = new pg.Pool({ connectionString: url.toString(), max: 2 });
  pool.on("error", () => undefined);
  return {
    url: url.toString(),
    async query(text, values = []) {
      return (await pool.query<Record<string, unknown>>(text, [...values])).rows;
    },
    async drop() {
      await pool.end();
      await once(adminUrl, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`);
    },
  };
}

async function once(url: string, text: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(text);
  } finally {
    await client.end();
  }
}
