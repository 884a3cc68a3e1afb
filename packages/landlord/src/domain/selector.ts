/**
 * Label selectors, in the grammar of Kubernetes (API concepts, "Labels and Selectors"): requirements joined by commas,
 * all of which must hold. `env=prod`, `tier!=free`, `team in (a,b)`, `team notin (a,b)`, `beta`, `!beta`.
 */
import { LandlordError } from "./errors.ts";

export type Requirement =
  /** Holds where the label has one of the values. */
  | { readonly kind: "in"; readonly key: string; readonly values: readonly string[] }
  /** Also holds where the label is missing. */
  | { readonly kind: "not_in"; readonly key: string; readonly values: readonly string[] }
  | { readonly kind: "exists"; readonly key: string }
  | { readonly kind: "missing"; readonly key: string };

/** No requirement selects everything. */
export type Selector = readonly Requirement[];

type Labels = Readonly<Record<string, string>>;

const SELECTOR_LIMIT_CHARACTERS = 4_096;
const REQUIREMENTS_LIMIT = 64;
/** Everything but what the grammar itself needs. */
const WORD = String.raw`[^\s,()!=]+`;
const SET = new RegExp(String.raw`^(${WORD})\s+(in|notin)\s*\(([^()]*)\)$`);
const EQUALITY = new RegExp(String.raw`^(${WORD})\s*(==|=|!=)\s*([^,()!=]*)$`);
const EXISTENCE = new RegExp(String.raw`^(!?)\s*(${WORD})$`);

/** @throws LandlordError `invalid_selector`, with a sentence that names the part that is wrong */
export function parseSelector(text: string): Selector {
  if (text.length > SELECTOR_LIMIT_CHARACTERS)
    throw invalid(`is longer than ${SELECTOR_LIMIT_CHARACTERS} characters`);
  if (text.trim() === "") return [];
  // Commas within parentheses belong to a set.
  const parts = text.split(/,(?![^(]*\))/).map((part) => part.trim());
  if (parts.length > REQUIREMENTS_LIMIT) throw invalid(`has more than ${REQUIREMENTS_LIMIT} requirements`);
  return parts.map(parseRequirement);
}

function parseRequirement(text: string): Requirement {
  const set = SET.exec(text);
  if (set !== null) {
    const values = (set[3] ?? "").split(",").map((value) => value.trim());
    return { kind: set[2] === "in" ? "in" : "not_in", key: set[1] ?? "", values };
  }
  const equality = EQUALITY.exec(text);
  if (equality !== null) {
    const values = [(equality[3] ?? "").trim()];
    return { kind: equality[2] === "!=" ? "not_in" : "in", key: equality[1] ?? "", values };
  }
  const existence = EXISTENCE.exec(text);
  if (existence !== null)
    return { kind: existence[1] === "!" ? "missing" : "exists", key: existence[2] ?? "" };
  throw invalid(
    `has "${text}", which is none of key=value, key!=value, key in (a,b), key notin (a,b), key, !key`,
  );
}

function invalid(problem: string): LandlordError {
  return new LandlordError("invalid_selector", `The selector ${problem}.`);
}

/** The one text of a selector; `parseSelector` reads it back. */
export function formatSelector(selector: Selector): string {
  return selector
    .map((requirement) => {
      switch (requirement.kind) {
        case "in":
        case "not_in": {
          const { key, values } = requirement;
          if (values.length === 1) return `${key}${requirement.kind === "in" ? "=" : "!="}${values[0]}`;
          return `${key} ${requirement.kind === "in" ? "in" : "notin"} (${values.join(",")})`;
        }
        case "exists":
          return requirement.key;
        case "missing":
          return `!${requirement.key}`;
      }
    })
    .join(",");
}

export function matchesSelector(selector: Selector, labels: Labels): boolean {
  return selector.every((requirement) => holds(requirement, labels));
}

function holds(requirement: Requirement, labels: Labels): boolean {
  const value = Object.hasOwn(labels, requirement.key) ? labels[requirement.key] : undefined;
  switch (requirement.kind) {
    case "in":
      return value !== undefined && requirement.values.includes(value);
    case "not_in":
      return value === undefined || !requirement.values.includes(value);
    case "exists":
      return value !== undefined;
    case "missing":
      return value === undefined;
  }
}
