/** Counts tenants' processes by asking the kernel, never Landlord. */
import { readdirSync, readFileSync } from "node:fs";

export interface Census {
  /** Leaders of live sessions by tenant id: one for each set of serving processes. */
  readonly leaders: ReadonlyMap<string, readonly number[]>;
}

/** Every live process that was started for a tenant of one of these ids. */
export function takeCensus(tenantIds: ReadonlySet<string>): Census {
  const leaders = new Map<string, number[]>();
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const environment = readFileSync(`/proc/${entry}/environ`, "latin1");
      const tenantId = /(?:^|\0)LANDLORD_TENANT_ID=([^\0]*)/.exec(environment)?.[1];
      if (tenantId === undefined || !tenantIds.has(tenantId)) continue;
      const stat = readFileSync(`/proc/${entry}/stat`, "latin1");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      const [state, , , session] = fields;
      if (state === "Z" || state === "X" || session !== entry) continue;
      leaders.set(tenantId, [...(leaders.get(tenantId) ?? []), Number(entry)]);
    } catch {
      // It ended while we looked.
    }
  }
  return { leaders };
}

/** Looks again and again while a test runs, and remembers every tenant that had two sets of processes at once. */
export function watchForDoubles(tenantIds: ReadonlySet<string>): { stop(): readonly string[] } {
  const doubles = new Set<string>();
  const timer = setInterval(() => {
    for (const [tenantId, pids] of takeCensus(tenantIds).leaders) {
      if (pids.length > 1) doubles.add(`${tenantId}: ${pids.join(", ")}`);
    }
  }, 25);
  return {
    stop() {
      clearInterval(timer);
      return [...doubles];
    },
  };
}

export function isAlivePid(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
