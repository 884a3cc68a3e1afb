/** Settings of several sources laid over each other, each value with the source that it came from. */
import type { z } from "zod";
import { parse as parseYaml } from "yaml";
import { isJsonObject } from "../domain/json.ts";
import { messageOf } from "../domain/errors.ts";
import { KEY_ALIASES, replacementOf } from "./moved-keys.ts";
import { shapeOf, textKindOf } from "./schema-walk.ts";
import { closest } from "./suggest.ts";

/** Where a setting came from. */
export type Source =
  | { readonly kind: "default" }
  | { readonly kind: "file"; readonly file: string; readonly line: number | null }
  | { readonly kind: "environment"; readonly name: string }
  | { readonly kind: "flag"; readonly flag: string };

/** The source in the words of error messages. */
export function describeSource(source: Source): string {
  switch (source.kind) {
    case "default":
      return "default";
    case "file":
      return source.line === null ? source.file : `${source.file}:${source.line}`;
    case "environment":
      return `environment variable ${source.name}`;
    case "flag":
      return `flag ${source.flag}`;
  }
}

export interface Problem {
  readonly source: Source | null;
  /** Dotted key; "" for a source as a whole. */
  readonly key: string;
  readonly reason: string;
}

type Path = readonly string[];
/** Maps, not objects: a key named `__proto__` stays data. */
type Tree = Map<string, unknown>;

/** The settings so far. `apply…` calls come in rising order of precedence. */
export interface Layers {
  readonly schema: z.ZodType;
  readonly tree: Tree;
  /** Dotted key of each value to its source. */
  readonly sources: Map<string, Source>;
  /** Dotted key of each section that was mentioned to its source: it may be empty. */
  readonly sections: Map<string, Source>;
  readonly problems: Problem[];
  /** First segments that are skipped without a look at them. */
  readonly ignored: ReadonlySet<string>;
}

export function createLayers(schema: z.ZodType, ignored: readonly string[]): Layers {
  return {
    schema,
    tree: new Map(),
    sources: new Map(),
    sections: new Map(),
    problems: [],
    ignored: new Set(ignored),
  };
}

/** The schema at a path; null where the schema says nothing (inside maps), undefined for an unknown key. */
function schemaAt(root: z.ZodType, path: Path): z.ZodType | null | undefined {
  let schema: z.ZodType = root;
  for (const key of path) {
    const shape = shapeOf(schema);
    if (shape === null) return textKindOf(schema) === "yaml" ? null : undefined;
    const next = Object.hasOwn(shape, key) ? shape[key] : undefined;
    if (next === undefined) return undefined;
    schema = next;
  }
  return schema;
}

/** Lays a parsed document over what is there. `locate` tells the source of each path in it. */
export function applyValue(layers: Layers, path: Path, value: unknown, locate: (path: Path) => Source): void {
  applyAt(layers, path, path, value, locate);
}

/** `at` is the place of the value in its source, `path` its place in the configuration (aliases differ). */
function applyAt(layers: Layers, path: Path, at: Path, value: unknown, locate: (path: Path) => Source): void {
  const schema = schemaAt(layers.schema, path);
  const shape = schema === null || schema === undefined ? null : shapeOf(schema);
  if (shape !== null && value === null) return enterSection(layers, path, locate(at));
  if (shape !== null && !isJsonObject(value)) {
    layers.problems.push({
      source: locate(at),
      key: at.join("."),
      reason: "must be a section of keys and values",
    });
    return;
  }
  if (!isJsonObject(value)) {
    // An empty value in YAML means "not set", unless the key has a use for null.
    if (value === null && schema !== null && schema?.safeParse(null).success === false) return;
    return setValue(layers, path, value, locate(at));
  }
  enterSection(layers, path, locate(at));
  for (const [key, own] of Object.entries(value)) applyMember(layers, path, [...at, key], own, locate, shape);
}

function applyMember(
  layers: Layers,
  parent: Path,
  at: Path,
  value: unknown,
  locate: (path: Path) => Source,
  shape: Readonly<Record<string, z.ZodType>> | null,
): void {
  const key = at.at(-1) ?? "";
  const path = [...parent, key];
  const dotted = path.join(".");
  if (layers.ignored.has(path[0] ?? "")) return;
  const alias = KEY_ALIASES.get(dotted);
  if (alias !== undefined) return applyAt(layers, alias.split("."), at, value, locate);
  if (shape === null || Object.hasOwn(shape, key)) return applyAt(layers, path, at, value, locate);
  const reason = replacementOf(dotted) ?? unknownKey(layers, dotted, parent, shape);
  layers.problems.push({ source: locate(at), key: dotted, reason });
}

