/** How a server shares its passes among the lanes, and when another claim is worth a statement. */
import { LANE_NAMES, type Lane } from "../domain/tenant.ts";
import type { Claim, ClaimLimits } from "../store/store.ts";

export interface LaneSlots {
  enter(lane: Lane): void;
  leave(lane: Lane): void;
  /** How many tenants of each lane to claim now. Together at most two more than are free. */
  limits(): ClaimLimits;
  /** What a claim with these limits brought: a lane that was filled may have more. */
  claimed(claims: readonly Claim[], limits: ClaimLimits): void;
  /** There may be more of a lane, and room for half of what it may have: a single slot is not worth a statement. */
  isClaimWorthwhile(): boolean;
}

/** While somebody waits, and so long after, the other lanes leave him the processors, too. */
const RECENT_MS = 10_000;
const SHARE = 4;
const SHARE_WHILE_SOMEBODY_WAITS = 16;

/**
 * Work that nobody waits for has a quarter of the passes in each of its lanes, so that it can never fill a server, and a
 * sixteenth while there is interactive work; but at least one, also where that is more than is free.
 *
 * @param workers passes at once, at least 1
 * @param monotonicMs a clock that never jumps
 */
export function createLaneSlots(workers: number, monotonicMs: () => number): LaneSlots {
  const running: Record<Lane, number> = { interactive: 0, repair: 0, background: 0 };
  let interactiveAtMs = Number.NEGATIVE_INFINITY;
  const most = (lane: Lane): number => {
    if (lane === "interactive") return workers;
    const isAwaited = monotonicMs() - interactiveAtMs < RECENT_MS;
    return Math.max(1, Math.floor(workers / (isAwaited ? SHARE_WHILE_SOMEBODY_WAITS : SHARE)));
  };
  const free = (): number => workers - running.interactive - running.repair - running.background;
  const rest = (lane: Lane): number => (lane === "interactive" ? free() : most(lane) - running[lane]);
  const backlog = new Set<Lane>();

  return {
    enter(lane) {
      running[lane] += 1;
      if (lane === "interactive") interactiveAtMs = monotonicMs();
    },
    leave: (lane) => void (running[lane] -= 1),
    limits() {
      const share = (lane: Lane): number =>
        Math.max(0, Math.min(rest(lane), Math.max(1, Math.floor(free() / 4))));
      const [repair, background] = [share("repair"), share("background")];
      return { interactive: Math.max(1, free() - repair - background), repair, background };
    },
    claimed(claims, limits) {
      for (const lane of LANE_NAMES) {
        const taken = claims.filter((claim) => claim.lane === lane).length;
        if (taken < limits[lane]) backlog.delete(lane);
        else if (taken > 0) backlog.add(lane);
      }
    },
    isClaimWorthwhile: () =>
      [...backlog].some((lane) => rest(lane) >= Math.max(1, Math.floor(most(lane) / 2))),
  };
}
