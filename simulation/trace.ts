/** What happened, one line each: virtual time, party, event. Lines are only made when somebody keeps them. */

export type Trace = (party: string, line: () => string) => void;

export interface TraceLog {
  readonly trace: Trace;
  /** The newest lines. */
  lines(): readonly string[];
}

const LINES_LIMIT = 200_000;

/** @param keep false: nothing is kept and no line is made */
export function createTrace(keep: boolean, nowMs: () => number): TraceLog {
  const lines: string[] = [];
  return {
    trace(party, line) {
      if (!keep || lines.length >= LINES_LIMIT) return;
      lines.push(`${(nowMs() / 1_000).toFixed(3).padStart(9)} ${party.padEnd(9)} ${line()}`);
    },
    lines: () => lines,
  };
}

/** The line that says that faults and requests are over. */
export const MENDED = "everything is mended";
