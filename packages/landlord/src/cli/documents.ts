/** Tenants in files, as `apply`, `plan` and `diff` take them: YAML or JSON, many documents in each file. */
import type { ApplyTenant } from "@landlord/client";
import { readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { parseAllDocuments } from "yaml";
import { closest } from "../config/suggest.ts";
import { messageOf } from "../domain/errors.ts";
import { isJsonObject, type JsonObject } from "../domain/json.ts";
import type { CliDeps } from "./context.ts";
import { UsageError } from "./input.ts";

const EXTENSIONS: readonly string[] = [".yaml", ".yml", ".json"];
const FILE_LIMIT_BYTES = 64 * 1024 * 1024;
const FILES_LIMIT = 10_000;
const DOCUMENTS_LIMIT = 100_000;
const PROBLEMS_SHOWN = 100;
const TENANT_NAME = /^[a-z0-9-]{1,255}$/;

export interface TenantDocument {
  readonly name: string;
  readonly body: ApplyTenant;
  /** Where it stands: "tenants.yaml, document 2". */
  readonly source: string;
}

interface Text {
  readonly file: string;
  readonly text: string;
}

/** All documents of all files, in order. Throws UsageError with every problem at once. */
export async function readDocuments(
  deps: CliDeps,
  files: readonly string[],
  recursive: boolean,
): Promise<readonly TenantDocument[]> {
  const texts: Text[] = [];
  for (const file of files) {
    if (file === "-") texts.push({ file: "standard input", text: await deps.input.readAll() });
    else texts.push(...readPath(file, deps.cwd ?? process.cwd(), recursive));
  }
  const problems: string[] = [];
  const documents = texts.flatMap((text) => parseText(text, problems));
  const sources = new Map<string, string>();
  for (const { name, source } of documents) {
    const before = sources.get(name);
    if (before !== undefined) problems.push(`${source}: tenant ${name} is in ${before} already`);
    sources.set(name, source);
  }
  if (problems.length > 0) {
    const more = problems.length - PROBLEMS_SHOWN;
    const details = [...problems.slice(0, PROBLEMS_SHOWN), ...(more > 0 ? [`and ${more} more`] : [])];
    throw new UsageError("the documents are not valid; nothing was sent", { details });
  }
  if (documents.length === 0) throw new UsageError(`there is no tenant in ${files.join(", ")}`);
  if (documents.length > DOCUMENTS_LIMIT)
    throw new UsageError(`${documents.length} tenants are more than ${DOCUMENTS_LIMIT}: split them`);
  return documents;
}

function readPath(file: string, cwd: string, recursive: boolean): readonly Text[] {
  const full = path.resolve(cwd, file);
  try {
    const found = statSync(full);
    if (!found.isDirectory()) {
      if (found.size > FILE_LIMIT_BYTES) throw new Error(`it is larger than ${FILE_LIMIT_BYTES} bytes`);
      return [{ file, text: readFileSync(full, "utf8") }];
    }
    const inside = readdirSync(full, { recursive, withFileTypes: true })
      .filter((entry) => !entry.isDirectory() && EXTENSIONS.includes(path.extname(entry.name)))
      .map((entry) => path.join(file, path.relative(full, path.join(entry.parentPath, entry.name))))
      .sort();
    if (inside.length > FILES_LIMIT) throw new Error(`it has more than ${FILES_LIMIT} files`);
    return inside.flatMap((each) => readPath(each, cwd, false));
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(`cannot read ${file}`, { details: [messageOf(error)], cause: error });
  }
}

function parseText({ file, text }: Text, problems: string[]): readonly TenantDocument[] {
  const parsed = parseAllDocuments(text, { prettyErrors: true });
  if (!Array.isArray(parsed)) return [];
  return parsed.flatMap((document, index) => {
    const source = parsed.length === 1 ? file : `${file}, document ${index + 1}`;
    const [error] = document.errors;
    if (error !== undefined) {
      problems.push(`${source}: ${(error.message.split("\n")[0] ?? "").replace(/:$/, "")}`);
      return [];
    }
    let value: unknown;
    try {
      value = document.toJS();
    } catch (failure) {
      problems.push(`${source}: ${messageOf(failure)}`);
      return [];
    }
    // An empty document, such as what stands before the first `---`.
    if (value === null || value === undefined) return [];
    const found = readTenant(value, source);
    if (isDocument(found)) return [found];
    problems.push(...found);
    return [];
  });
}

const FLAT_KEYS = ["name", "compute_provider", "compute_config", "labels", "annotations"];
const KIND_KEYS = ["apiVersion", "kind", "metadata", "spec"];
const METADATA_KEYS = ["name", "labels", "annotations"];
const SPEC_KEYS = ["compute_provider", "compute_config"];

export function isDocument(found: TenantDocument | readonly string[]): found is TenantDocument {
  return !Array.isArray(found);
}

/** The tenant of one document, or what is wrong with it, one line for each problem. */
export function readTenant(value: unknown, source: string): TenantDocument | string[] {
  const problems: string[] = [];
  const say = (what: string): void => void problems.push(`${source}: ${what}`);
  if (!isJsonObject(value)) return [`${source}: must be an object with name and compute_config`];
  const flat = "kind" in value || "metadata" in value ? flattened(value, say) : value;
  if (flat === value) unknownKeys(value, FLAT_KEYS, "", say);
  const { name, compute_provider: provider, compute_config: config } = flat;
  if (typeof name !== "string" || !TENANT_NAME.test(name))
    say(name === undefined ? "name is missing" : `name ${shown(name)} must be 1 to 255 of a-z, 0-9 and -`);
  if (!isJsonObject(config))
    say(config === undefined ? "compute_config is missing" : "compute_config must be an object");
  if (provider !== undefined && typeof provider !== "string") say("compute_provider must be text");
  for (const key of ["labels", "annotations"] as const) checkTexts(flat[key], key, say);
  if (problems.length > 0) return problems;
  const { name: _, ...body } = flat;
  return { name: name as string, body: body as unknown as ApplyTenant, source };
}

function flattened(value: JsonObject, say: (what: string) => void): JsonObject {
  unknownKeys(value, KIND_KEYS, "", say);
  if (value["kind"] !== "Tenant") say(`kind ${shown(value["kind"])} must be Tenant`);
  const { metadata, spec } = value;
  if (!isJsonObject(metadata) || !isJsonObject(spec)) {
    say("metadata and spec must be objects");
    return {};
  }
  unknownKeys(metadata, METADATA_KEYS, "metadata.", say);
  unknownKeys(spec, SPEC_KEYS, "spec.", say);
  return { ...metadata, ...spec };
}

function unknownKeys(
  value: JsonObject,
  known: readonly string[],
  prefix: string,
  say: (what: string) => void,
): void {
  for (const key of Object.keys(value).filter((each) => !known.includes(each))) {
    const meant = closest(key, known);
    const hint = meant === null ? `known are ${known.join(", ")}` : `did you mean ${prefix}${meant}?`;
    say(`${prefix}${key} is unknown; ${hint}`);
  }
}

function checkTexts(value: unknown, key: string, say: (what: string) => void): void {
  if (value === undefined) return;
  if (!isJsonObject(value)) return say(`${key} must be an object of texts`);
  for (const [name, text] of Object.entries(value))
    if (typeof text !== "string") say(`${key}.${name} is ${shown(text)}: put it in quotes, it must be text`);
}

function shown(value: unknown): string {
  return JSON.stringify(value) ?? "nothing";
}
