/** What a TypeScript file imports, and whether it reads the process's environment. */
import ts from "typescript";
import type { SourceFile } from "./source-files.ts";

export interface Import {
  /** As it is written: "../domain/json.ts", "pg", "node:fs". */
  readonly specifier: string;
  /** Gone after compilation. */
  readonly isTypeOnly: boolean;
  readonly line: number;
}

export interface FileFacts {
  /** Static and dynamic imports, re-exports, `import("…")` types and `require`. */
  readonly imports: readonly Import[];
  /** Lines that mention `process.env`. */
  readonly environmentLines: readonly number[];
}

export function parseFile(file: SourceFile): FileFacts {
  const source = ts.createSourceFile(file.path, file.text, ts.ScriptTarget.Latest, false);
  const imports: Import[] = [];
  const environmentLines: number[] = [];
  const lineOf = (node: ts.Node): number =>
    source.getLineAndCharacterOfPosition(node.getStart(source)).line + 1;
  const visit = (node: ts.Node): void => {
    const found = importOf(node);
    if (found !== null) imports.push({ ...found, line: lineOf(node) });
    if (readsEnvironment(node)) environmentLines.push(lineOf(node));
    ts.forEachChild(node, visit);
  };
  visit(source);
  return { imports, environmentLines };
}

function importOf(node: ts.Node): Omit<Import, "line"> | null {
  if (ts.isImportDeclaration(node)) {
    return named(node.moduleSpecifier, isTypeOnlyClause(node.importClause));
  }
  if (ts.isExportDeclaration(node) && node.moduleSpecifier !== undefined) {
    return named(node.moduleSpecifier, node.isTypeOnly);
  }
  if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
    return named(node.argument.literal, true);
  }
  if (ts.isCallExpression(node) && isLoading(node.expression)) return named(node.arguments[0], false);
  return null;
}

function named(literal: ts.Node | undefined, isTypeOnly: boolean): Omit<Import, "line"> | null {
  return literal !== undefined && ts.isStringLiteralLike(literal)
    ? { specifier: literal.text, isTypeOnly }
    : null;
}

function isTypeOnlyClause(clause: ts.ImportClause | undefined): boolean {
  if (clause === undefined) return false;
  if (clause.phaseModifier === ts.SyntaxKind.TypeKeyword) return true;
  const bindings = clause.namedBindings;
  if (clause.name !== undefined || bindings === undefined || !ts.isNamedImports(bindings)) return false;
  return bindings.elements.length > 0 && bindings.elements.every((element) => element.isTypeOnly);
}

/** `import(…)`, `require(…)`, `require.resolve(…)`, `import.meta.resolve(…)`. */
function isLoading(expression: ts.Expression): boolean {
  if (expression.kind === ts.SyntaxKind.ImportKeyword) return true;
  if (ts.isIdentifier(expression)) return expression.text === "require";
  if (!ts.isPropertyAccessExpression(expression) || expression.name.text !== "resolve") return false;
  const owner = expression.expression;
  return ts.isMetaProperty(owner) || (ts.isIdentifier(owner) && owner.text === "require");
}

function readsEnvironment(node: ts.Node): boolean {
  if (ts.isPropertyAccessExpression(node)) {
    return isProcess(node.expression) && node.name.text === "env";
  }
  if (ts.isElementAccessExpression(node)) {
    return isProcess(node.expression) && ts.isStringLiteralLike(node.argumentExpression)
      ? node.argumentExpression.text === "env"
      : false;
  }
  if (ts.isImportDeclaration(node) && ts.isStringLiteralLike(node.moduleSpecifier)) {
    const bindings = node.importClause?.namedBindings;
    const fromProcess = ["node:process", "process"].includes(node.moduleSpecifier.text);
    return (
      fromProcess &&
      bindings !== undefined &&
      ts.isNamedImports(bindings) &&
      bindings.elements.some((each) => (each.propertyName ?? each.name).text === "env")
    );
  }
  if (ts.isVariableDeclaration(node) && node.initializer !== undefined && isProcess(node.initializer)) {
    return (
      ts.isObjectBindingPattern(node.name) &&
      node.name.elements.some((each) => {
        const name = each.propertyName ?? each.name;
        return ts.isIdentifier(name) && name.text === "env";
      })
    );
  }
  return false;
}

/** `process` or `globalThis.process`. */
function isProcess(node: ts.Expression): boolean {
  if (ts.isIdentifier(node)) return node.text === "process";
  return ts.isPropertyAccessExpression(node) && node.name.text === "process";
}
