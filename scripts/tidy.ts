/** House style that no linter checks: sizes, names, and what may be committed. */
import { statSync } from "node:fs";
import { basename, join } from "node:path";
import ts from "typescript";
import { ROOT, type SourceFile } from "./source-files.ts";

export const FILE_LIMIT_LINES = 450;
export const FUNCTION_LIMIT_LINES = 80;
const FILE_LIMIT_BYTES = 1024 * 1024;

const KEBAB_CASE = /^[a-z0-9]+(-[a-z0-9]+)*(\.[a-z0-9]+)*$/;
const PACKAGE_ENTRY = /^packages\/[a-z-]+\/src\/(?:index|plugin\/[a-z]+)\.ts$/;
const UNFINISHED = /\b(TODO|FIXME|XXX|HACK)\b/;
const MACHINE_PATH = /(^|[^\w./-])\/(work|home|Users|root)\/[\w.-]+/;
const TEXT =
  /\.(ts|mts|mjs|js|json|jsonc|md|yaml|yml|sh|html|css|sql|toml)$|(^|\/)(run|\.[a-z]+rc|Dockerfile)$/;

/** Problems of any committed file. */
export function tidyFile(path: string): readonly string[] {
  const bytes = statSync(join(ROOT, path)).size;
  return bytes > FILE_LIMIT_BYTES ? [`${path} has ${bytes} bytes; ${FILE_LIMIT_BYTES} are allowed`] : [];
}

export function isText(path: string): boolean {
  return TEXT.test(path) && basename(path) !== "package-lock.json";
}

/** Problems of any committed text. */
export function tidyText(file: SourceFile): readonly string[] {
  return linesThat(file, (line) =>
    UNFINISHED.test(line)
      ? "leaves work for later"
      : MACHINE_PATH.test(line)
        ? "names a path of one machine"
        : null,
  );
}

/** Problems of a TypeScript file. */
export function tidyTypeScript(file: SourceFile): readonly string[] {
  const name = basename(file.path);
  const problems: string[] = [];
  if (!KEBAB_CASE.test(name)) problems.push(`${file.path}: the name is not in kebab-case`);
  const source = ts.createSourceFile(file.path, file.text, ts.ScriptTarget.Latest, true);
  if (!PACKAGE_ENTRY.test(file.path) && isBarrel(source)) {
    problems.push(`${file.path}: only re-exports; import from the files themselves`);
  }
  if (/\/src\//.test(file.path)) problems.push(...sizeProblems(source));
  if (file.path.endsWith(".test.ts")) problems.push(...focusProblems(source));
  return problems;
}

function sizeProblems(source: ts.SourceFile): readonly string[] {
  const lines = source.text.trimEnd().split("\n").length;
  const problems =
    lines > FILE_LIMIT_LINES
      ? [`${source.fileName} has ${lines} lines; ${FILE_LIMIT_LINES} are allowed`]
      : [];
  for (const node of nodesOf(source)) {
    if (!ts.isFunctionLike(node) || !("body" in node) || node.body === undefined) continue;
    const length = ownLines(source, node);
    if (length <= FUNCTION_LIMIT_LINES) continue;
    const where = `${source.fileName}:${lineOf(source, node.getStart(source))}`;
    problems.push(`${where}: a function of ${length} lines; ${FUNCTION_LIMIT_LINES} are allowed`);
  }
  return problems;
}

/**
 * Without the functions inside, since a factory is as long as its methods and each of them is counted by itself,
 * and without the lines of template texts: an SQL statement cannot be taken apart.
 */
function ownLines(source: ts.SourceFile, node: ts.Node): number {
  let inside = 0;
  const visit = (child: ts.Node): void => {
    if (ts.isFunctionLike(child) || ts.isTemplateLiteral(child)) inside += linesOf(source, child) - 1;
    else ts.forEachChild(child, visit);
  };
  ts.forEachChild(node, visit);
  return linesOf(source, node) - inside;
}

function linesOf(source: ts.SourceFile, node: ts.Node): number {
  return lineOf(source, node.end) - lineOf(source, node.getStart(source)) + 1;
}

const HIDING = new Set(["only", "skip", "todo", "fails"]);
const TEST_FUNCTIONS = new Set(["it", "test", "describe", "suite", "bench"]);

/**
 * `it.only`, `describe.skip.each(…)` and their like. A test may still skip itself where its host lacks something,
 * if it says what; such a run fails all the same.
 */
function focusProblems(source: ts.SourceFile): readonly string[] {
  return nodesOf(source).flatMap((node) => {
    const hiding = hidingCall(node);
    if (hiding === null) return [];
    const where = `${source.fileName}:${lineOf(source, node.getStart(source))}`;
    return [`${where}: .${hiding} hides tests from the run`];
  });
}

function hidingCall(node: ts.Node): string | null {
  if (ts.isPropertyAccessExpression(node)) {
    const { text } = node.name;
    return HIDING.has(text) && TEST_FUNCTIONS.has(rootOf(node.expression)) ? text : null;
  }
  if (!ts.isCallExpression(node) || !ts.isPropertyAccessExpression(node.expression)) return null;
  const { expression, name } = node.expression;
  const isOwnSkip = name.text === "skip" && /^(c|ctx|context|task)$/.test(rootOf(expression));
  return isOwnSkip && node.arguments.length === 0 ? "skip without a reason" : null;
}

function rootOf(node: ts.Expression): string {
  if (ts.isPropertyAccessExpression(node)) return rootOf(node.expression);
  if (ts.isCallExpression(node)) return rootOf(node.expression);
  return ts.isIdentifier(node) ? node.text : "";
}

function isBarrel(source: ts.SourceFile): boolean {
  const { statements } = source;
  return (
    statements.length > 0 &&
    statements.every((each) => ts.isExportDeclaration(each) && each.moduleSpecifier !== undefined)
  );
}

function nodesOf(source: ts.SourceFile): readonly ts.Node[] {
  const found: ts.Node[] = [];
  const visit = (node: ts.Node): void => {
    found.push(node);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

function lineOf(source: ts.SourceFile, position: number): number {
  return source.getLineAndCharacterOfPosition(position).line + 1;
}

function linesThat(file: SourceFile, problemOf: (line: string) => string | null): readonly string[] {
  return file.text.split("\n").flatMap((line, index) => {
    const problem = problemOf(line);
    return problem === null ? [] : [`${file.path}:${index + 1}: ${problem}`];
  });
}
