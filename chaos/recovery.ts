/**
 * How long the fleet needed after each fault, by the ledger and in the database's time. Other faults go on meanwhile,
 * so these are the figures of a fleet under fire, not of one that is left alone.
 */
import type { SqlClient } from "../packages/landlord/test/support/sql.ts";
import type { Fault } from "./faults.ts";

export interface Quantiles {
  readonly count: number;
  readonly p50_ms: number;
  readonly p99_ms: number;
  readonly max_ms: number;
}

export interface Recovery {
  /** From the end of a fault to the first operation that succeeds after it. */
  readonly first_success: Quantiles;
  /** From the end of a fault until every operation that it found unfinished has finished. */
  readonly affected_finished: Quantiles;
  /** Faults of which one or the other could be measured. */
  readonly recoveries: number;
  /** The faults after which the first success took longest. */
  readonly slowest: readonly {
    readonly fault: string;
    readonly ended_at: string;
    readonly first_success_ms: number;
  }[];
}

const SLOWEST = 5;

export async function measureRecovery(sql: SqlClient, faults: readonly Fault[]): Promise<Recovery> {
  const ends = faults.map(({ endedAt }) => endedAt);
  const rows = await sql.query<{ first_ms: number | null; affected_ms: number | null }>(
    `SELECT extract(epoch FROM (SELECT min(finished_at) FROM operations
                                WHERE outcome = 'succeeded' AND finished_at > f.at) - f.at)::float8 * 1000 AS first_ms,
            extract(epoch FROM (SELECT max(finished_at) FROM operations
                                WHERE created_at <= f.at AND finished_at > f.at) - f.at)::float8 * 1000 AS affected_ms
     FROM unnest($1::timestamptz[]) AS f(at)`,
    [ends],
  );
  return {
    first_success: quantilesOf(rows.map((row) => row.first_ms)),
    affected_finished: quantilesOf(rows.map((row) => row.affected_ms)),
    recoveries: rows.filter((row) => row.first_ms !== null || row.affected_ms !== null).length,
    slowest: rows
      .flatMap(({ first_ms: firstMs }, index) => {
        const fault = faults[index];
        return fault === undefined || firstMs === null ? [] : [{ fault, firstMs }];
      })
      .toSorted((one, other) => other.firstMs - one.firstMs)
      .slice(0, SLOWEST)
      .map(({ fault: { kind, target, detail, endedAt }, firstMs }) => ({
        fault: `${kind} ${target}: ${detail}`,
        ended_at: endedAt.toISOString(),
        first_success_ms: Math.round(firstMs),
      })),
  };
}

function quantilesOf(values: readonly (number | null)[]): Quantiles {
  const sorted = values.filter((value) => value !== null).sort((one, other) => one - other);
  const at = (share: number): number =>
    Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0);
  return { count: sorted.length, p50_ms: at(0.5), p99_ms: at(0.99), max_ms: at(1) };
}
