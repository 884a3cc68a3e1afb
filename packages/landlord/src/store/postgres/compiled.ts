/** Statements whose text is always the same: it is put together once, because for large ones that takes longer than to send them. */
import { CompiledQuery, sql, type Kysely, type QueryResult, type RawBuilder } from "kysely";
import type { Database } from "./database.ts";

/** Stands in the text for what a call brings. */
export type Value<Params> = (read: (params: Params) => unknown) => RawBuilder<unknown>;

/** Runs a statement with the values of one call. */
export type Statement<Params, Row> = (db: Kysely<Database>, params: Params) => Promise<QueryResult<Row>>;

/** Not a plain object: values that never change may stand beside it. */
class Parameter<Params> {
  readonly read: (params: Params) => unknown;

  constructor(read: (params: Params) => unknown) {
    this.read = read;
  }
}

/** @param build called once; whatever differs from call to call goes through `value` */
export function compiledOnce<Params, Row>(
  build: (value: Value<Params>) => RawBuilder<Row>,
): Statement<Params, Row> {
  let compiled: CompiledQuery<Row> | null = null;
  return (db, params) => {
    compiled ??= build((read) => sql.val(new Parameter(read))).compile(db);
    const values = compiled.parameters.map((parameter) =>
      parameter instanceof Parameter ? (parameter as Parameter<Params>).read(params) : parameter,
    );
    return db.executeQuery<Row>(CompiledQuery.raw(compiled.sql, values));
  };
}
