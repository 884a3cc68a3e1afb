/** What a benchmark reports: a figure next to its raw limit, with the interval in which the truth lies, and a goal. */

export interface Figure {
  readonly id: string;
  /** Landlord's median over the rounds. */
  readonly value: number;
  readonly unit: string;
  /** Median of the raw limit in the same rounds; null where there is none. */
  readonly raw: number | null;
  /** Median of the rounds' ratios, value to raw; null where there is no raw limit. */
  readonly ratio: number | null;
  readonly goal: string;
  /** The whole interval lies inside the goal. */
  readonly met: boolean;
  /** 95 % interval of the ratio; of the value where there is no raw limit. */
  readonly spread: readonly [number, number];
  /** Why the figure flatters or says little. */
  readonly warning?: string;
  /** What else was seen in the same rounds, by name with the unit last: `cpu_server_ms_per_tenant`. */
  readonly details?: Readonly<Record<string, number>>;
}

export interface Goal {
  readonly kind: "at-most" | "at-least";
  readonly bound: number;
}

export interface Round {
  readonly landlord: number;
  readonly raw: number;
}

/** A raw figure of the reference machine; a raw limit that is a fifth worse flatters whatever is compared with it. */
export interface Reference {
  readonly raw: number;
  readonly isLessBetter: boolean;
}

interface FigureSettings {
  readonly id: string;
  readonly unit: string;
  readonly goal: Goal;
  readonly reference?: Reference;
  readonly warning?: string;
  readonly details?: Readonly<Record<string, number>>;
}

const REFERENCE_TOLERANCE = 0.2;

/** From rounds in which Landlord and its raw limit were measured in turn. */
export function pairedFigure(settings: FigureSettings, rounds: readonly Round[]): Figure {
  const ratios = rounds.map(({ landlord, raw }) => landlord / raw);
  const raw = median(rounds.map((round) => round.raw));
  const spread = medianInterval(ratios);
  const warning = settings.warning ?? slowRaw(raw, settings);
  return {
    id: settings.id,
    value: median(rounds.map(({ landlord }) => landlord)),
    unit: settings.unit,
    raw,
    ratio: median(ratios),
    goal: `${settings.goal.kind === "at-most" ? "<=" : ">="} ${settings.goal.bound} x raw`,
    met: isInside(spread, settings.goal),
    spread,
    ...(warning === null ? {} : { warning }),
    ...(settings.details === undefined ? {} : { details: settings.details }),
  };
}

/** From rounds of something that has no raw limit. */
export function plainFigure(settings: FigureSettings, values: readonly number[]): Figure {
  const spread = medianInterval(values);
  return {
    id: settings.id,
    value: median(values),
    unit: settings.unit,
    raw: null,
    ratio: null,
    goal: `${settings.goal.kind === "at-most" ? "<=" : ">="} ${settings.goal.bound} ${settings.unit}`,
    met: isInside(spread, settings.goal),
    spread,
    ...(settings.warning === undefined ? {} : { warning: settings.warning }),
    ...(settings.details === undefined ? {} : { details: settings.details }),
  };
}

function isInside([low, high]: readonly [number, number], { kind, bound }: Goal): boolean {
  return kind === "at-most" ? high <= bound : low >= bound;
}

function slowRaw(raw: number, { reference, unit }: FigureSettings): string | null {
  if (reference === undefined) return null;
  const isSlow = reference.isLessBetter
    ? raw > reference.raw * (1 + REFERENCE_TOLERANCE)
    : raw < reference.raw * (1 - REFERENCE_TOLERANCE);
  return isSlow
    ? `the raw limit is more than a fifth worse than the ${reference.raw} ${unit} of the reference machine`
    : null;
}

export function median(values: readonly number[]): number {
  const sorted = ascending(values);
  const middle = sorted.length / 2;
  if (sorted.length === 0) return Number.NaN;
  return Number.isInteger(middle)
    ? ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2
    : (sorted[Math.floor(middle)] as number);
}

/** @param q from 0 to 1; 0.99 of 100 samples is the highest but one */
export function quantile(values: readonly number[], q: number): number {
  const sorted = ascending(values);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(sorted.length * q) - 1))] ?? Number.NaN;
}

/**
 * The narrowest pair of samples, as far from either end, between which the median lies with a probability of 95 %,
 * whatever the distribution (the sign test's interval). With fewer than six samples no pair does: then it is all of them.
 */
export function medianInterval(values: readonly number[]): readonly [number, number] {
  const sorted = ascending(values);
  const count = sorted.length;
  let outside = 0;
  let rank = 0;
  for (let below = 0; below < count / 2; below++) {
    outside += 2 * binomial(count, below) * 0.5 ** count;
    if (outside > 0.05) break;
    rank = below + 1;
  }
  const first = Math.max(0, rank - 1);
  return [sorted[first] ?? Number.NaN, sorted[count - 1 - first] ?? Number.NaN];
}

function binomial(n: number, k: number): number {
  let result = 1;
  for (let index = 1; index <= k; index++) result *= (n - k + index) / index;
  return result;
}

function ascending(values: readonly number[]): number[] {
  return [...values].sort((one, other) => one - other);
}
