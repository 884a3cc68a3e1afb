/** Counts tenants' processes by asking the kernel, never Landlord. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** A live set of processes: the leader of its session, and whose it is by its environment and its folder. */
export interface LivingTenant {
  readonly pid: number;
  readonly tenantId: string;
  readonly instanceId: string | null;
  readonly generation: number;
}

/** Every set of processes on this machine that was started for some tenant. */
export function livingTenants(): readonly LivingTenant[] {
  const found: LivingTenant[] = [];
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const environment = readFileSync(`/proc/${entry}/environ`, "latin1");
      const valueOf = (name: string): string | undefined =>
        new RegExp(`(?:^|\0)${name}=([^\0]*)`).exec(environment)?.[1];
      const tenantId = valueOf("LANDLORD_TENANT_ID");
      if (tenantId === undefined) continue;
      const stat = readFileSync(`/proc/${entry}/stat`, "latin1");
      const [state, , , session] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      if (state === "Z" || state === "X" || session !== entry) continue;
      const instanceId = /\/instances\/([^/]+)\//.exec(readlinkSync(`/proc/${entry}/cwd`))?.[1] ?? null;
      found.push({
        pid: Number(entry),
        tenantId,
        instanceId,
        generation: Number(valueOf("LANDLORD_GENERATION")),
      });
    } catch {
      // It ended while we looked.
    }
  }
  return found;
}

export interface Census {
  /** Leaders of live sessions by tenant id: one for each set of serving processes. */
  readonly leaders: ReadonlyMap<string, readonly number[]>;
}

/** Every set of processes that was started for a tenant of one of these ids. */
export function takeCensus(tenantIds: ReadonlySet<string>): Census {
  return { leaders: leadersOf(({ tenantId }) => tenantIds.has(tenantId)) };
}

function leadersOf(isCounted: (living: LivingTenant) => boolean): ReadonlyMap<string, readonly number[]> {
  const leaders = new Map<string, number[]>();
  for (const living of livingTenants().filter(isCounted)) {
    leaders.set(living.tenantId, [...(leaders.get(living.tenantId) ?? []), living.pid]);
  }
  return leaders;
}

/** Looks again and again while a test runs, and remembers every tenant that had two sets of processes at once. */
export function watchForDoubles(tenantIds: ReadonlySet<string>): { stop(): readonly string[] } {
  return watchDoubles(({ tenantId }) => tenantIds.has(tenantId), 25);
}

/** The same for every tenant of an installation. One look costs some milliseconds, so a long watch looks less often. */
export function watchInstanceForDoubles(instanceId: string, everyMs: number): { stop(): readonly string[] } {
  return watchDoubles((each) => each.instanceId === instanceId, everyMs);
}

function watchDoubles(
  isWatched: (living: LivingTenant) => boolean,
  everyMs: number,
): { stop(): readonly string[] } {
  const doubles = new Set<string>();
  const timer = setInterval(() => {
    for (const [tenantId, pids] of leadersOf(isWatched)) {
      if (pids.length > 1) doubles.add(`${tenantId}: ${pids.join(", ")}`);
    }
  }, everyMs);
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
