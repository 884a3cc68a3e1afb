/** Questions to a zod schema, answered through whatever optional, default or transform wraps it. */
import type { z } from "zod";

interface Definition {
  readonly type: string;
  readonly innerType?: z.ZodType;
  readonly in?: z.ZodType;
  readonly defaultValue?: unknown;
  readonly shape?: Readonly<Record<string, z.ZodType>>;
  readonly element?: z.ZodType;
  readonly valueType?: z.ZodType;
  readonly entries?: Readonly<Record<string, string | number>>;
  readonly values?: readonly unknown[];
  readonly options?: readonly z.ZodType[];
  readonly catchall?: z.ZodType;
}

function definitionOf(schema: z.ZodType): Definition {
  return (schema as unknown as { readonly def: Definition }).def;
}

/** The layers of a schema, from the outermost wrapper to the type itself. */
function layersOf(schema: z.ZodType): z.ZodType[] {
  const layers = [schema];
  for (let definition = definitionOf(schema); ;) {
    const inner = definition.innerType ?? definition.in;
    if (inner === undefined) return layers;
    layers.push(inner);
    definition = definitionOf(inner);
  }
}

function coreOf(schema: z.ZodType): Definition {
  return definitionOf(layersOf(schema).at(-1) ?? schema);
}

/** The keys of an object schema; null for any other type, and for objects that take further keys. */
export function shapeOf(schema: z.ZodType): Readonly<Record<string, z.ZodType>> | null {
  const { type, shape, catchall } = coreOf(schema);
  const isOpen = catchall !== undefined && definitionOf(catchall).type !== "never";
  return type === "object" && !isOpen ? (shape ?? null) : null;
}

/** The first description, from the outside in. */
export function descriptionOf(schema: z.ZodType): string {
  return layersOf(schema).find((layer) => layer.description !== undefined)?.description ?? "";
}

/** The default; undefined when there is none. */
export function defaultOf(schema: z.ZodType): unknown {
  const layer = layersOf(schema).find((each) => definitionOf(each).type === "default");
  return layer === undefined ? undefined : definitionOf(layer).defaultValue;
}

/** True when the key must be given. */
export function isRequired(schema: z.ZodType): boolean {
  return !layersOf(schema).some((layer) =>
    ["optional", "default", "prefault", "catch"].includes(definitionOf(layer).type),
  );
}

export function isDuration(schema: z.ZodType): boolean {
  return layersOf(schema).some((layer) => layer.meta()?.["format"] === "duration");
}

/** How text from an environment variable or a flag becomes a value of this schema. */
export function textKindOf(schema: z.ZodType): "string" | "number" | "boolean" | "yaml" {
  const core = coreOf(schema);
  if (core.type === "string" || core.type === "enum") return "string";
  if (core.type === "number" || core.type === "boolean") return core.type;
  return "yaml";
}

/** The type in a few words, for the reference page. */
export function typeNameOf(schema: z.ZodType): string {
  if (isDuration(schema)) return "duration";
  const core = coreOf(schema);
  switch (core.type) {
    case "enum":
      return Object.values(core.entries ?? {}).join(" \\| ");
    case "literal":
      return (core.values ?? []).map(String).join(" \\| ");
    case "number":
      return numberName(layersOf(schema).at(-1) ?? schema);
    case "array":
      return core.element === undefined ? "list" : `list of ${typeNameOf(core.element)}`;
    case "record":
      return core.valueType === undefined ? "map" : `map to ${typeNameOf(core.valueType)}`;
    case "union":
      return (core.options ?? []).map(typeNameOf).join(" or ");
    case "lazy":
    case "any":
    case "unknown":
      return "any";
    default:
      return core.type;
  }
}

function numberName(schema: z.ZodType): string {
  const { minValue, maxValue, format } = schema as unknown as {
    readonly minValue?: number | null;
    readonly maxValue?: number | null;
    readonly format?: string | null;
  };
  const name = format === "safeint" ? "integer" : "number";
  const low = typeof minValue === "number" && minValue > Number.MIN_SAFE_INTEGER ? minValue : null;
  const high = typeof maxValue === "number" && maxValue < Number.MAX_SAFE_INTEGER ? maxValue : null;
  if (low !== null && high !== null) return `${name}, ${low} to ${high}`;
  if (low !== null) return `${name}, at least ${low}`;
  return high === null ? name : `${name}, at most ${high}`;
}
