/**
 * Keeps what V8 makes of the built program between starts, in the user's cache folder: without it half of a start is
 * compiling. A cache that is missing, out of date or not to be trusted costs time and nothing else.
 */
import nodeModule, { createRequire } from "node:module";
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { Script } from "node:vm";
import { cacheHome } from "../config/cache-home.ts";

/** After the start, so as not to slow it down, and before V8 throws away functions that it used once. */
const SAVE_AFTER_MS = 10_000;
/** What is smaller is compiled as fast as it is read. */
const WORTH_BYTES = 16_384;
/** Others could put code of theirs there. */
const WRITABLE_BY_OTHERS = 0o022;
/** Names of folders that this file makes; Node makes others. */
const BUILD = /^[0-9a-f]{64}-v/;
/** A month. */
const KEPT_MS = 30 * 24 * 3_600_000;
/** The one file that imports, and is loaded as it is; see import-module.ts. */
export const AS_IT_IS = "import-module-";

type Extension = (module: NodeJS.Module, file: string) => void;

/**
 * From now on the program's files are loaded from the cache.
 *
 * @param main the started file of the built program; `build-id` lies one folder up
 * @param role what this process does: other roles use other functions of the same files
 */
export function cacheCode(main: string, role: string): void {
  const home = cacheHome();
  if (home === null) return;
  const builds = join(home, "landlord");
  // Newer versions of Node do it themselves.
  if ("enableCompileCache" in nodeModule) {
    if (isOurs(builds)) (nodeModule.enableCompileCache as (folder: string) => void)(builds);
    return;
  }
  const dist = dirname(dirname(main));
  const buildId = readFileSync(join(dist, "build-id"), "utf8").trim();
  const folder = join(builds, `${buildId}-${process.version}-${process.arch}`, role);
  if (!isOurs(folder)) return;
  const fresh = new Map<string, Script>();
  loadThrough(dist, folder, fresh);
  const save = (): void => {
    if (fresh.size > 0) removeOld(builds);
    saveAll(folder, fresh);
  };
  setTimeout(save, SAVE_AFTER_MS).unref();
  process.on("exit", save);
}

/** Of builds that were replaced. One that is still in use is compiled once more. */
function removeOld(builds: string): void {
  for (const name of readdirSync(builds)) {
    const folder = join(builds, name);
    if (!BUILD.test(name) || Date.now() - statSync(folder).mtimeMs < KEPT_MS) continue;
    rmSync(folder, { recursive: true, force: true });
  }
}

function isOurs(folder: string): boolean {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const { uid, mode } = statSync(folder);
    return uid === process.getuid?.() && (mode & WRITABLE_BY_OTHERS) === 0;
  } catch {
    return false;
  }
}

/** Node asks for a function by a file's ending; `.cjs` has none of its own. */
function loadThrough(dist: string, folder: string, fresh: Map<string, Script>): void {
  const extensions = createRequire(import.meta.url).extensions as Record<string, Extension | undefined>;
  const usual = extensions[".js"] as Extension;
  extensions[".cjs"] = (module, file) => {
    if (!file.startsWith(`${dist}/chunks/`) || basename(file).startsWith(AS_IT_IS))
      return usual(module, file);
    // What the bundler writes is ASCII.
    const code = readFileSync(file, "latin1");
    const cacheFile = code.length < WORTH_BYTES ? null : join(folder, basename(file));
    const cachedData = cacheFile === null ? null : read(cacheFile);
    const script = new Script(nodeModule.wrap(code), {
      filename: file,
      ...(cachedData === null ? {} : { cachedData }),
    });
    const isKept = cachedData !== null && script.cachedDataRejected !== true;
    if (cacheFile !== null && !isKept) fresh.set(cacheFile, script);
    const run = script.runInThisContext() as (...values: unknown[]) => void;
    run.call(module.exports, module.exports, createRequire(file), module, file, dirname(file));
  };
}

function read(file: string): Buffer | null {
  try {
    return readFileSync(file);
  } catch {
    return null;
  }
}

/** V8 does not look whether what it is given is whole: so it is written whole, or not at all. */
function saveAll(folder: string, fresh: Map<string, Script>): void {
  const draft = join(folder, `${process.pid}.new`);
  for (const [file, script] of fresh) {
    try {
      const descriptor = openSync(draft, "w", 0o600);
      writeFileSync(descriptor, script.createCachedData());
      fsyncSync(descriptor);
      closeSync(descriptor);
      renameSync(draft, file);
    } catch {
      // Then the next start compiles again.
    }
  }
  fresh.clear();
}
