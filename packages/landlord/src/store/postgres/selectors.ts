/** Label selectors as conditions on a jsonb column `labels`. */
import { sql, type RawBuilder } from "kysely";
import type { Requirement, Selector } from "../../domain/selector.ts";

/** One value each is asked by containment, which the GIN index of the tenants answers. */
export function labelsMatch(selector: Selector): RawBuilder<boolean> {
  if (selector.length === 0) return sql<boolean>`true`;
  return sql<boolean>`(${sql.join(selector.map(condition), sql` AND `)})`;
}

function condition(requirement: Requirement): RawBuilder<boolean> {
  const { key } = requirement;
  switch (requirement.kind) {
    case "in":
      return isOneOf(key, requirement.values);
    case "not_in":
      return sql<boolean>`NOT ${isOneOf(key, requirement.values)}`;
    case "exists":
      return sql<boolean>`labels ? ${key}`;
    case "missing":
      return sql<boolean>`NOT labels ? ${key}`;
  }
}

function isOneOf(key: string, values: readonly string[]): RawBuilder<boolean> {
  const conditions = values.map((value) => sql`labels @> ${JSON.stringify({ [key]: value })}::jsonb`);
  return sql<boolean>`(${sql.join(conditions, sql` OR `)})`;
}
