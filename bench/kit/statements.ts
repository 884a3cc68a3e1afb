/** What a piece of work asks of PostgreSQL, in the words in which it asks. */
import pg from "pg";

export interface Statement {
  readonly text: string;
  readonly values: readonly unknown[];
}

/** The statements that are sent by this process while `work` runs. */
export async function statementsOf(work: () => Promise<unknown>): Promise<readonly Statement[]> {
  const seen: Statement[] = [];
  const driver = pg.Client.prototype as { query: (...args: unknown[]) => unknown };
  const { query } = driver;
  driver.query = function listening(this: unknown, ...args: unknown[]): unknown {
    const [asked, values] = args;
    if (typeof asked === "string") seen.push({ text: asked, values: Array.isArray(values) ? values : [] });
    else if (typeof asked === "object" && asked !== null && "text" in asked)
      seen.push({ text: String(asked.text), values: "values" in asked ? (asked.values as unknown[]) : [] });
    return query.apply(this, args);
  };
  try {
    await work();
  } finally {
    driver.query = query;
  }
  return seen;
}
