/** Plans for people: what would happen, field by field. */
import type { Plan } from "@landlord/client";
import { isJsonObject } from "../domain/json.ts";
import { paint, printable } from "./output.ts";

export type Verdict = "create" | "change" | "delete" | "unchanged";

/** What a write means for a tenant. Without a plan it is known only whether there is one. */
export interface Planned {
  readonly name: string;
  readonly verdict: Verdict;
  /** Null when no worker was asked. */
  readonly plan: Plan | null;
}

export function verdictOf(plan: Plan): Verdict {
  if (plan.tenant_id === null) return "create";
  return plan.fields.length === 0 && plan.action === "none" ? "unchanged" : "change";
}

const SIGNS = { create: "+", change: "~", delete: "-", unchanged: " " } as const;
const COLOURS = { create: "green", change: "yellow", delete: "red", unchanged: "dim" } as const;

/** One block for each tenant that changes, and what it comes to. */
export function planText(planned: readonly Planned[], colour: boolean): string {
  const blocks = planned.filter(({ verdict }) => verdict !== "unchanged").map((each) => block(each, colour));
  return [...blocks, `${summaryOf(planned)}\n`].join("\n");
}

/** "2 to create, 1 to change, 3 unchanged". */
function summaryOf(planned: readonly Planned[]): string {
  const count = (verdict: Verdict): number => planned.filter((each) => each.verdict === verdict).length;
  const deleted = count("delete");
  const parts = [`${count("create")} to create`, `${count("change")} to change`];
  if (deleted > 0) parts.push(`${deleted} to delete`);
  return [...parts, `${count("unchanged")} unchanged`].join(", ");
}

function block({ name, verdict, plan }: Planned, colour: boolean): string {
  const head = paint(`${SIGNS[verdict]} ${printable(name)}`, COLOURS[verdict], colour);
  if (plan === null) return `${head}: ${verdict}, not planned\n`;
  const downtime = plan.downtime ? paint("with downtime", "red", colour) : "without downtime";
  const what = plan.action === "none" ? "compute stays as it is" : `compute: ${plan.action}, ${downtime}`;
  const fields = verdict === "delete" ? [] : plan.fields.filter(isWorthShowing(verdict));
  const width = Math.max(0, ...fields.map(({ pointer }) => pointer.length));
  const lines = fields.map(({ pointer, from, to, action }) => {
    const change = from === undefined ? valueText(to) : `${valueText(from)} → ${valueText(to)}`;
    const cause = action === null || action === "none" || verdict === "create" ? "" : `  (${action})`;
    return `    ${printable(`${pointer.padEnd(width)}  ${change}${cause}`)}`;
  });
  const resources = plan.changes
    .filter(({ action }) => action !== "none")
    .map(({ action, resource, downtime: isDown }) =>
      printable(`    ${action} ${resource}${isDown ? ", with downtime" : ""}`),
    );
  return `${[`${head}: ${verdict}, generation ${plan.generation}, ${what}`, ...lines, ...resources].join("\n")}\n`;
}

/** What every new tenant has is no news. */
function isWorthShowing(verdict: Verdict): (field: Plan["fields"][number]) => boolean {
  return ({ pointer, to }) =>
    verdict !== "create" ||
    (pointer !== "/name" && pointer !== "/intent" && !(isJsonObject(to) && Object.keys(to).length === 0));
}

function valueText(value: unknown): string {
  return value === undefined ? "nothing" : JSON.stringify(value);
}

/** The fields that differ, in the manner of `diff -u`. Empty when none does. */
export function diffText({ name, verdict, plan }: Planned, colour: boolean): string {
  if (verdict === "unchanged" || plan === null) return "";
  const isNew = verdict === "create";
  const isGone = verdict === "delete";
  const head = [
    paint(isNew ? "--- /dev/null" : `--- ${printable(name)}\tpresent`, "red", colour),
    paint(
      isGone ? "+++ /dev/null" : `+++ ${printable(name)}\tgeneration ${plan.generation}`,
      "green",
      colour,
    ),
  ];
  const lines = plan.fields.flatMap(({ pointer, from, to }) => [
    `@@ ${printable(pointer)} @@`,
    ...(from === undefined ? [] : [paint(`-${printable(valueText(from))}`, "red", colour)]),
    ...(to === undefined ? [] : [paint(`+${printable(valueText(to))}`, "green", colour)]),
  ]);
  const changes = plan.changes
    .filter(({ action }) => action !== "none")
    .map(({ action, resource }) => printable(`# ${action} ${resource}`));
  return `${[...head, ...lines, ...changes].join("\n")}\n`;
}
