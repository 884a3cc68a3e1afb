/** The table for people and the document for programs. */
import { execFileSync } from "node:child_process";
import { cpus, release, totalmem } from "node:os";
import type { Figure } from "./figure.ts";

export interface Report {
  readonly figures: readonly Figure[];
  readonly machine: {
    readonly cpus: number;
    readonly model: string;
    readonly memory_gib: number;
    readonly kernel: string;
  };
  readonly versions: Readonly<Record<string, string>>;
  readonly mode: "quick" | "full";
  readonly took_seconds: number;
}

export function reportOf(
  figures: readonly Figure[],
  settings: { readonly isQuick: boolean; readonly tookMs: number },
): Report {
  return {
    figures,
    machine: {
      cpus: cpus().length,
      model: cpus()[0]?.model ?? "unknown",
      memory_gib: Math.round(totalmem() / 1024 ** 3),
      kernel: release(),
    },
    versions: { node: process.versions.node, landlord: commit() },
    mode: settings.isQuick ? "quick" : "full",
    took_seconds: Math.round(settings.tookMs / 1_000),
  };
}

function commit(): string {
  try {
    return execFileSync("git", ["describe", "--always", "--dirty"], { encoding: "utf8" }).trim();
  } catch {
    return "unknown";
  }
}

export function tableOf(figures: readonly Figure[]): string {
  const rows = figures.map((figure) => [
    figure.id,
    `${short(figure.value)} ${figure.unit}`,
    figure.raw === null ? "–" : `${short(figure.raw)} ${figure.unit}`,
    figure.ratio === null ? "–" : `${short(figure.ratio)} x`,
    figure.spread.map(short).join(" – "),
    figure.goal,
    figure.met ? "met" : "not met",
  ]);
  const table = [["FIGURE", "LANDLORD", "RAW", "RATIO", "95 %", "GOAL", ""], ...rows];
  const widths = (table[0] ?? []).map((_, column) =>
    Math.max(...table.map((row) => row[column]?.length ?? 0)),
  );
  const lines = table.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
  const warnings = figures.flatMap(({ id, warning }) => (warning === undefined ? [] : [`${id}: ${warning}`]));
  return [...lines, ...(warnings.length > 0 ? ["", ...warnings] : [])].join("\n");
}

export function detailsOf(figures: readonly Figure[]): string {
  return figures
    .flatMap(({ id, details }) =>
      details === undefined
        ? []
        : [
            `${id}: ${Object.entries(details)
              .map(([name, value]) => `${name} ${short(value)}`)
              .join(", ")}`,
          ],
    )
    .join("\n");
}

function short(value: number): string {
  if (!Number.isFinite(value)) return "?";
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toFixed(digits);
}
