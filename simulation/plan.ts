/** What happens in a run: clients' requests and faults, each with a number, all drawn from the seed before it begins. */
import type { JsonObject } from "../packages/landlord/src/domain/json.ts";
import type { CallFault } from "./parties.ts";
import type { Random } from "./random.ts";

export const FAULT_KINDS = [
  "crash",
  "crash_before",
  "crash_after",
  "freeze",
  "lost_call",
  "lost_answer",
  "delayed_call",
  "delayed_answer",
  "duplicated_call",
  "engine_outage",
  "database_outage",
  "partition",
  "worker_clock_jump",
  "database_clock_jump",
  "slow_compute",
  "failing_compute",
  "rejecting_compute",
  "late_effect",
  "engine_wiped",
  "foreign_result",
  "garbled_result",
  "unproven_result",
  "database_restored",
  "compute_lost",
  "compute_exited",
  "compute_broken",
  "compute_changed",
  "compute_strayed",
] as const;
export type FaultKind = (typeof FAULT_KINDS)[number];

/** Counted as well: what clients do to each other. */
export const COUNTED_KINDS = [...FAULT_KINDS, "version_conflict"] as const;
export type CountedKind = (typeof COUNTED_KINDS)[number];

export interface Fault {
  readonly id: string;
  readonly kind: FaultKind;
  /** From then on it happens, or waits for something that it can happen to. */
  readonly atMs: number;
  /** Whom it happens to; of calls: whose calls. */
  readonly party: string;
  /** Of calls and partitions: the other end. */
  readonly other: string;
  readonly durationMs: number;
}

export const ACTION_KINDS = [
  "create",
  "apply",
  "update",
  "describe",
  "archive",
  "restore",
  "delete",
  "force_delete",
  "pause",
  "resume",
  "retry",
  "rollback",
] as const;
export type ActionKind = (typeof ACTION_KINDS)[number];

export interface Action {
  readonly id: string;
  readonly kind: ActionKind;
  readonly atMs: number;
  readonly tenantName: string;
  readonly config: JsonObject;
  /** The request names the version that the client last read. */
  readonly isConditional: boolean;
}

export interface Plan {
  readonly servers: readonly string[];
  readonly workers: readonly string[];
  /** Compute is on one host that every worker sees, or each worker has its own. */
  readonly isShared: boolean;
  readonly onDeadline: "keep_retrying" | "fail";
  /** Compute that belongs to nobody is removed, and not only reported. */
  readonly removeOrphans: boolean;
  /** The share of executions that the engine shows only a while after it took them. */
  readonly laggingShare: number;
  /** Operations at once. */
  readonly maxInFlight: number;
  readonly actions: readonly Action[];
  readonly faults: readonly Fault[];
}

/** The share of runs in which every worker sees the same host. */
const SHARED_SHARE = 0.7;
/** Clients and faults act until here; then everything is mended. */
export const ACTIVE_MS = 45_000;
/** The longest time that a call may be under way. */
const LONGEST_DELAY_MS = 100_000;
/** No call arrives after this. */
export const LAST_ARRIVAL_MS = ACTIVE_MS + LONGEST_DELAY_MS;

export function drawPlan(random: Random): Plan {
  const names = (kind: string, count: number): readonly string[] =>
    Array.from({ length: count }, (_, index) => `${kind}-${index + 1}`);
  const servers = names("server", 2 + random.int(2));
  const workers = names("worker", 2 + random.int(2));
  return {
    servers,
    workers,
    isShared: random.chance(SHARED_SHARE),
    onDeadline: random.chance(0.3) ? "fail" : "keep_retrying",
    removeOrphans: random.chance(0.5),
    laggingShare: random.chance(0.3) ? 0.5 : 0,
    maxInFlight: random.chance(0.3) ? 2 + random.int(3) : 100,
    actions: drawActions(random.fork("actions")),
    faults: drawFaults(random.fork("faults"), servers, workers),
  };
}

function drawActions(random: Random): readonly Action[] {
  const actions: Omit<Action, "id">[] = [];
  const count = 5 + random.int(3);
  for (let index = 0; index < count; index++) {
    actions.push(...drawLife(random, `tenant-${index + 1}`));
  }
  return actions
    .sort((one, other) => one.atMs - other.atMs)
    .map((action, index) => ({ ...action, id: `a${index}` }));
}

