/** Files of the app that nothing imports, counted from its entry points. */
import { posix } from "node:path";
import { parseFile } from "./imports.ts";
import type { SourceFile } from "./source-files.ts";

const ENTRIES: readonly string[] = [
  "packages/landlord/src/start/main.ts",
  // What packages of providers import.
  "packages/landlord/src/plugin/compute.ts",
  "packages/landlord/src/plugin/workflow.ts",
  "packages/landlord/src/plugin/testing.ts",
  "packages/client/src/index.ts",
  "scripts/generate.ts",
];

/** Sources of packages that no entry reaches: dead, or forgotten by the composition root. */
export function findUnreachable(files: readonly SourceFile[]): readonly string[] {
  const sources = new Map(files.map((file) => [file.path, file]));
  const reached = new Set<string>();
  const waiting = [...ENTRIES];
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    const file = sources.get(path);
    if (file === undefined || reached.has(path)) continue;
    reached.add(path);
    for (const { specifier } of parseFile(file).imports) {
      if (specifier.startsWith(".")) waiting.push(posix.join(posix.dirname(path), specifier));
    }
  }
  return [...sources.keys()]
    .filter((path) => isSource(path) && !reached.has(path))
    .map((path) => `${path}: nothing that runs imports it`);
}

function isSource(path: string): boolean {
  return /^packages\/[a-z-]+\/src\//.test(path);
}
