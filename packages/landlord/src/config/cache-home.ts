/** Where this user's programs keep what they can make again. Imports nothing: it is asked before anything is loaded. */
import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";

/** Null where nothing is to be kept, or nowhere. */
export function cacheHome(): string | null {
  // Node's own switch, which it has since version 22.
  if (process.env["NODE_DISABLE_COMPILE_CACHE"]) return null;
  // A relative one is to be ignored (XDG Base Directory Specification).
  const named = process.env["XDG_CACHE_HOME"] ?? "";
  const home = process.env["HOME"] ?? homedir();
  if (isAbsolute(named)) return named;
  return isAbsolute(home) ? join(home, ".cache") : null;
}
