/**
 * Which branches of a source file were taken, counted by the JavaScript engine itself (precise block coverage of the
 * inspector). Start it before the file is loaded for the first time.
 */
import { Session, type Debugger, type Profiler } from "node:inspector/promises";
import ts from "typescript";

export interface Branch {
  readonly file: string;
  /** Its text, as it runs. */
  readonly text: string;
  readonly isTaken: boolean;
}

export interface Coverage {
  /** Every branch of the files, in the same order each time. Ends the counting. */
  take(): Promise<readonly Branch[]>;
}

const TEXT_LIMIT = 120;

/** @param files ends of their paths */
export async function startCoverage(files: readonly string[]): Promise<Coverage> {
  const session = new Session();
  session.connect();
  await session.post("Profiler.enable");
  await session.post("Profiler.startPreciseCoverage", { callCount: true, detailed: true });
  return {
    async take() {
      const { result } = await session.post("Profiler.takePreciseCoverage");
      await session.post("Profiler.stopPreciseCoverage");
      // Sources can be read by the debugger only.
      await session.post("Debugger.enable");
      const branches: Branch[] = [];
      for (const file of files) {
        const script = result.find(({ url }) => url.split("?")[0]?.endsWith(file) === true);
        if (script === undefined) throw new Error(`${file} was not loaded while branches were counted`);
        const source: Debugger.GetScriptSourceReturnType = await session.post("Debugger.getScriptSource", {
          scriptId: script.scriptId,
        });
        branches.push(...branchesOf(file, source.scriptSource, script.functions));
      }
      session.disconnect();
      return branches;
    },
  };
}

function branchesOf(
  file: string,
  text: string,
  functions: readonly Profiler.FunctionCoverage[],
): readonly Branch[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true, ts.ScriptKind.JS);
  const ranges = functions.flatMap((each) => each.ranges);
  return branchNodes(source).map((node) => {
    const start = node.getStart(source);
    return { file, text: oneLine(text.slice(start, node.end)), isTaken: countAt(ranges, start) > 0 };
  });
}

/** The innermost range decides. */
function countAt(ranges: readonly Profiler.CoverageRange[], offset: number): number {
  let innermost: Profiler.CoverageRange | null = null;
  for (const range of ranges) {
    if (range.startOffset > offset || range.endOffset <= offset) continue;
    const size = range.endOffset - range.startOffset;
    if (innermost === null || size <= innermost.endOffset - innermost.startOffset) innermost = range;
  }
  return innermost?.count ?? 0;
}

const BRANCHING = new Set([
  ts.SyntaxKind.AmpersandAmpersandToken,
  ts.SyntaxKind.BarBarToken,
  ts.SyntaxKind.QuestionQuestionToken,
]);

/** Bodies of functions, and whatever runs under a condition. */
function branchNodes(source: ts.SourceFile): readonly ts.Node[] {
  const found: ts.Node[] = [];
  const visit = (node: ts.Node): void => {
    if (ts.isFunctionDeclaration(node) && node.body !== undefined) found.push(node.body);
    if (ts.isIfStatement(node))
      found.push(node.thenStatement, ...(node.elseStatement === undefined ? [] : [node.elseStatement]));
    if (ts.isConditionalExpression(node)) found.push(node.whenTrue, node.whenFalse);
    if (ts.isBinaryExpression(node) && BRANCHING.has(node.operatorToken.kind)) found.push(node.right);
    if (ts.isCaseOrDefaultClause(node) && node.statements[0] !== undefined) found.push(node.statements[0]);
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

function oneLine(text: string): string {
  const line = text.replace(/\s+/g, " ");
  return line.length <= TEXT_LIMIT ? line : `${line.slice(0, TEXT_LIMIT)} …`;
}