function unknownKey(
  layers: Layers,
  dotted: string,
  parent: Path,
  shape: Readonly<Record<string, z.ZodType>>,
): string {
  const sibling = closest(dotted.slice(dotted.lastIndexOf(".") + 1), Object.keys(shape));
  const meant = sibling === null ? closest(dotted, knownKeys(layers)) : [...parent, sibling].join(".");
  if (meant !== null) return `unknown key; did you mean ${meant}?`;
  const where = parent.length === 0 ? "the top level" : parent.join(".");
  return `unknown key; ${where} has: ${Object.keys(shape).join(", ")}`;
}

/** Every dotted key that can be set. */
export function knownKeys(layers: Layers): string[] {
  const keys: string[] = [];
  const visit = (schema: z.ZodType, path: Path): void => {
    if (path.length > 0) keys.push(path.join("."));
    for (const [key, child] of Object.entries(shapeOf(schema) ?? {})) visit(child, [...path, key]);
  };
  visit(layers.schema, []);
  return keys;
}

/** Lays text from a variable or a flag over what is there, parsed as the schema of its key wants. */
export function applyText(layers: Layers, path: Path, text: string, source: Source): void {
  const schema = schemaAt(layers.schema, path);
  if (schema === undefined) {
    const dotted = path.join(".");
    const meant = closest(dotted, knownKeys(layers));
    const reason = replacementOf(dotted) ?? `unknown key${meant === null ? "" : `; did you mean ${meant}?`}`;
    layers.problems.push({ source, key: dotted, reason });
    return;
  }
  try {
    applyValue(layers, path, valueOfText(schema, text), () => source);
  } catch (error) {
    const reason = `must be JSON or YAML: ${messageOf(error).split("\n")[0] ?? ""}`;
    layers.problems.push({ source, key: path.join("."), reason });
  }
}

function valueOfText(schema: z.ZodType | null, text: string): unknown {
  switch (schema === null ? "yaml" : textKindOf(schema)) {
    case "string":
      return text;
    case "number":
      return /^[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?$/i.test(text.trim()) ? Number(text) : text;
    case "boolean":
      if (/^(?:true|1)$/i.test(text.trim())) return true;
      return /^(?:false|0)$/i.test(text.trim()) ? false : text;
    case "yaml": {
      const value: unknown = parseYaml(text);
      // A type that also takes text (a union): "on" or "0123" may be meant literally.
      const literal = schema?.safeParse(value).success === false && schema.safeParse(text).success;
      return literal ? text : value;
    }
  }
}

function enterSection(layers: Layers, path: Path, source: Source): void {
  treeAt(layers, path, source);
  layers.sections.set(path.join("."), source);
}

/** The tree at a path, made where it is missing; a plain value on the way is replaced. */
function treeAt(layers: Layers, path: Path, source: Source): Tree {
  let tree = layers.tree;
  path.forEach((key, index) => {
    const dotted = path.slice(0, index + 1).join(".");
    let next = tree.get(key);
    if (!(next instanceof Map)) {
      next = new Map<string, unknown>();
      tree.set(key, next);
      layers.sources.delete(dotted);
    }
    if (!layers.sections.has(dotted)) layers.sections.set(dotted, source);
    tree = next as Tree;
  });
  return tree;
}

function setValue(layers: Layers, path: Path, value: unknown, source: Source): void {
  const dotted = path.join(".");
  const tree = treeAt(layers, path.slice(0, -1), source);
  const key = path.at(-1) ?? "";
  const before = layers.sources.get(dotted);
  if (before !== undefined && before.kind === source.kind && source.kind !== "flag") {
    if (JSON.stringify(tree.get(key)) !== JSON.stringify(value)) {
      const reason = `given twice with different values, also by ${describeSource(before)}`;
      layers.problems.push({ source, key: dotted, reason });
    }
  }
  for (const known of [layers.sources, layers.sections]) {
    for (const below of known.keys()) if (below.startsWith(`${dotted}.`)) known.delete(below);
  }
  tree.set(key, value);
  layers.sources.set(dotted, source);
}

/** The settings as plain objects. */
export function plainSettings(layers: Layers): Record<string, unknown> {
  const plain = (value: unknown): unknown =>
    value instanceof Map
      ? Object.fromEntries([...value].map(([key, own]: [string, unknown]) => [key, plain(own)]))
      : value;
  return plain(layers.tree) as Record<string, unknown>;
}

/** The source of a key, or of the nearest section around it; null when nothing mentioned it. */
export function locateKey(layers: Layers, path: Path): Source | null {
  for (let length = path.length; length > 0; length -= 1) {
    const dotted = path.slice(0, length).join(".");
    const source = layers.sources.get(dotted) ?? layers.sections.get(dotted);
    if (source !== undefined) return source;
  }
  return null;
}
