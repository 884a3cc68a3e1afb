/** Puts the parties of a run together, and lets them die and live again. */
import type { decide } from "../packages/landlord/src/domain/decide.ts";
import { messageOf } from "../packages/landlord/src/domain/errors.ts";
import { NoWorkerError, QueryFailedError } from "../packages/landlord/src/workflow/provider.ts";
import type { Logger } from "../packages/landlord/src/telemetry/logger.ts";
import type { Database, Tables } from "./database.ts";
import { disturbCompute } from "./drift.ts";
import type { Ask } from "./engine-provider.ts";
import { createSimulatedEngine, type SimulatedEngine } from "./engine.ts";
import type { FaultBoard, Victims } from "./faults.ts";
import type { Invariants } from "./invariants.ts";
import { newLife, thaw, type Life, type Network } from "./parties.ts";
import type { Plan } from "./plan.ts";
import type { Plant } from "./planted.ts";
import type { Random } from "./random.ts";
import type { Scheduler } from "./scheduler.ts";
import { startServerPart } from "./server-part.ts";
import type { SimulatedServer } from "./server.ts";
import { ENGINE_SETTINGS, ENGINE_TIMEOUT_MS } from "./settings.ts";
import type { Trace } from "./trace.ts";
import { startWorkerPart, type WorkerPart } from "./worker-part.ts";
import type { World } from "./world.ts";

export interface PartsDependencies {
  readonly plan: Plan;
  readonly scheduler: Scheduler;
  readonly network: Network;
  readonly random: Random;
  readonly faults: FaultBoard;
  readonly database: Database;
  readonly world: World;
  readonly invariants: Invariants;
  readonly plant: Plant | null;
  readonly decide: typeof decide;
  readonly trace: Trace;
  readonly logger: Logger;
  parts(): Parts;
}

export interface Parts {
  readonly engine: SimulatedEngine;
  readonly victims: Victims;
  start(): void;
  server(party: string): SimulatedServer | null;
  /** Everybody lives and nobody is frozen. */
  mend(): void;
}

/** Shorter than what the reconciler grants an engine (visibilityGraceMs). */
const LONGEST_LAG_MS = 1_200;
const BACKUP_MS = 500;
const BACKUPS_KEPT = 20;

