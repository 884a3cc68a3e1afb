/** The reference of a provider's compute_config, as a table made from its JSON Schema. */
import { isJsonObject, type Json, type JsonObject } from "../packages/landlord/src/domain/json.ts";

/** One row for each key, nested ones as `parent.key`; items of lists as `parent[].key`. */
export function renderComputeReference(schema: JsonObject): string {
  const rows = rowsOf(schema, "");
  return ["| key | type | default | description |", "| --- | --- | --- | --- |", ...rows].join("\n");
}

function rowsOf(schema: JsonObject, prefix: string): string[] {
  const properties = isJsonObject(schema["properties"]) ? schema["properties"] : {};
  const required = Array.isArray(schema["required"]) ? schema["required"] : [];
  return Object.entries(properties).flatMap(([key, property]) => {
    if (!isJsonObject(property)) return [];
    const name = `${prefix}${key}`;
    const fallback =
      property["default"] === undefined
        ? required.includes(key)
          ? "required"
          : ""
        : `\`${JSON.stringify(property["default"])}\``;
    const description = typeof property["description"] === "string" ? property["description"] : "";
    const cells = [`\`${name}\``, typeOf(property), fallback, description];
    const row = `| ${cells.map((cell) => cell.replaceAll("|", "\\|").replaceAll("\n", " ")).join(" | ")} |`;
    return [row, ...childrenOf(property, name)];
  });
}

function childrenOf(property: JsonObject, name: string): string[] {
  const items = property["items"];
  if (isJsonObject(items)) return rowsOf(items, `${name}[].`);
  const variants = variantsOf(property);
  if (variants.length === 0) return rowsOf(property, `${name}.`);
  const rows = variants.flatMap((variant) => childrenOf(variant, name));
  return [...new Set(rows)];
}

function variantsOf(property: JsonObject): readonly JsonObject[] {
  const variants = property["anyOf"] ?? property["oneOf"] ?? [];
  return Array.isArray(variants) ? variants.filter(isJsonObject) : [];
}

function typeOf(property: JsonObject): string {
  if (property["const"] !== undefined) return `\`${JSON.stringify(property["const"])}\``;
  const choices = property["enum"];
  if (Array.isArray(choices)) return choices.map((choice) => `\`${JSON.stringify(choice)}\``).join(", ");
  const variants = variantsOf(property);
  if (variants.length > 0) return [...new Set(variants.map(typeOf))].join(" or ");
  const type = property["type"];
  if (type === "array") {
    const items = property["items"];
    const kind = isJsonObject(items) ? typeOf(items).replace(/,.*/, "") : "any";
    return `list of ${kind}${boundsOf(property, "minItems", "maxItems")}`;
  }
  if (type === "string") return `string${boundsOf(property, "minLength", "maxLength")}`;
  if (type === "integer" || type === "number") return `${type}${boundsOf(property, "minimum", "maximum")}`;
  if (type === "object") return property["properties"] === undefined ? "map" : "object";
  return typeof type === "string" ? type : "any";
}

/** `, 1 to 10`; nothing for bounds that only say what fits a number. */
function boundsOf(property: JsonObject, low: string, high: string): string {
  const [from, to] = [property[low], property[high]].map(meaningful);
  if (from !== null && to !== null) return `, ${from} to ${to}`;
  if (from !== null) return from === 1 && low !== "minimum" ? "" : `, at least ${from}`;
  return to === null ? "" : `, at most ${to}`;
}

function meaningful(bound: Json | undefined): number | null {
  return typeof bound === "number" && Math.abs(bound) < Number.MAX_SAFE_INTEGER ? bound : null;
}

/** The page with the text between `<!-- generated:compute-config NAME -->` and `<!-- end -->` replaced. */
export function withComputeReference(page: string, name: string, schema: JsonObject): string {
  const begin = `<!-- generated:compute-config ${name} -->`;
  const end = "<!-- end -->";
  const from = page.indexOf(begin);
  const to = page.indexOf(end, from);
  if (from < 0 || to < 0) throw new Error(`the page of ${name} has no ${begin} … ${end}`);
  return `${page.slice(0, from + begin.length)}\n\n${renderComputeReference(schema)}\n\n${page.slice(to)}`;
}
