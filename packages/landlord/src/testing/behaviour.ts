/**
 * Conformance, without a test runner: a kit is a list of behaviours, and a harness gives it a provider to try them on.
 * Turn the list into tests of any runner with `conformanceCases`, or into a report with `runConformance`.
 */
import { messageOf } from "../domain/errors.ts";

/** One thing that every provider has to do, and the proof that it does. */
export interface Behaviour<Harness> {
  /** Stable, kebab-case: what a gap is declared by, and a column of the table. */
  readonly id: string;
  /** A sentence that goes on after the provider's name. */
  readonly title: string;
  /** A provider without it may lose, double or strand a tenant: no built-in provider may declare a gap here. */
  readonly essential: boolean;
  /** Throws what is wrong. */
  prove(harness: Harness): Promise<void>;
}

/** What a provider cannot do, by the id of the behaviour, and why. A declared gap is printed, not tried. */
export type Gaps = Readonly<Record<string, string>>;

/** What every harness has. */
export interface ConformanceHarness {
  /** Ends what the harness started, and removes what it left. */
  close(): Promise<void>;
}

export interface ConformanceSubject<Harness extends ConformanceHarness> {
  /** The provider's name in tables and messages. */
  readonly name: string;
  readonly gaps?: Gaps;
  /** Called once for each behaviour: nothing that one does is seen by the next. */
  open(): Promise<Harness>;
}

export interface ConformanceCase {
  readonly provider: string;
  readonly behaviour: string;
  readonly title: string;
  readonly essential: boolean;
  /** Why the provider cannot do it; null when it is tried. */
  readonly gap: string | null;
  /** Rejects with what is wrong; resolves at once for a gap. */
  readonly run: () => Promise<void>;
}

export interface ConformanceResult {
  readonly provider: string;
  readonly behaviour: string;
  readonly verdict: "pass" | "gap" | "FAIL";
  /** Why, for a gap and a failure. */
  readonly reason: string | null;
  readonly durationMs: number;
}

/** A case for each behaviour. Throws when a gap is declared of a behaviour that does not exist. */
export function conformanceCases<Harness extends ConformanceHarness>(
  behaviours: readonly Behaviour<Harness>[],
  subject: ConformanceSubject<Harness>,
): readonly ConformanceCase[] {
  const gaps = subject.gaps ?? {};
  const unknown = Object.keys(gaps).filter((id) => !behaviours.some((behaviour) => behaviour.id === id));
  if (unknown.length > 0) {
    throw new Error(
      `${subject.name} declares gaps of unknown behaviours: ${unknown.join(", ")}. Known are: ${behaviours.map(({ id }) => id).join(", ")}.`,
    );
  }
  return behaviours.map((behaviour) => ({
    provider: subject.name,
    behaviour: behaviour.id,
    title: behaviour.title,
    essential: behaviour.essential,
    gap: gaps[behaviour.id] ?? null,
    run: async () => {
      if (gaps[behaviour.id] !== undefined) return;
      const harness = await subject.open();
      await behaviour.prove(harness).catch(async (error: unknown) => {
        // What closing says of a world in disorder must not hide what put it there.
        await harness.close().catch(() => undefined);
        throw error;
      });
      await harness.close();
    },
  }));
}

/** Runs cases one after the other and never throws. */
export async function runConformance(
  cases: readonly ConformanceCase[],
  onResult: (result: ConformanceResult) => void = () => undefined,
): Promise<readonly ConformanceResult[]> {
  const results: ConformanceResult[] = [];
  for (const each of cases) {
    const startMs = performance.now();
    const failure = await each.run().then(
      () => null,
      (error: unknown) => messageOf(error),
    );
    const result: ConformanceResult = {
      provider: each.provider,
      behaviour: each.behaviour,
      verdict: failure === null ? (each.gap === null ? "pass" : "gap") : "FAIL",
      reason: failure ?? each.gap,
      durationMs: performance.now() - startMs,
    };
    results.push(result);
    onResult(result);
  }
  return results;
}

/** A table of behaviours (rows) by providers (columns), and a line for each gap and each failure. */
export function conformanceTable(results: readonly ConformanceResult[]): string {
  const providers = [...new Set(results.map(({ provider }) => provider))];
  const behaviours = [...new Set(results.map(({ behaviour }) => behaviour))];
  const cellOf = (provider: string, behaviour: string): string =>
    results.find((result) => result.provider === provider && result.behaviour === behaviour)?.verdict ?? "";
  const rows = [
    ["behaviour", ...providers],
    ...behaviours.map((behaviour) => [
      behaviour,
      ...providers.map((provider) => cellOf(provider, behaviour)),
    ]),
  ];
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const lines = rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
  const reasons = results
    .filter(({ verdict }) => verdict !== "pass")
    .map(
      ({ provider, behaviour, verdict, reason }) =>
        `${verdict}: ${provider}, ${behaviour}: ${reason ?? "no reason given"}`,
    );
  return [...lines, ...(reasons.length === 0 ? [] : ["", ...reasons])].join("\n");
}
