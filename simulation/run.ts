/** One run: everything that a seed decides, from the first request to rest, and the verdict. */
import { decide } from "../packages/landlord/src/domain/decide.ts";
import type { Logger } from "../packages/landlord/src/telemetry/logger.ts";
import { startClients } from "./clients.ts";
import { createDatabase, type Database } from "./database.ts";
import { createFaults, type FaultBoard } from "./faults.ts";
import {
  createInvariants,
  restingProblem,
  type Invariants,
  type Subjects,
  type Violation,
} from "./invariants.ts";
import { createNetwork, type Network } from "./parties.ts";
import { createParts, type Parts } from "./parts.ts";
import { ACTIVE_MS, drawPlan, LAST_ARRIVAL_MS, type CountedKind, type Plan } from "./plan.ts";
import type { Plant } from "./planted.ts";
import { createRandom, textHash } from "./random.ts";
import { createScheduler, type Scheduler } from "./scheduler.ts";
import { EPOCH_MS, FENCE_RETENTION_MS } from "./settings.ts";
import { createTrace, MENDED } from "./trace.ts";
import { createWorld } from "./world.ts";

export interface RunOptions {
  readonly seed: number;
  /** Only these faults and requests of the plan, by their ids; null for all. */
  readonly only?: readonly string[] | null;
  readonly keepTrace?: boolean;
  readonly plant?: Plant | null;
}

export interface RunResult {
  readonly seed: number;
  readonly violation: Violation | null;
  readonly plan: Plan;
  readonly counts: ReadonlyMap<CountedKind, number>;
  readonly steps: number;
  readonly interleavings: number;
  readonly tenants: number;
  readonly virtualMs: number;
  readonly trace: readonly string[];
  /** Of everything that happened: two runs of a seed have the same. */
  readonly fingerprint: number;
}

/** After everything was mended and the last call has arrived, tenants have this long to come to rest. */
const REST_MS = 240_000;
/** And this long to leave it again. */
const LEAST_REST_MS = 6_000;
const LOOK_MS = 1_000;
/** More than any run needs: what goes on beyond it goes on for ever. */
const STEPS_LIMIT = 150_000;
const FENCE_SWEEP_MS = 5_000;

interface Stage {
  readonly plan: Plan;
  readonly scheduler: Scheduler;
  readonly network: Network;
  readonly faults: FaultBoard;
  readonly invariants: Invariants;
  readonly database: Database;
  readonly subjects: Subjects;
  readonly parts: Parts;
}

/** Runs a seed to its end. Throws only for a bug of the simulation itself. */
export async function runSeed(options: RunOptions): Promise<RunResult> {
  const random = createRandom(options.seed);
  const plan = onlySome(drawPlan(random.fork("plan")), options.only ?? null);
  const scheduler = createScheduler(random.fork("order"));
  const log = createTrace(options.keepTrace === true, () => scheduler.nowMs);
  let fingerprint = 0;
  const trace: typeof log.trace = (party, line) => log.trace(party, line);
  const stage = setUp(options, plan, scheduler, trace, (text) => {
    fingerprint = (Math.imul(fingerprint, 31) ^ textHash(text)) >>> 0;
  });
  const { invariants, faults, parts } = stage;
  const isOver = (): boolean => invariants.first !== null;
  await guarded(invariants, () => scheduler.run(ACTIVE_MS, isOver));
  if (!isOver()) {
    trace("faults", () => MENDED);
    faults.mend();
    parts.mend();
    await guarded(invariants, () => untilRest(stage, isOver));
  }
  return {
    seed: options.seed,
    violation: invariants.first,
    plan,
    counts: faults.counts,
    steps: scheduler.steps,
    interleavings: scheduler.interleavings,
    tenants: new Set(plan.actions.map(({ tenantName }) => tenantName)).size,
    virtualMs: scheduler.nowMs,
    trace: log.lines(),
    fingerprint,
  };
}

