/** JSON Schema, as far as the OpenAPI document uses it, as fast-check arbitraries; and what no schema would say. */
import fc from "fast-check";

export interface Schema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly Schema[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: Schema | boolean;
  readonly propertyNames?: Schema;
  readonly items?: Schema;
  readonly pattern?: string;
  readonly format?: string;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
}

/** Longer texts are allowed, and tell nothing more. */
const TEXT_LIMIT = 40;
const ENTRIES_LIMIT = 5;

const storableText = (minLength: number, maxLength: number): fc.Arbitrary<string> =>
  fc
    .string({ unit: "grapheme", minLength, maxLength: Math.max(minLength, Math.min(maxLength, TEXT_LIMIT)) })
    // A grapheme may have several code units, and limits count those.
    .map((text) => text.replaceAll("\0", "0").slice(0, maxLength));

/** Values that the schema allows. @param resolve finds what a `$ref` names */
export function arbitraryOf(schema: Schema, resolve: (reference: string) => Schema): fc.Arbitrary<unknown> {
  const of = (inner: Schema): fc.Arbitrary<unknown> => arbitraryOf(inner, resolve);
  if (schema.$ref !== undefined) return of(resolve(schema.$ref));
  if (schema.enum !== undefined) return fc.constantFrom(...schema.enum);
  if (schema.anyOf !== undefined) return fc.oneof(...schema.anyOf.map(of));
  if (Array.isArray(schema.type)) return fc.oneof(...schema.type.map((type: string) => of({ type })));
  switch (schema.type) {
    case "string":
      return textOf(schema);
    case "integer":
      return fc.integer({ min: schema.minimum ?? -1_000, max: Math.min(schema.maximum ?? 1_000, 1_000) });
    case "number":
      return fc.double({ min: schema.minimum ?? -1e6, max: schema.maximum ?? 1e6, noNaN: true });
    case "boolean":
      return fc.boolean();
    case "null":
      return fc.constant(null);
    case "array":
      return fc.array(of(schema.items ?? {}), { maxLength: ENTRIES_LIMIT });
    case "object":
      return objectOf(schema, of);
    default:
      return fc.jsonValue({ maxDepth: 2 });
  }
}

function textOf({ format, pattern, minLength = 0, maxLength = TEXT_LIMIT }: Schema): fc.Arbitrary<string> {
  if (format === "uuid") return fc.uuid();
  if (format === "date-time")
    return fc
      .date({ min: new Date("2020-01-01"), max: new Date("2037-01-01"), noInvalidDate: true })
      .map((date) => date.toISOString());
  if (pattern !== undefined)
    return fc.stringMatching(new RegExp(pattern)).map((text) => text.slice(0, maxLength));
  return storableText(minLength, maxLength);
}

function objectOf(schema: Schema, of: (inner: Schema) => fc.Arbitrary<unknown>): fc.Arbitrary<unknown> {
  const { properties = {}, required = [], additionalProperties, propertyNames } = schema;
  const known = fc.record(
    Object.fromEntries(Object.entries(properties).map(([name, inner]) => [name, of(inner)])),
    { requiredKeys: [...required] },
  );
  if (typeof additionalProperties !== "object") return known;
  const key = propertyNames === undefined ? storableText(1, TEXT_LIMIT) : of(propertyNames);
  const more = fc.dictionary(key as fc.Arbitrary<string>, of(additionalProperties), {
    maxKeys: ENTRIES_LIMIT,
    noNullPrototype: true,
  });
  return fc.tuple(more, known).map(([extra, own]) => ({ ...extra, ...(own as object) }));
}

// "binary" draws UTF-16 code units: NUL and halves of surrogate pairs among them.
export const anyText = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.string(),
  fc.constantFrom(
    "\0",
    "\ud800",
    "__proto__",
    "constructor",
    "[redacted]",
    "..",
    "%",
    "%00",
    "'; DROP TABLE tenants; --",
    "a".repeat(300),
    "99999999999999999999",
    "-1",
    "1e400",
    "null",
    "{}",
  ),
);

export const anyValue = fc.anything({
  key: anyText,
  values: [
    anyText,
    fc.double(),
    fc.integer(),
    fc.boolean(),
    fc.constant(null),
    fc.constantFrom(1e308, -0, 2 ** 53 + 2),
  ],
  maxDepth: 4,
});
