/**
 * Which statements a connection prepares: planning the large ones costs more than running them. Whatever is asked for a
 * second time gets a name, up to a bound; every connection then parses it once, and PostgreSQL decides by its own costs
 * whether one plan fits all parameters.
 */
import { createHash } from "node:crypto";

export interface PreparedStatements {
  /** The name under which to send this text; null to send it as it is. */
  nameOf(text: string): string | null;
  /**
   * After a failure of a named statement: true when it says nothing about the statement itself, which did not run and may
   * be sent again without a name.
   */
  isStale(text: string, error: unknown): boolean;
}

/** Named statements of one connection; each keeps its plan in the server's memory. */
const NAMES_LIMIT = 200;
/** Texts that are counted until they are asked for again. */
const SEEN_LIMIT = 1_000;
/** BEGIN and the like are as cheap unprepared. */
const SHORTEST = 20;

/** SQLSTATE of a plan whose columns a migration has changed ("cached plan must not change result type"). */
const FEATURE_NOT_SUPPORTED = "0A000";
/** What a transaction pooler answers whose server connection knows no such name, or knows it already. */
const POOLER_CODES = new Set(["26000", "42P05"]);

export function createPreparedStatements(): PreparedStatements {
  const names = new Map<string, string>();
  const seen = new Set<string>();
  const refused = new Set<string>();
  let isOff = false;

  return {
    nameOf(text) {
      if (isOff || text.length < SHORTEST || refused.has(text)) return null;
      const known = names.get(text);
      if (known !== undefined) return known;
      if (!seen.has(text)) {
        if (seen.size < SEEN_LIMIT) seen.add(text);
        return null;
      }
      if (names.size >= NAMES_LIMIT) return null;
      const name = `l_${createHash("sha256").update(text).digest("base64url").slice(0, 22)}`;
      names.set(text, name);
      return name;
    },
    isStale(text, error) {
      const code = error instanceof Error && "code" in error ? error.code : null;
      if (typeof code !== "string") return false;
      if (POOLER_CODES.has(code)) {
        isOff = true;
        return true;
      }
      if (code !== FEATURE_NOT_SUPPORTED) return false;
      // Bounded by the names that were given.
      names.delete(text);
      refused.add(text);
      return true;
    },
  };
}
