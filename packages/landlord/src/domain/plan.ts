/** What a write would change: per field of the desired state, and per resource of compute. */
import { canonicalJson, isJsonObject, pointerSegment, type Json, type JsonObject } from "./json.ts";
import { redact } from "./redact.ts";

/** In rising weight. */
export const CHANGE_ACTIONS = ["none", "in_place", "create", "replace", "destroy"] as const;
export type ChangeAction = (typeof CHANGE_ACTIONS)[number];

/** One difference between what is and what is wanted, as a compute provider plans it. */
export interface PlannedChange {
  readonly action: ChangeAction;
  /** The resource that changes, in the provider's words. */
  readonly resource: string;
  /** JSON pointers into the config that cause it. */
  readonly fields: readonly string[];
  readonly downtime: boolean;
}

export interface FieldChange {
  /** JSON pointer. */
  readonly pointer: string;
  /** `undefined`: there was nothing. */
  readonly from: Json | undefined;
  /** `undefined`: there is nothing any more. */
  readonly to: Json | undefined;
}

const FIELD_CHANGES_LIMIT = 1_000;

/** The heaviest of the actions; `none` for no change at all. */
export function heaviestAction(changes: readonly Pick<PlannedChange, "action">[]): ChangeAction {
  return changes.reduce<ChangeAction>(
    (heaviest, { action }) =>
      CHANGE_ACTIONS.indexOf(action) > CHANGE_ACTIONS.indexOf(heaviest) ? action : heaviest,
    "none",
  );
}

/**
 * Where two configurations differ, and how that is shown: secrets are redacted, and a secret that changed is told all the
 * same. At most FIELD_CHANGES_LIMIT.
 */
export function diffFields(from: JsonObject, to: JsonObject): readonly FieldChange[] {
  const [shownFrom, shownTo] = [redact(from) as JsonObject, redact(to) as JsonObject];
  return changedPaths(from, to)
    .slice(0, FIELD_CHANGES_LIMIT)
    .map((path) => ({
      pointer: path.map(pointerSegment).join(""),
      from: valueAt(shownFrom, path),
      to: valueAt(shownTo, path),
    }));
}

/** JSON pointers to everything that differs, in key order. */
export function changedFields(before: JsonObject, after: JsonObject): readonly string[] {
  return changedPaths(before, after).map((path) => path.map(pointerSegment).join(""));
}

/** Objects are compared member by member, everything else as a whole. */
function changedPaths(before: JsonObject, after: JsonObject): readonly (readonly string[])[] {
  const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
  return keys.flatMap((key) => {
    const [old, wanted] = [valueAt(before, [key]), valueAt(after, [key])];
    if (isJsonObject(old) && isJsonObject(wanted))
      return changedPaths(old, wanted).map((path) => [key, ...path]);
    const isSame = old !== undefined && wanted !== undefined && canonicalJson(old) === canonicalJson(wanted);
    return isSame ? [] : [[key]];
  });
}

function valueAt(value: Json | undefined, path: readonly string[]): Json | undefined {
  return path.reduce<Json | undefined>(
    (at, key) => (isJsonObject(at) && Object.hasOwn(at, key) ? at[key] : undefined),
    value,
  );
}