/** A tenant's life: created, changed some times, often removed, sometimes created again under its name. */
function drawLife(random: Random, tenantName: string): readonly Omit<Action, "id">[] {
  const actions: Omit<Action, "id">[] = [];
  let atMs = random.between(0, 6_000);
  const add = (kind: ActionKind): void => {
    actions.push({ kind, atMs, tenantName, config: drawConfig(random), isConditional: random.chance(0.2) });
  };
  const lives = random.chance(0.3) ? 2 : 1;
  for (let life = 1; life <= lives; life++) {
    add("create");
    const changes = random.int(5);
    for (let change = 0; change < changes; change++) {
      // Some changes follow each other closely, some meet a tenant at rest, some come at the same moment.
      atMs += random.pick([
        0,
        random.between(0, 300),
        random.between(300, 3_000),
        random.between(3_000, 9_000),
      ]);
      add(
        random.pick([
          ...(["update", "update", "update", "update", "apply", "describe"] as const),
          ...(["pause", "retry", "retry", "rollback"] as const),
        ]),
      );
      if (actions.at(-1)?.kind === "pause") {
        atMs += random.between(500, 6_000);
        add("resume");
      }
    }
    atMs += random.pick([random.between(0, 1_000), random.between(1_000, 12_000)]);
    if (life < lives || random.chance(0.4)) {
      if (random.chance(0.2)) add("archive");
      add(random.chance(0.25) ? "force_delete" : "delete");
    } else if (random.chance(0.45)) {
      add("archive");
      if (random.chance(0.5)) {
        atMs += random.pick([random.between(0, 1_000), random.between(1_000, 8_000)]);
        add("restore");
      }
    } else if (random.chance(0.5)) add("update");
    atMs += random.between(0, 10_000);
  }
  return actions.map((action) => ({ ...action, atMs: Math.min(action.atMs, ACTIVE_MS) }));
}

/** Mostly fine; sometimes compute rejects it, is busy with it, or never becomes healthy. */
function drawConfig(random: Random): JsonObject {
  const size = 1 + random.int(4);
  const luck = random.next();
  if (luck < 0.05) return { size, fail: "terminal" };
  if (luck < 0.08) return { size, fail: "retryable" };
  if (luck < 0.14) return { size, unhealthy: true, health_check: { deadline_seconds: 1 + random.int(4) } };
  return { size };
}

type Draw = (
  random: Random,
  servers: readonly string[],
  workers: readonly string[],
) => Omit<Fault, "id" | "atMs" | "kind">;

const CALLERS = ["server", "server", "worker", "client", "engine"] as const;
const CALLED: Readonly<Record<(typeof CALLERS)[number], readonly string[]>> = {
  server: ["database", "database.commit", "engine", "engine.invoke", "engine.invoke", "engine.stop"],
  worker: ["engine", "engine.complete", "host", "host.launch"],
  client: ["server"],
  engine: ["worker"],
};

const ofCalls =
  (lowMs: number, highMs: number): Draw =>
  (random) => {
    const party = random.pick(CALLERS);
    return { party, other: random.pick(CALLED[party]), durationMs: random.between(lowMs, highMs) };
  };
const WORKERS_DELAY_MS = 15_000;
/** A moment, longer than most timeouts, longer than anything is remembered. */
const DELAYS_MS = [
  [0, 3_000],
  [2_000, 20_000],
  [40_000, LONGEST_DELAY_MS],
] as const;
/** What workers do and are told is never later than fences are kept: the engine's and the hosts' connections see to it. */
const ofLateCalls: Draw = (random, servers, workers) => {
  const [lowMs, highMs] = random.pick(DELAYS_MS);
  const drawn = ofCalls(lowMs, highMs)(random, servers, workers);
  const isBounded = drawn.party === "worker" || drawn.party === "engine";
  return isBounded ? { ...drawn, durationMs: Math.min(drawn.durationMs, WORKERS_DELAY_MS) } : drawn;
};
const ofSomebody =
  (lowMs: number, highMs: number): Draw =>
  (random, servers, workers) => ({
    party: random.pick([...servers, ...workers]),
    other: "",
    durationMs: random.between(lowMs, highMs),
  });
const ofAll =
  (lowMs: number, highMs: number): Draw =>
  (random) => ({ party: "", other: "", durationMs: random.between(lowMs, highMs) });