export function createParts(dependencies: PartsDependencies): Parts {
  const { plan, scheduler, network, random, faults, database, invariants, trace } = dependencies;
  const lives = new Map<string, Life>();
  const servers = new Map<string, SimulatedServer>();
  const workers = new Map<string, WorkerPart>();
  const engineLife = newLife("engine");
  const backups: { readonly atMs: number; readonly tables: Tables }[] = [];
  const drift = random.fork("drift");
  let isEngineDown = false;

  const isUp = (party: string): boolean => {
    if (party === "engine") return !isEngineDown;
    const life = lives.get(party);
    return life === undefined || !life.isOver;
  };
  const engine = createEngine(dependencies, engineLife, workers);
  const askedFirst = random.fork("questions");
  const ask: Ask = (asked, method, request, signal) => {
    const worker = askedFirst.pick(asked);
    return network.call({
      from: engineLife,
      to: worker,
      name: method,
      timeoutMs: ENGINE_TIMEOUT_MS,
      signal,
      perform: () =>
        workers
          .get(worker)
          ?.answer(method, request)
          .catch((error: unknown) => {
            throw new QueryFailedError(messageOf(error), error);
          }),
      failure: (reason) => new NoWorkerError(`The worker did not answer: ${reason}.`),
    });
  };

  function live(party: string): void {
    const number = (lives.get(party)?.number ?? 0) + 1;
    const life = newLife(party, number);
    lives.set(party, life);
    trace(party, () => `lives (${number})`);
    if (plan.servers.includes(party)) servers.set(party, startServerPart(life, engine, ask, dependencies));
    else workers.set(party, startWorkerPart(life, engine, dependencies));
  }

  const victims: Victims = {
    isUp,
    crash(party, restartMs) {
      const life = lives.get(party);
      if (life === undefined || life.isOver) return false;
      life.isOver = true;
      servers.delete(party);
      workers.delete(party);
      trace(party, () => "dies");
      scheduler.after(restartMs, 0, () => {
        if (lives.get(party) === life) live(party);
      });
      return true;
    },
    freeze(party, durationMs) {
      const life = lives.get(party);
      if (life === undefined || life.isOver) return false;
      if (life.held !== null) return false;
      life.held = [];
      scheduler.after(durationMs, 0, () => thaw(life, scheduler));
      return true;
    },
    setEngineDown(isDown) {
      if (isDown === isEngineDown) return;
      isEngineDown = isDown;
      if (isDown) engineLife.held ??= [];
      else {
        thaw(engineLife, scheduler);
        engine.resume();
      }
    },
    wipeEngine() {
      invariants.forgot("engine");
      engine.wipe();
    },
    disturbCompute: (kind) => disturbCompute(kind, dependencies.world, database, drift),
    restoreDatabase(ageMs) {
      const backup = backups.findLast(({ atMs }) => atMs <= scheduler.nowMs - ageMs);
      if (backup === undefined) return false;
      database.tables = backup.tables;
      backups.length = 0;
      invariants.forgot("database");
      return true;
    },
  };

  const hasRestores = plan.faults.some(({ kind }) => kind === "database_restored");
  function backUp(): void {
    backups.push({ atMs: scheduler.nowMs, tables: database.backup() });
    if (backups.length > BACKUPS_KEPT) backups.shift();
    scheduler.after(BACKUP_MS, 0, backUp);
  }

  return {
    engine,
    victims,
    server: (party) => servers.get(party) ?? null,
    start() {
      for (const party of [...plan.workers, ...plan.servers]) {
        scheduler.after(random.between(0, 500), 0, () => live(party));
      }
      if (hasRestores) backUp();
    },
    mend() {
      for (const [party, life] of lives) {
        thaw(life, scheduler);
        if (life.isOver) live(party);
      }
      faults.clocks.workersMs.clear();
    },
  };
}

function createEngine(
  { plan, scheduler, network, random, invariants }: PartsDependencies,
  life: Life,
  workers: ReadonlyMap<string, WorkerPart>,
): SimulatedEngine {
  const onTheirWay = new Set<string>();
  const pinned = new Map<string, string>();
  const chance = random.fork("engine");
  const tell = (worker: string, name: string, perform: () => void): Promise<void> =>
    network.call<void>({
      from: life,
      to: worker,
      name,
      timeoutMs: ENGINE_TIMEOUT_MS,
      perform,
      failure: workerGone,
    });
  return createSimulatedEngine(
    ENGINE_SETTINGS,
    {
      send(worker, attempt) {
        const key = `${attempt.executionId}/${attempt.number}`;
        onTheirWay.add(key);
        tell(worker, "attempt", () => workers.get(worker)?.worker.take(attempt))
          .catch(() => undefined)
          .finally(() => onTheirWay.delete(key));
      },
      cancel: (worker, executionId) =>
        void tell(worker, "cancel", () => workers.get(worker)?.worker.cancel(executionId)).catch(
          () => undefined,
        ),
      isWorkingOn: (worker, executionId, attempt) =>
        onTheirWay.has(`${executionId}/${attempt}`) ||
        workers.get(worker)?.worker.has(executionId, attempt) === true,
      choose(eligible, executionId) {
        // On hosts of their own workers are deployments of their own: an execution stays where it began.
        const known = plan.isShared ? undefined : pinned.get(executionId);
        const worker = known !== undefined && eligible.includes(known) ? known : chance.pick(eligible);
        pinned.set(executionId, worker);
        return worker;
      },
      visibilityLagMs: () => (chance.chance(plan.laggingShare) ? chance.between(0, LONGEST_LAG_MS) : 0),
      after: (delayMs, effect) => void network.deliver(life, delayMs, effect),
      monotonicMs: () => scheduler.nowMs,
    },
    invariants,
  );
}

const workerGone = (reason: string): Error => new Error(`the worker did not answer: ${reason}`);
