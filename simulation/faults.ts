/** Lets the planned faults happen, and counts those that met something. */
import type { CallFault, Conditions } from "./parties.ts";
import { isCallFault, type CountedKind, type Fault } from "./plan.ts";
import type { Scheduler } from "./scheduler.ts";
import type { Trace } from "./trace.ts";

/** What faults can do to the rest. */
export interface Victims {
  /** Ends the party's life; it lives again `restartMs` later. False when it is down already. */
  crash(party: string, restartMs: number): boolean;
  freeze(party: string, durationMs: number): boolean;
  setEngineDown(isDown: boolean): void;
  wipeEngine(): void;
  restoreDatabase(ageMs: number): boolean;
  /** Changes some compute from outside; false when there is none to change. */
  disturbCompute(kind: DriftKind): boolean;
  isUp(party: string): boolean;
}

export type DriftKind = Extract<Fault["kind"], `compute_${string}`>;

export interface ClockOffsets {
  databaseMs: number;
  readonly workersMs: Map<string, number>;
}

export interface FaultBoard extends Conditions {
  readonly clocks: ClockOffsets;
  readonly counts: Map<CountedKind, number>;
  count(kind: CountedKind): void;
  /** A one-time fault of this kind that waits for this party; asking takes it. */
  take(kind: Fault["kind"], party: string): Fault | null;
  /** One of this kind lasts at the moment. */
  lasts(kind: Fault["kind"]): boolean;
  /** Ends everything that lasts, and takes back what still waits. */
  mend(): void;
}

/** Parties of one kind are met by faults of that kind: `server` meets `server-2`. */
function matches(pattern: string, party: string): boolean {
  return party === pattern || party.startsWith(`${pattern}-`);
}

/** Nobody in particular, a party, a kind of party, or one of its calls: `engine.invoke`. */
function isAimedAt(pattern: string, to: string, name: string): boolean {
  if (pattern === "") return true;
  const [party = "", call] = pattern.split(".");
  return matches(party, to) && (call === undefined || call === name);
}

const RESTART_MS = 500;

export function createFaults(
  faults: readonly Fault[],
  scheduler: Scheduler,
  victims: () => Victims,
  trace: Trace,
): FaultBoard {
  const counts = new Map<CountedKind, number>();
  const clocks: ClockOffsets = { databaseMs: 0, workersMs: new Map() };
  let waiting: Fault[] = [];
  const lasting = new Set<Fault>();
  let isMended = false;
  let isDatabaseDown = false;

  const count = (kind: CountedKind): void => void counts.set(kind, (counts.get(kind) ?? 0) + 1);

  function last(fault: Fault, onEnd: () => void = () => undefined): void {
    lasting.add(fault);
    scheduler.after(fault.durationMs, 0, () => {
      if (lasting.delete(fault)) onEnd();
    });
  }

  function happen(fault: Fault): void {
    if (isMended) return;
    trace(
      "faults",
      () => `${fault.id} ${fault.kind} ${fault.party} ${fault.other} ${Math.round(fault.durationMs)} ms`,
    );
    switch (fault.kind) {
      case "crash":
        if (victims().crash(fault.party, fault.durationMs)) count("crash");
        return;
      case "freeze":
        if (victims().freeze(fault.party, fault.durationMs)) count("freeze");
        return;
      case "engine_outage":
        count("engine_outage");
        victims().setEngineDown(true);
        last(fault, () => victims().setEngineDown(lastsNow("engine_outage")));
        return;
      case "database_outage":
        count("database_outage");
        isDatabaseDown = true;
        last(fault, () => (isDatabaseDown = lastsNow("database_outage")));
        return;
      case "partition":
        count("partition");
        last(fault);
        return;
      case "slow_compute":
      case "failing_compute":
      case "rejecting_compute":
        // Counted when it hits somebody.
        last(fault);
        return;
      case "worker_clock_jump":
        count("worker_clock_jump");
        clocks.workersMs.set(fault.party, fault.durationMs);
        return;
      case "database_clock_jump":
        count("database_clock_jump");
        clocks.databaseMs += fault.durationMs;
        return;
      case "engine_wiped":
        count("engine_wiped");
        victims().wipeEngine();
        return;
      case "database_restored":
        if (victims().restoreDatabase(fault.durationMs)) count("database_restored");
        return;
      case "compute_lost":
      case "compute_exited":
      case "compute_broken":
      case "compute_changed":
      case "compute_strayed":
        if (victims().disturbCompute(fault.kind)) count(fault.kind);
        return;
      default:
        waiting.push(fault);
    }
  }

  const lastsNow = (kind: Fault["kind"]): boolean => [...lasting].some((fault) => fault.kind === kind);

  for (const fault of faults) scheduler.plan(fault.atMs, () => happen(fault));

  function take(found: (fault: Fault) => boolean): Fault | null {
    const index = waiting.findIndex(found);
    if (index < 0) return null;
    const [fault] = waiting.splice(index, 1);
    if (fault === undefined) return null;
    count(fault.kind);
    return fault;
  }

  return {
    clocks,
    counts,
    count,
    take: (kind, party) => take((fault) => fault.kind === kind && matches(fault.party, party)),
    lasts: lastsNow,
    faultFor(from, to, name): CallFault | null {
      if (waiting.length === 0) return null;
      const fault = take(
        (each) => isCallFault(each) && matches(each.party, from) && isAimedAt(each.other, to, name),
      );
      return fault !== null && isCallFault(fault) ? { kind: fault.kind, delayMs: fault.durationMs } : null;
    },
    crash: (party) => void victims().crash(party, RESTART_MS),
    isReachable(from, to) {
      if ((from === "database" || to === "database") && isDatabaseDown) return false;
      if (!victims().isUp(to)) return false;
      for (const fault of lasting) {
        if (fault.kind !== "partition") continue;
        if (matches(fault.party, from) && matches(fault.other, to)) return false;
        if (matches(fault.party, to) && matches(fault.other, from)) return false;
      }
      return true;
    },
    mend() {
      isMended = true;
      waiting = [];
      lasting.clear();
      isDatabaseDown = false;
      victims().setEngineDown(false);
      clocks.workersMs.clear();
    },
  };
}