const ofWorker =
  (lowMs: number, highMs: number): Draw =>
  (random, _servers, workers) => ({
    party: random.pick(workers),
    other: "",
    durationMs: random.between(lowMs, highMs),
  });

const DRAWS: Readonly<Record<FaultKind, { readonly weight: number; readonly draw: Draw }>> = {
  crash: { weight: 4, draw: ofSomebody(50, 12_000) },
  crash_before: { weight: 3, draw: ofSomebody(50, 8_000) },
  crash_after: { weight: 4, draw: ofSomebody(50, 8_000) },
  freeze: { weight: 3, draw: ofSomebody(500, 15_000) },
  lost_call: { weight: 5, draw: ofCalls(0, 1) },
  lost_answer: { weight: 6, draw: ofCalls(0, 1) },
  delayed_call: { weight: 6, draw: ofLateCalls },
  delayed_answer: { weight: 3, draw: ofCalls(50, 8_000) },
  duplicated_call: { weight: 6, draw: ofLateCalls },
  engine_outage: {
    weight: 1.5,
    draw: (random, servers, workers) =>
      // Some are longer than a start window.
      (random.chance(0.15) ? ofAll(18_000, 30_000) : ofAll(300, 10_000))(random, servers, workers),
  },
  database_outage: { weight: 1, draw: ofAll(300, 8_000) },
  partition: {
    weight: 2,
    draw: (random, servers, workers) => {
      const [party, others] = random.pick([
        [random.pick(servers), ["database", "engine", "client"]],
        [random.pick(workers), ["engine", "host"]],
      ] as const);
      const other = random.pick<string>(others);
      return { party, other, durationMs: random.between(500, 12_000) };
    },
  },
  worker_clock_jump: { weight: 1, draw: ofWorker(-30_000, 40_000) },
  database_clock_jump: { weight: 0.7, draw: ofAll(-10_000, 20_000) },
  slow_compute: { weight: 1, draw: ofAll(2_000, 12_000) },
  failing_compute: { weight: 1, draw: ofAll(1_000, 15_000) },
  rejecting_compute: { weight: 0.5, draw: ofAll(300, 3_000) },
  late_effect: { weight: 3, draw: ofWorker(1_000, 15_000) },
  engine_wiped: { weight: 0.4, draw: ofAll(0, 1) },
  foreign_result: { weight: 1.2, draw: ofWorker(0, 1) },
  garbled_result: { weight: 0.5, draw: ofWorker(0, 1) },
  unproven_result: { weight: 0.7, draw: ofWorker(0, 1) },
  database_restored: { weight: 0.15, draw: ofAll(500, 8_000) },
  compute_lost: { weight: 0.7, draw: ofAll(0, 1) },
  compute_exited: { weight: 0.7, draw: ofAll(0, 1) },
  compute_broken: { weight: 0.7, draw: ofAll(0, 1) },
  compute_changed: { weight: 0.7, draw: ofAll(0, 1) },
  compute_strayed: { weight: 0.7, draw: ofAll(0, 1) },
};

function drawFaults(
  random: Random,
  servers: readonly string[],
  workers: readonly string[],
): readonly Fault[] {
  // Some runs are calm: what only faults can hide shows there.
  const count = random.chance(0.1) ? random.int(4) : 6 + random.int(26);
  const total = FAULT_KINDS.reduce((sum, kind) => sum + DRAWS[kind].weight, 0);
  const drawKind = (): FaultKind => {
    let left = random.next() * total;
    return FAULT_KINDS.find((kind) => (left -= DRAWS[kind].weight) < 0) ?? "crash";
  };
  return Array.from({ length: count }, () => {
    const kind = drawKind();
    return { kind, atMs: random.between(0, ACTIVE_MS), ...DRAWS[kind].draw(random, servers, workers) };
  })
    .sort((one, other) => one.atMs - other.atMs)
    .map((fault, index) => ({ ...fault, id: `f${index}` }));
}

export function isCallFault(fault: Fault): fault is Fault & Pick<CallFault, "kind"> {
  switch (fault.kind) {
    case "lost_call":
    case "lost_answer":
    case "delayed_call":
    case "delayed_answer":
    case "duplicated_call":
    case "crash_before":
    case "crash_after":
      return true;
    default:
      return false;
  }
}
