/**
 * The part of kubectl's JSONPath that people use: `.a.b`, `[0]`, `[-1]`, `[*]`, `.*`, `['key']`, `\.` within a key, and
 * templates of `{path}`, `{"text"}` and plain text. A path that leads nowhere gives nothing.
 */
import { isJsonObject } from "../domain/json.ts";

type Step = { readonly key: string } | { readonly index: number } | "all";
type Part = { readonly text: string } | { readonly path: readonly Step[] };

export interface JsonPath {
  /** The values as text, with a space between those of one path. */
  read(value: unknown): string;
}

const TEMPLATE_LIMIT_CHARACTERS = 1_024;
const VALUES_LIMIT = 100_000;
const STEP =
  /\.\*|\.((?:[^.[\]\\{}\s'"]|\\.)+)|\[\*\]|\[(-?\d{1,9})\]|\['((?:[^'\\]|\\.)*)'\]|\["((?:[^"\\]|\\.)*)"\]/y;

/** Throws Error with a sentence that names what is wrong. */
export function parseJsonPath(template: string): JsonPath {
  if (template.length > TEMPLATE_LIMIT_CHARACTERS)
    throw new Error(`the path is longer than ${TEMPLATE_LIMIT_CHARACTERS} characters`);
  const parts = template.includes("{") ? parseTemplate(template) : [{ path: parsePath(template.trim()) }];
  return { read: (value) => parts.map((part) => readPart(part, value)).join("") };
}

function parseTemplate(template: string): Part[] {
  const parts: Part[] = [];
  for (let rest = template; rest !== "";) {
    const [, text = "", expression, after = ""] =
      /^([^{}]*)(?:\{((?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^{}"'])*)\}([^]*))?$/.exec(rest) ?? [];
    if (text === "" && expression === undefined) throw new Error(`"${rest}" has braces without a partner`);
    if (text !== "") parts.push({ text });
    if (expression !== undefined) parts.push(parseExpression(expression.trim()));
    rest = after;
  }
  return parts;
}

function parseExpression(expression: string): Part {
  const quoted = /^(["'])([^]*)\1$/.exec(expression);
  if (quoted === null) return { path: parsePath(expression) };
  const escapes: Readonly<Record<string, string>> = { n: "\n", t: "\t" };
  return {
    text: (quoted[2] ?? "").replace(/\\(.)/g, (_, character: string) => escapes[character] ?? character),
  };
}

function parsePath(text: string): Step[] {
  const path = text.replace(/^\$/, "");
  const start = /^[^.[]/.test(path) ? `.${path}` : path;
  if (start === "" || start === ".") return [];
  const steps: Step[] = [];
  STEP.lastIndex = 0;
  while (STEP.lastIndex < start.length) {
    const from = STEP.lastIndex;
    const match = STEP.exec(start);
    if (match === null)
      throw new Error(`"${start.slice(from)}" is none of .key, ['key'], [0], [*]; filters are not supported`);
    const key = match[1] ?? match[3] ?? match[4];
    if (key !== undefined) steps.push({ key: key.replace(/\\(.)/g, "$1") });
    else steps.push(match[2] === undefined ? "all" : { index: Number(match[2]) });
  }
  return steps;
}

function readPart(part: Part, value: unknown): string {
  if ("text" in part) return part.text;
  const found = part.path.reduce<readonly unknown[]>(
    (values, step) => values.flatMap((each) => take(each, step)).slice(0, VALUES_LIMIT),
    [value],
  );
  return found.map((each) => (typeof each === "string" ? each : JSON.stringify(each))).join(" ");
}

function take(value: unknown, step: Step): readonly unknown[] {
  if (step === "all") return Array.isArray(value) ? value : isJsonObject(value) ? Object.values(value) : [];
  if ("index" in step) {
    const at = Array.isArray(value) ? (value.at(step.index) as unknown) : undefined;
    return at === undefined ? [] : [at];
  }
  return isJsonObject(value) && Object.hasOwn(value, step.key) ? [value[step.key]] : [];
}
