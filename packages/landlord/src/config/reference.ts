/** The reference page of the configuration, made from the schema. */
import type { z } from "zod";
import { formatDuration } from "./duration.ts";
import { variableOf } from "./environment.ts";
import { DROPPED_KEYS, KEY_ALIASES } from "./moved-keys.ts";
import { configSchema, type ComputeSchemas } from "./schema.ts";
import { defaultOf, descriptionOf, isDuration, isRequired, shapeOf, typeNameOf } from "./schema-walk.ts";

const INTRODUCTION = `# Configuration

Sources, later wins: defaults, one YAML file, \`LANDLORD_*\` environment variables, command line flags. All problems
are reported together, with the place where each was found; unknown keys are refused.
\`landlord config print\` shows what is in force and where each value came from.

**File**: \`--config-file\`, else \`LANDLORD_CONFIG\`, else the first that exists of \`./landlord.yaml\`,
\`/etc/landlord/landlord.yaml\`, \`$XDG_CONFIG_HOME/landlord/landlord.yaml\` (\`~/.config\` without that variable).

**Environment**: the key in upper case with \`__\` between its parts, so \`http.port\` is \`LANDLORD_HTTP__PORT\`. Lists
and sections are JSON or YAML; so are maps whose keys have capital letters. An empty variable counts as not set. An unknown \`LANDLORD_*\` variable is refused,
except those that Kubernetes adds for a service named \`landlord\`. Variables without the prefix (\`DB_HOST\`,
\`HTTP_PORT\`, \`LOG_LEVEL\`) are ignored: they may belong to other programs. \`LANDLORD_API_URL\` and
\`LANDLORD_API_TOKEN\` belong to the command line client.

**Durations** are written like \`500ms\`, \`10s\`, \`5m\` or \`1h30m\`.

A worker never reads the \`database\` section, neither from the file nor from the environment.
`;

/** The page as Markdown; ends in a newline. */
export function renderConfigurationReference(options: { readonly computeSchemas: ComputeSchemas }): string {
  const schema = configSchema(options.computeSchemas, { withDatabase: true });
  return [INTRODUCTION, ...sectionsOf("", schema), aliasSection(), droppedSection()].join("\n");
}

function sectionsOf(prefix: string, schema: z.ZodType): string[] {
  const entries = Object.entries(shapeOf(schema) ?? {}).map(([key, child]) => ({
    key: prefix === "" ? key : `${prefix}.${key}`,
    child,
  }));
  const rows = entries
    .filter(({ key, child }) => !isSection(key, child))
    .map(({ key, child }) => row(key, child));
  const sections = entries.filter(({ key, child }) => isSection(key, child));
  const heading = prefix === "" ? "## Top level" : `## ${prefix}\n\n${descriptionOf(schema)}`.trimEnd();
  const table =
    rows.length === 0
      ? ""
      : `\n| key | type | default | description |\n| --- | --- | --- | --- |\n${rows.join("\n")}\n`;
  return [`${heading}\n${table}`, ...sections.flatMap(({ key, child }) => sectionsOf(key, child))];
}

/** An override has the same keys as the block that it stands for; those are listed once. */
function isSection(key: string, schema: z.ZodType): boolean {
  return shapeOf(schema) !== null && key !== "worker.compute_overrides";
}

function row(key: string, schema: z.ZodType): string {
  const type = shapeOf(schema) === null ? typeNameOf(schema) : "map";
  const cells = [
    `\`${key}\`<br>\`${variableOf(key)}\``,
    type,
    defaultText(schema),
    escapeCell(descriptionOf(schema)),
  ];
  return `| ${cells.map((cell) => cell.replaceAll("\n", " ")).join(" | ")} |`;
}

function escapeCell(text: string): string {
  return text.replaceAll("<", "&lt;").replaceAll("|", "\\|");
}

function defaultText(schema: z.ZodType): string {
  const value = defaultOf(schema);
  if (value === undefined) return isRequired(schema) ? "required" : "";
  return `\`${typeof value === "number" && isDuration(schema) ? formatDuration(value) : JSON.stringify(value)}\``;
}

function aliasSection(): string {
  const rows = [...KEY_ALIASES].map(([alias, key]) => `| \`${alias}\` | \`${key}\` |`);
  return `## Older names that still work\n\n| older name | key |\n| --- | --- |\n${rows.join("\n")}\n`;
}

function droppedSection(): string {
  const rows = [...DROPPED_KEYS].map(([key, replacement]) => `| \`${key}\` | ${replacement} |`);
  return `## Older names that are refused\n\n| older name | instead |\n| --- | --- |\n${rows.join("\n")}\n`;
}
