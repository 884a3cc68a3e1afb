/** The rows of an import: a CSV file and a template make tenants, all of them checked before one is sent. */
import { parse as parseYaml } from "yaml";
import { messageOf } from "../domain/errors.ts";
import { canonicalJson, isJsonObject, type Json } from "../domain/json.ts";
import { createHash } from "node:crypto";
import { parseCsv, type CsvRow } from "./csv.ts";
import { isDocument, readTenant, type TenantDocument } from "./documents.ts";

export interface ImportRow {
  /** From 1, the head not counted. */
  readonly row: number;
  readonly document: TenantDocument;
  /** Of all that is sent: another template or cell makes it another row. */
  readonly hash: string;
}

const PLACEHOLDER = /\$\{([^}]*)\}/g;
/** The whole text is one cell, taken as JSON. */
const JSON_PLACEHOLDER = /^\$\{([^}]*):json\}$/;

/** The tenants of all rows, or every problem. */
export function readRows(
  csv: { readonly file: string; readonly text: string },
  template: { readonly file: string; readonly text: string },
): { readonly rows: readonly ImportRow[]; readonly problems: readonly string[] } {
  let table: readonly CsvRow[];
  let shape: Json;
  try {
    table = parseCsv(csv.text);
  } catch (error) {
    return { rows: [], problems: [`${csv.file}: ${messageOf(error)}`] };
  }
  try {
    shape = parseYaml(template.text) as Json;
  } catch (error) {
    return { rows: [], problems: [`${template.file}: ${messageOf(error).split("\n")[0]}`] };
  }
  const [head, ...body] = table;
  if (head === undefined)
    return { rows: [], problems: [`${csv.file}: it is empty; the first line names columns`] };
  const problems = [...headProblems(head, csv.file), ...templateProblems(shape, head, template.file)];
  if (body.length === 0) problems.push(`${csv.file}: there is no row beneath the names of columns`);
  if (problems.length > 0) return { rows: [], problems };
  const rows = body.flatMap((each, index) => {
    const source = `${csv.file}:${each.line}`;
    if (each.cells.length !== head.cells.length) {
      problems.push(
        `${source}: ${each.cells.length} cells, where the head names ${head.cells.length} columns`,
      );
      return [];
    }
    const values = new Map(head.cells.map((column, position) => [column, each.cells[position] ?? ""]));
    let found: TenantDocument | string[];
    try {
      found = readTenant(filled(shape, values), source);
    } catch (error) {
      found = [`${source}: ${messageOf(error)}`];
    }
    if (!isDocument(found)) {
      problems.push(...found);
      return [];
    }
    return [{ row: index + 1, document: found, hash: hashOf(found) }];
  });
  problems.push(...duplicates(rows));
  return { rows, problems };
}

function headProblems({ cells }: CsvRow, file: string): string[] {
  const twice = cells.filter((cell, index) => cells.indexOf(cell) !== index);
  return [
    ...(cells.includes("") ? [`${file}: a column has no name`] : []),
    ...new Set(twice.map((cell) => `${file}: two columns are named ${JSON.stringify(cell)}`)),
  ];
}

function templateProblems(shape: Json, { cells }: CsvRow, file: string): string[] {
  if (!isJsonObject(shape))
    return [`${file}: must be an object like {name: "\${name}", compute_config: {…}}`];
  const used = new Set<string>();
  visitTexts(shape, (text) => {
    const whole = JSON_PLACEHOLDER.exec(text)?.[1];
    if (whole !== undefined) used.add(whole);
    else for (const [, column = ""] of text.matchAll(PLACEHOLDER)) used.add(column);
  });
  const known = cells.join(", ");
  return [...used]
    .filter((column) => !cells.includes(column))
    .map((column) => `${file}: there is no column "${column}"; there are: ${known}`);
}

function visitTexts(value: Json, visit: (text: string) => void): void {
  if (typeof value === "string") visit(value);
  else if (Array.isArray(value)) for (const item of value as readonly Json[]) visitTexts(item, visit);
  else if (isJsonObject(value))
    for (const [key, item] of Object.entries(value)) {
      visit(key);
      visitTexts(item, visit);
    }
}

/**
 * The template with a row's cells in it. Cells go into texts only, after the template was parsed: none of them can add
 * structure. `${column}` as a whole text stays text; `${column:json}` takes the cell as JSON: a number, true, a list.
 */
function filled(value: Json, cells: ReadonlyMap<string, string>): Json {
  if (typeof value === "string") {
    const whole = JSON_PLACEHOLDER.exec(value)?.[1];
    if (whole !== undefined) return cellAsJson(whole, cells.get(whole) ?? "");
    return value.replaceAll(PLACEHOLDER, (_, column: string) => cells.get(column) ?? "");
  }
  if (Array.isArray(value)) return (value as readonly Json[]).map((item) => filled(item, cells));
  if (!isJsonObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [filled(key, cells) as string, filled(item, cells)]),
  );
}

function cellAsJson(column: string, cell: string): Json {
  try {
    return JSON.parse(cell) as Json;
  } catch (error) {
    throw new Error(`column ${column}: ${JSON.stringify(cell)} is no JSON`, { cause: error });
  }
}

function duplicates(rows: readonly ImportRow[]): string[] {
  const sources = new Map<string, string>();
  return rows.flatMap(({ document: { name, source } }) => {
    const before = sources.get(name);
    sources.set(name, source);
    return before === undefined ? [] : [`${source}: tenant ${name} is in ${before} already`];
  });
}

function hashOf({ name, body }: TenantDocument): string {
  const text = canonicalJson({ name, ...(body as unknown as Readonly<Record<string, Json>>) });
  return createHash("sha256").update(text).digest("hex");
}
