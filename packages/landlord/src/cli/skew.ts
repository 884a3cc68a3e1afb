/** How far another clock may be off. */
import type { Finding } from "./context.ts";

const WARNING_MS = 5_000;
const PROBLEM_MS = 30_000;

/** What it means that another clock is ahead of this machine's by so much; behind, when negative. */
export function skewFinding(check: string, skewMs: number): Finding {
  const amount = Math.abs(skewMs);
  if (amount < WARNING_MS) return { check, status: "ok", message: "agrees with this machine's" };
  const side = skewMs > 0 ? "ahead of" : "behind";
  return {
    check,
    status: amount < PROBLEM_MS ? "warning" : "problem",
    message: `is ${(amount / 1_000).toFixed(0)} s ${side} this machine's`,
    mend: "let both machines keep their time by NTP",
  };
}
