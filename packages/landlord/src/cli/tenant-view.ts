import type { Tenant } from "@landlord/client";
import { ageOf, paint, printable, toTable, toYaml, type Output } from "./output.ts";

const COLUMNS = ["NAME", "STATUS", "GENERATION", "PROVIDER", "ENDPOINT", "AGE", "MESSAGE"];
const WIDE_COLUMNS = [
  "ID",
  "NAME",
  "STATUS",
  "GENERATION",
  "PROVIDER",
  "ENDPOINTS",
  "AGE",
  "LABELS",
  "MESSAGE",
];

export interface TenantTableOptions {
  readonly colour: boolean;
  /** Also ids, labels and every endpoint, whatever the width. */
  readonly wide?: boolean;
}

/** One line for each tenant. GENERATION is observed/desired. */
export function tenantTable(
  tenants: readonly Tenant[],
  output: Output,
  { colour, wide = false }: TenantTableOptions,
): string {
  const now = Date.now();
  const rows = tenants.map((tenant) => {
    const [first, ...more] = tenant.endpoints.map(({ url }) => url);
    const endpoints = wide ? [first, ...more].join(" ") : first;
    const labels = Object.entries(tenant.labels).map(([key, value]) => `${key}=${value}`);
    return [
      ...(wide ? [tenant.id] : []),
      tenant.name,
      tenant.status,
      `${tenant.observed_generation}/${tenant.generation}`,
      tenant.compute_provider || "-",
      endpoints || "-",
      ageOf(tenant.created_at, now),
      ...(wide ? [labels.join(",") || "-"] : []),
      messageOf(tenant),
    ];
  });
  return toTable(wide ? WIDE_COLUMNS : COLUMNS, rows, {
    width: wide ? undefined : output.columns,
    paint: (column, cell) => (column === "STATUS" ? paintStatus(cell, colour) : cell),
  });
}

function messageOf(tenant: Tenant): string {
  const message = tenant.workflow_error_message || tenant.status_message || "";
  if (!tenant.paused) return message;
  return message === "" ? "paused" : `paused; ${message}`;
}

export function paintStatus(cell: string, colour: boolean): string {
  const status = cell.trimEnd();
  if (status === "ready") return paint(cell, "green", colour);
  if (status === "failed") return paint(cell, "red", colour);
  return paint(cell, status === "archived" ? "dim" : "yellow", colour);
}

/** Everything about one tenant, for people. */
export function tenantDetails(tenant: Tenant, colour: boolean): string {
  const facts: [string, string | null | undefined][] = [
    ["Name", tenant.name],
    ["ID", tenant.id],
    ["Status", paintStatus(printable(tenant.status), colour)],
    ["Message", tenant.status_message],
    ["Generation", `${tenant.generation} (observed ${tenant.observed_generation})`],
    ["Provider", tenant.compute_provider],
    ["Endpoints", tenant.endpoints?.map((endpoint) => `${endpoint.name} ${endpoint.url}`).join(", ")],
    ["Workflow", tenant.workflow_sub_state],
    ["Retries", tenant.workflow_retry_count ? String(tenant.workflow_retry_count) : null],
    ["Error", tenant.workflow_error_message],
    ["Execution", tenant.workflow_execution_id],
    ["Paused", tenant.paused ? "yes" : null],
    ["Created", tenant.created_at],
    ["Updated", tenant.updated_at],
  ];
  const lines = facts
    .filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([name, value]) => `${`${name}:`.padEnd(12)}${name === "Status" ? value : printable(value ?? "")}`);
  const blocks = [
    block("Labels", tenant.labels),
    block("Annotations", tenant.annotations),
    block("Resources", tenant.observed_resource_ids),
    block("Config", tenant.compute_config),
  ];
  return `${[...lines, ...conditionLines(tenant), ...blocks.filter((text) => text !== "")].join("\n")}\n`;
}

function conditionLines(tenant: Tenant): string[] {
  const lines = (tenant.conditions ?? []).map((condition) =>
    printable(`  ${condition.type}=${condition.status} ${condition.reason} ${condition.message}`.trimEnd()),
  );
  return lines.length === 0 ? [] : ["Conditions:", ...lines];
}

function block(name: string, value: Readonly<Record<string, unknown>> | null | undefined): string {
  if (value === null || value === undefined || Object.keys(value).length === 0) return "";
  return `${name}:\n${toYaml(value).trimEnd().replace(/^/gm, "  ")}`;
}