function setUp(
  options: RunOptions,
  plan: Plan,
  scheduler: Scheduler,
  trace: (party: string, line: () => string) => void,
  happened: (text: string) => void,
): Stage {
  const random = createRandom(options.seed);
  const faults = createFaults(plan.faults, scheduler, () => parts.victims, trace);
  const network = createNetwork(scheduler, random.fork("network"), faults, trace);
  const database = createDatabase(
    () => Math.round(EPOCH_MS + scheduler.nowMs + faults.clocks.databaseMs),
    random.fork("instance").uuid(),
  );
  const scopes = plan.isShared ? ["host-1"] : plan.workers.map((worker) => worker.replace("worker", "host"));
  const world = createWorld(scopes, () => scheduler.nowMs, {
    started(host, resource) {
      happened(`${scheduler.nowMs} ${host.scope} ${resource.name}`);
      trace(host.scope, () => `started ${resource.name}`);
      invariants.started(host, resource);
    },
  });
  const subjects: Subjects = {
    removesOrphans: plan.removeOrphans,
    isRestored: () => invariants.isRestored(),
    wasRemoved: (tenantId) => invariants.wasRemoved(tenantId),
    database,
    engine: () => parts.engine,
    world,
    nowMs: () => scheduler.nowMs,
    setBackMs: () =>
      plan.faults.reduce(
        (sum, { kind, durationMs }) =>
          kind === "database_clock_jump" && durationMs < 0 ? sum - durationMs : sum,
        0,
      ),
  };
  const invariants = createInvariants(subjects);
  database.watch({
    committed(change) {
      const { status, generation, observedGeneration } = change.after?.tenant ?? {};
      happened(`${scheduler.nowMs} ${change.caller} ${status} ${generation} ${observedGeneration}`);
      invariants.committed(change);
    },
  });
  const parts: Parts = createParts({
    plan,
    scheduler,
    network,
    random: random.fork("parts"),
    faults,
    database,
    world,
    invariants,
    plant: options.plant ?? null,
    decide,
    trace,
    logger: loggerOf(invariants, trace),
    parts: () => parts,
  });
  parts.start();
  startClients(plan.actions, {
    scheduler,
    network,
    random: random.fork("clients"),
    trace,
    servers: plan.servers,
    server: (party) => parts.server(party),
    acknowledged: (tenant) => invariants.acknowledged(tenant),
  });
  const sweepFences = (): void => {
    world.forgetFences(FENCE_RETENTION_MS);
    scheduler.after(FENCE_SWEEP_MS, 0, sweepFences);
  };
  sweepFences();
  return { plan, scheduler, network, faults, invariants, database, subjects, parts };
}

/** Virtual time passes until every tenant is at rest and nothing late is yet to come. */
async function untilRest(
  { scheduler, network, subjects, invariants }: Stage,
  isOver: () => boolean,
): Promise<void> {
  const giveUpMs = LAST_ARRIVAL_MS + REST_MS;
  for (let untilMs = scheduler.nowMs + LEAST_REST_MS; ; untilMs = scheduler.nowMs + LOOK_MS) {
    await scheduler.run(untilMs, () => isOver() || scheduler.steps > STEPS_LIMIT);
    if (isOver()) return;
    if (scheduler.steps > STEPS_LIMIT) invariants.violated(7, `more than ${STEPS_LIMIT} steps, and no rest`);
    const problem = restingProblem(subjects);
    if (problem === null && network.late.count === 0) return;
    if (scheduler.nowMs < giveUpMs) continue;
    if (problem !== null) invariants.violated(problem.invariant, problem.message);
    return;
  }
}

/** A violation ends the run, wherever it was thrown. */
async function guarded(invariants: Invariants, run: () => Promise<void>): Promise<void> {
  try {
    await run();
  } catch (error) {
    if (invariants.first === null) throw error;
  }
}

function onlySome(plan: Plan, only: readonly string[] | null): Plan {
  if (only === null) return plan;
  const kept = new Set(only);
  return {
    ...plan,
    actions: plan.actions.filter(({ id }) => kept.has(id)),
    faults: plan.faults.filter(({ id }) => kept.has(id)),
  };
}

/** What production code logs as an error, it did not expect: nothing that happens here may surprise it. */
function loggerOf(invariants: Invariants, trace: (party: string, line: () => string) => void): Logger {
  const line = (fields: object, message: string): void =>
    trace("log", () => `${message} ${JSON.stringify(fields)}`);
  const logger: Logger = {
    trace: line,
    debug: line,
    info: line,
    warn: line,
    error(fields, message) {
      line(fields, message);
      invariants.note(6, `${message}: ${JSON.stringify(fields)}`);
    },
    child: () => logger,
  };
  return logger;
}
