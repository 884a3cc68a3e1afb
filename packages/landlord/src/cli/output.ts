/** How the command line prints: escaped, aligned, and the same facts in every format. */
import { Document, isScalar, visit } from "yaml";
import { isJsonObject } from "../domain/json.ts";
import { parseJsonPath, type JsonPath } from "./jsonpath.ts";

/** The part of a stream that is used; `process.stdout` and `process.stderr` are such. */
export interface Output {
  write(text: string): unknown;
  /** Width of the terminal; undefined when this is none. */
  readonly columns?: number | undefined;
}

const OUTPUT_FORMATS = ["table", "wide", "json", "yaml", "ndjson", "name"] as const;
export type OutputFormat = (typeof OUTPUT_FORMATS)[number] | JsonPath;
const JSON_PATH = "jsonpath=";

/** What `-o` takes. Throws Error with a sentence that says what it could be. */
export function parseOutputFormat(text: string): OutputFormat {
  const known = OUTPUT_FORMATS.find((format) => format === text);
  if (known !== undefined) return known;
  if (text.startsWith(JSON_PATH)) return parseJsonPath(text.slice(JSON_PATH.length));
  throw new Error(`use one of ${OUTPUT_FORMATS.join(", ")}, ${JSON_PATH}EXPR`);
}

// Control characters, line and paragraph separators, and the marks that reorder text: with them, a server's text
// could move the cursor, recolour what stands above, or fake a prompt.
// eslint-disable-next-line no-control-regex
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/g;

function unicodeEscape(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** Text that came from elsewhere, on one line and without power over the terminal. */
export function printable(text: string): string {
  return text.replace(UNSAFE, (character) => {
    if (character === "\n") return "\\n";
    if (character === "\t") return "\\t";
    const code = character.charCodeAt(0);
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : unicodeEscape(character);
  });
}

/** As JSON, two spaces deep; any parser reads the very same value back. */
export function toJson(value: unknown): string {
  // Line breaks of the layout stay; those inside strings are escaped already.
  return `${JSON.stringify(value, null, 2).replace(UNSAFE, (each) => (each === "\n" ? each : unicodeEscape(each)))}\n`;
}

/** As one line of NDJSON. */
export function toJsonLine(value: unknown): string {
  return `${JSON.stringify(value).replace(UNSAFE, unicodeEscape)}\n`;
}

/** The things in an answer: those of a list, of an object that holds one list, or the thing itself. */
export function itemsOf(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  if (!isJsonObject(value) || "name" in value) return [value];
  const lists = Object.values(value).filter(Array.isArray) as unknown[][];
  return lists.length === 1 ? (lists[0] ?? []) : [value];
}

/** The name of a thing, or what comes closest. */
export function nameOf(item: unknown): string {
  if (!isJsonObject(item)) return String(item);
  const name = item["name"] ?? item["tenant_name"] ?? item["id"] ?? item["generation"] ?? "";
  return typeof name === "string" ? name : JSON.stringify(name);
}

/** As YAML; any parser reads the very same value back. */
export function toYaml(value: unknown): string {
  const document = new Document(value);
  visit(document, {
    Scalar: (_, node) => {
      // Escapes exist in double quotes only; line breaks need none.
      const text = isScalar(node) && typeof node.value === "string" ? node.value.replaceAll("\n", "") : "";
      if (text.search(UNSAFE) >= 0) node.type = "QUOTE_DOUBLE";
    },
  });
  const text = document.toString({ lineWidth: 0, doubleQuotedMinMultiLineLength: Infinity });
  return text.replace(UNSAFE, (each) => (each === "\n" ? each : unicodeEscape(each)));
}

export interface TableOptions {
  /** Lines are cut to this many characters; no limit when undefined. */
  readonly width?: number | undefined;
  /** Wraps a finished cell, for example in colour. */
  readonly paint?: ((column: string, cell: string) => string) | undefined;
}

/** Aligned columns under their names. The last column gives way when the terminal is too narrow. */
export function toTable(
  columns: readonly string[],
  rows: readonly (readonly string[])[],
  options: TableOptions = {},
): string {
  const cells = rows.map((row) => row.map((cell) => printable(cell)));
  const widths = columns.map((column, index) =>
    Math.max(lengthOf(column), ...cells.map((row) => lengthOf(row[index] ?? ""))),
  );
  const line = (row: readonly string[], isHeading: boolean): string => {
    // Some terminals say 0 when they do not know.
    let left = options.width || Infinity;
    const parts: string[] = [];
    row.forEach((cell, index) => {
      const isLast = index === columns.length - 1;
      const padded = isLast ? cell : cell + " ".repeat((widths[index] ?? 0) - lengthOf(cell) + 2);
      const cut = truncate(padded, left);
      left -= lengthOf(cut);
      parts.push(isHeading ? cut : (options.paint?.(columns[index] ?? "", cut) ?? cut));
    });
    return parts.join("").trimEnd();
  };
  return `${[line(columns, true), ...cells.map((row) => line(row, false))].join("\n")}\n`;
}

function lengthOf(text: string): number {
  return [...text].length;
}

/** At most `width` characters, the last of them "…" when something was cut. */
export function truncate(text: string, width: number): string {
  if (lengthOf(text) <= width) return text;
  if (width <= 0) return "";
  return `${[...text].slice(0, width - 1).join("")}…`;
}

/** The time since then in its largest unit: "42s", "5m", "3h", "12d". */
export function ageOf(timestamp: string, now: number): string {
  const seconds = Math.max(0, Math.floor((now - Date.parse(timestamp)) / 1000));
  if (Number.isNaN(seconds)) return "-";
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`;
  return seconds < 172_800 ? `${Math.floor(seconds / 3600)}h` : `${Math.floor(seconds / 86_400)}d`;
}

const COLOURS = { red: 31, green: 32, yellow: 33, dim: 2 } as const;

/** ANSI colour, or the text as it is. */
export function paint(text: string, colour: keyof typeof COLOURS, enabled: boolean): string {
  return enabled ? `\u001b[${COLOURS[colour]}m${text}\u001b[0m` : text;
}
