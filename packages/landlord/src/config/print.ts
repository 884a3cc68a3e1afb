import { Document, isMap, isPair, isScalar, type Pair } from "yaml";
import type { z } from "zod";
import { isJsonObject } from "../domain/json.ts";
import { redact } from "../domain/redact.ts";
import { formatDuration } from "./duration.ts";
import { describeSource } from "./layers.ts";
import type { LoadedConfig } from "./load.ts";
import { isDuration, shapeOf } from "./schema-walk.ts";

/** The configuration in force as YAML that can be loaded again, secrets hidden, each key with where it came from. */
export function printConfig(loaded: Pick<LoadedConfig, "config" | "sources" | "schema">): string {
  const document = new Document(redact(writable(loaded.config, loaded.schema)));
  const comment = (items: readonly unknown[], path: readonly string[]): void => {
    for (const item of items) {
      if (!isPair(item) || !isScalar(item.key)) continue;
      const here = [...path, String(item.key.value)];
      if (isMap(item.value) && item.value.items.length > 0) comment(item.value.items, here);
      else annotate(item, describeSource(loaded.sources.get(here.join(".")) ?? { kind: "default" }));
    }
  };
  if (isMap(document.contents)) comment(document.contents.items, []);
  return document.toString({ lineWidth: 0 });
}

function annotate(pair: Pair, source: string): void {
  const value = pair.value as { comment?: string; flow?: boolean } | null;
  if (value === null) return;
  // Only a value that ends on its key's line can carry a trailing comment.
  if (!isScalar(value)) value.flow = true;
  value.comment = ` from ${source}`;
}

/** Durations as text again, keys without a value left out. */
function writable(value: unknown, schema: z.ZodType | null): unknown {
  if (typeof value === "number" && schema !== null && isDuration(schema)) return formatDuration(value);
  if (!isJsonObject(value)) return value;
  const shape = schema === null ? null : shapeOf(schema);
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, own]) => own !== undefined)
      .map(([key, own]: [string, unknown]) => [key, writable(own, shape?.[key] ?? null)]),
  );
}
