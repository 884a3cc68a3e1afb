/** The files of this checkout, as git would commit them. */
import { execFileSync } from "node:child_process";
import { existsSync, lstatSync, readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("..", import.meta.url)).replace(/\/$/, "");

export interface SourceFile {
  /** From the root of the checkout, with slashes. */
  readonly path: string;
  readonly text: string;
}

const NEVER_COMMITTED = new Set([".git", "node_modules", "dist", "coverage", ".landlord", ".install.lock"]);

/** Paths of all tracked files and of new ones that are not ignored; without git, of everything but what is made. */
export function listFiles(): readonly string[] {
  if (!existsSync(join(ROOT, ".git"))) return walk(ROOT).toSorted();
  const listed = execFileSync("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], {
    cwd: ROOT,
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
  });
  // A file that was removed but not yet staged is still listed.
  return [...new Set(listed.split("\0"))].filter((path) => path !== "" && isFile(path)).toSorted();
}

export function readSource(path: string): SourceFile {
  return { path, text: readFileSync(join(ROOT, path), "utf8") };
}

/** TypeScript sources below these folders. */
export function readTypeScript(...folders: readonly string[]): readonly SourceFile[] {
  return listFiles()
    .filter((path) => path.endsWith(".ts") && folders.some((folder) => path.startsWith(`${folder}/`)))
    .map(readSource);
}

function isFile(path: string): boolean {
  return lstatSync(join(ROOT, path), { throwIfNoEntry: false })?.isFile() === true;
}

function walk(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    if (NEVER_COMMITTED.has(entry.name)) return [];
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return walk(path);
    return entry.isFile() ? [relative(ROOT, path)] : [];
  });
}
