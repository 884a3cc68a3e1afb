/**
 * Queries of prepared statements. PostgreSQL describes the columns at every execution, and the driver makes anew what turns
 * a row into an object, which takes longer than the rows of most statements. Here that is kept while the columns stay.
 */
import pg from "pg";

/** What the driver tells of a column. */
interface Field {
  readonly name: string;
  readonly dataTypeID: number;
}

type Parser = (text: string) => unknown;

/** How a row becomes an object. */
interface RowShape {
  readonly fields: readonly Field[];
  readonly parsers: readonly Parser[];
  /** Every column null: to copy it is much faster than to add columns one after the other. */
  readonly blank: Readonly<Record<string, unknown>>;
}

/** By the names of the statements. */
export type RowShapes = Map<string, RowShape>;

export interface Statement {
  readonly name: string;
  readonly text: string;
  readonly values: readonly unknown[];
}

export interface StatementResult {
  /** `SELECT`, `INSERT`, … */
  readonly command: string;
  readonly rowCount: number;
  readonly rows: readonly unknown[];
}

type Settle = (error: Error | null, result?: StatementResult) => void;

/** The driver's own query, which sends the messages; its types do not tell what it is made of (pg 8, `lib/query.js`). */
const DriverQuery = pg.Query as unknown as new (
  text: string,
  values: readonly unknown[],
) => pg.Submittable & {
  name: string;
  callback: Settle;
};

export class NamedQuery extends DriverQuery {
  private shape: RowShape | null = null;
  private readonly found: unknown[] = [];
  private completion = "";
  private failure: Error | null = null;
  private readonly shapes: RowShapes;
  private readonly parserOf: (oid: number) => Parser;

  /** @param settle called once: when the connection is free again, or the query failed */
  constructor(statement: Statement, shapes: RowShapes, parserOf: (oid: number) => Parser, settle: Settle) {
    super(statement.text, statement.values);
    this.name = statement.name;
    this.callback = settle;
    this.shapes = shapes;
    this.parserOf = parserOf;
  }

  handleRowDescription({ fields }: { readonly fields: readonly Field[] }): void {
    const known = this.shapes.get(this.name);
    if (known !== undefined && areSame(known.fields, fields)) {
      this.shape = known;
      return;
    }
    this.shape = {
      fields,
      parsers: fields.map(({ dataTypeID }) => this.parserOf(dataTypeID)),
      blank: Object.fromEntries(fields.map(({ name }) => [name, null])),
    };
    this.shapes.set(this.name, this.shape);
  }

  handleDataRow({ fields: values }: { readonly fields: readonly (string | null)[] }): void {
    if (this.failure !== null || this.shape === null) return;
    const { fields, parsers, blank } = this.shape;
    try {
      const row = { ...blank };
      for (let index = 0; index < fields.length; index++) {
        const text = values[index] as string | null;
        if (text !== null) row[(fields[index] as Field).name] = (parsers[index] as Parser)(text);
      }
      this.found.push(row);
    } catch (error) {
      // Told when the server has ended its answer.
      this.failure = error instanceof Error ? error : new Error("a value cannot be read", { cause: error });
    }
  }

  /** @param message for example `INSERT 0 3`, `SELECT 3`, `BEGIN` */
  handleCommandComplete({ text }: { readonly text: string }): void {
    this.completion = text;
  }

  handleReadyForQuery(): void {
    if (this.failure !== null) return this.callback(this.failure);
    const words = this.completion.split(" ");
    this.callback(null, {
      command: words[0] ?? "",
      rowCount: Number(words.at(-1)),
      rows: this.found,
    });
  }
}

function areSame(known: readonly Field[], fields: readonly Field[]): boolean {
  if (known.length !== fields.length) return false;
  for (let index = 0; index < known.length; index++) {
    const one = known[index] as Field;
    const other = fields[index] as Field;
    if (one.name !== other.name || one.dataTypeID !== other.dataTypeID) return false;
  }
  return true;
}
