/** Finds and reads the configuration file. */
import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import path from "node:path";
import { isMap, isScalar, LineCounter, parseDocument, type Node } from "yaml";
import { messageOf } from "../domain/errors.ts";
import { applyValue, type Layers, type Source } from "./layers.ts";

export interface FileSearch {
  /** From `--config-file`. */
  readonly explicit: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
}

/**
 * The configuration file: the one that the flag or LANDLORD_CONFIG names (whether it exists or not), else the
 * first that exists of the usual places, else null.
 */
export function findConfigFile(search: FileSearch): string | null {
  const named = search.explicit ?? search.env["LANDLORD_CONFIG"];
  if (named !== undefined && named !== "") return path.resolve(search.cwd, named);
  const configHome = search.env["XDG_CONFIG_HOME"] || path.join(search.env["HOME"] || homedir(), ".config");
  const candidates = [
    path.join(search.cwd, "landlord.yaml"),
    "/etc/landlord/landlord.yaml",
    path.join(configHome, "landlord", "landlord.yaml"),
  ];
  return candidates.find((candidate) => existsSync(candidate)) ?? null;
}

/** Lays the file over the settings so far; what is wrong with it becomes problems that name the line. */
export function applyFile(layers: Layers, file: string, cwd: string): void {
  const relative = path.relative(cwd, file);
  const shown = relative === "" || relative.startsWith("..") || path.isAbsolute(relative) ? file : relative;
  const inFile = (line: number | null): Source => ({ kind: "file", file: shown, line });
  const fail = (line: number | null, reason: string): void => {
    layers.problems.push({ source: inFile(line), key: "", reason });
  };
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    return fail(null, `cannot be read: ${messageOf(error)}`);
  }
  const lineCounter = new LineCounter();
  const document = parseDocument(text, { lineCounter, prettyErrors: false });
  for (const error of document.errors) fail(lineCounter.linePos(error.pos[0]).line, error.message);
  if (document.errors.length > 0) return;
  let value: unknown;
  try {
    value = document.toJS();
  } catch (error) {
    return fail(null, messageOf(error));
  }
  const lines = linesOf(document.contents, lineCounter);
  applyValue(layers, [], value, (at) => inFile(lines.get(at.join(".")) ?? null));
}

/** Dotted key to the line that it stands on. */
function linesOf(root: Node | null, counter: LineCounter): ReadonlyMap<string, number> {
  const lines = new Map<string, number>();
  const visit = (node: unknown, at: readonly string[]): void => {
    if (!isMap(node)) return;
    for (const pair of node.items) {
      if (!isScalar(pair.key)) continue;
      const child = [...at, String(pair.key.value)];
      if (pair.key.range) lines.set(child.join("."), counter.linePos(pair.key.range[0]).line);
      visit(pair.value, child);
    }
  };
  visit(root, []);
  return lines;
}
