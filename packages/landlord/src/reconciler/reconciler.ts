/**
 * The loop: claims due tenants, runs a pass over each, and sleeps until something wakes it or the interval passes.
 *
 * Wake-ups are hints (a write at this server, an event of another, an ended execution); the due time in the database
 * guarantees arrival. Any number of servers run this loop over one database: leases keep them apart, fences make a
 * late one harmless.
 */
import { LandlordError, messageOf, UnavailableError } from "../domain/errors.ts";
import type { Claim, Commit, CommitOutcome, WorkStore } from "../store/store.ts";
import { createBatcher, type Batcher } from "../domain/batcher.ts";
import { isSettled } from "../domain/status.ts";
import { decide } from "../domain/decide.ts";
import type { WorkflowManager } from "../workflow/manager.ts";
import type { ExecutionRef, WorkflowProvider, WorkflowStatus } from "../workflow/provider.ts";
import type { Logger } from "../telemetry/logger.ts";
import { createCompletions } from "./completions.ts";
import { createComputeBreakers } from "./compute-breakers.ts";
import { createEngineBreaker } from "./engine-breaker.ts";
import { createAlarm } from "./alarm.ts";
import { createLaneSlots } from "./lanes.ts";
import { createResync } from "./resync.ts";
import type { Runtime } from "./runtime.ts";
import { reconcileTenant, type ComputeEngineFacts, type PassDependencies } from "./reconcile-tenant.ts";
import type { ReconcilerSettings } from "./settings.ts";

export interface Reconciler {
  start(): void;
  /** Look again, soon. */
  wake(): void;
  /** Claims nothing more and waits for the passes in flight, within the shutdown timeout. */
  stop(): Promise<void>;
  /** Null when it works; otherwise why not. */
  problem(): string | null;
}

export interface ReconcilerDependencies {
  readonly store: WorkStore;
  readonly manager: WorkflowManager;
  readonly settings: ReconcilerSettings;
  computeEngine(computeProvider: string): ComputeEngineFacts | null;
  /** Called when this server committed a transition. */
  onTransition(): void;
  /** Called when it came to rest with one. */
  onSettled?(tenantId: string): void;
  readonly logger: Logger;
  readonly runtime: Runtime;
  /** Left out: the real one. */
  readonly decide?: typeof decide;
}

const COMMIT_BATCH = 100;
/** Few and large ones cost the database less; more than one, so that a row that is locked holds up its own batch only. */
const COMMITS_AT_ONCE = 3;
/** A pass that nobody waits for listens for the end of its job this many times shorter. */
const UNAWAITED_LISTENS_LESS = 10;
const STATUS_BATCH = 1_000;
const BREAKER_REFRESH_MS = 5_000;
const BREAKER_PROBE_MS = 1_000;
const COMPUTE_PROBE_MS = 5_000;

export function createReconciler(dependencies: ReconcilerDependencies): Reconciler {
  const { store, manager, settings, logger, runtime } = dependencies;
  const alarm = createAlarm(runtime);
  const inFlight = new Set<Promise<void>>();
  const engine = manager.provider(settings.workflowProvider);
  const probe = { probeIntervalMs: BREAKER_PROBE_MS, probeTimeoutMs: settings.effectTimeoutMs };
  const breaker = createEngineBreaker(store, engine, probe, runtime, logger);
  const computeProbe = { ...probe, probeIntervalMs: COMPUTE_PROBE_MS };
  const computeBreakers = createComputeBreakers(store, engine, computeProbe, runtime, logger);
  const wakeTenant = createBatcher<string, void>(
    { maxBatch: COMMIT_BATCH, lingerMs: 0 },
    runtime,
    async (tenantIds) => {
      await store.wake({ tenantIds });
      alarm.ring();
      return tenantIds.map(() => undefined);
    },
  );
  // Tenants of which an end was heard while a pass held them: they are due as soon as that pass gives them back.
  const heardDuringPass = new Set<string>();
  const held = new Set<string>();
  const completions = createCompletions(
    (tenantId) => {
      if (held.has(tenantId)) heardDuringPass.add(tenantId);
      wakeTenant(tenantId).catch((error: unknown) =>
        logger.debug({ error: messageOf(error) }, "wake-up lost; polling"),
      );
    },
    runtime,
    logger,
  );
  const commit = createBatcher<Commit, CommitOutcome>(
    { maxBatch: COMMIT_BATCH, lingerMs: 0, maxRunning: COMMITS_AT_ONCE },
    runtime,
    (commits) => store.commit(commits),
  );
  const passDependencies: PassDependencies = {
    settings,
    manager,
    instanceId: store.instanceId,
    computeEngine: (name) => dependencies.computeEngine(name),
    readStatus: createStatusReader(settings, runtime),
    decide: dependencies.decide ?? decide,
    runtime,
    async commit(entry) {
      const outcome = await commit(entry);
      if (outcome === "committed" && entry.transition !== null) {
        dependencies.onTransition();
        if (entry.tenant === null || isSettled(entry.tenant)) dependencies.onSettled?.(entry.tenantId);
        logTransition(logger, entry);
      }
      if (outcome !== "committed") {
        logger.debug(
          { tenant_id: entry.tenantId, outcome },
          "commit was fenced off; the tenant is looked at again",
        );
        // It is due at once; nobody else may ring for it.
        if (outcome === "outdated") alarm.ring();
      } else if (
        entry.release !== null &&
        (entry.release.dueInMs === 0 || heardDuringPass.delete(entry.tenantId))
      ) {
        alarm.ring();
      }
      return outcome;
    },
    async onEngineFailure(name, error) {
      // An engine that is only left for what still runs there stops those tenants, and nobody else.
      if (name !== engine.name) return false;
      await breaker.reportFailure(error);
      return breaker.isOpen();
    },
    onComputeFailure: (computeProvider) => computeBreakers.suspect(computeProvider),
    completions,
    logger,
  };

  const unawaited = listeningLess(passDependencies);

  const resync = createResync({
    store,
    engine,
    settings,
    computeBreakers,
    isBoundToScope: (name) => dependencies.computeEngine(name)?.boundToScope === true,
    isPaused: () => breaker.isOpen(),
    reconcile: (claim, observation) => reconcileTenant(claim, passDependencies, observation),
    runtime,
    logger,
  });

  let stopping = false;
  let loop: Promise<void> | null = null;
  let problem: string | null = "not started";
  let nextRefreshMs = 0;

  const slots = createLaneSlots(settings.workers, () => runtime.monotonicMs());
  function runPass(claim: Claim): void {
    held.add(claim.tenantId);
    slots.enter(claim.lane);
    const pass = reconcileTenant(claim, claim.lane === "interactive" ? passDependencies : unawaited)
      .catch((error: unknown) => {
        // The lease runs out by itself, and the tenant is claimed again.
        const fields = { tenant_id: claim.tenantId, error: messageOf(error) };
        if (error instanceof UnavailableError) logger.debug(fields, "pass abandoned");
        else
          logger.error({ ...fields, stack: error instanceof Error ? error.stack : undefined }, "pass failed");
      })
      .finally(() => {
        inFlight.delete(pass);
        held.delete(claim.tenantId);
        slots.leave(claim.lane);
        heardDuringPass.delete(claim.tenantId);
        slotFreed();
      });
    inFlight.add(pass);
  }

  function slotFreed(): void {
    if (slots.isClaimWorthwhile()) alarm.ring();
  }

  async function claimOnce(): Promise<void> {
    // A clock that cannot jump: while the breaker is open, nothing else would probe.
    if (runtime.monotonicMs() >= nextRefreshMs) {
      const rows = await store.listBreakers();
      await breaker.refresh(rows);
      computeBreakers.refresh(rows);
      nextRefreshMs = runtime.monotonicMs() + (breaker.isOpen() ? BREAKER_PROBE_MS : BREAKER_REFRESH_MS);
    }
    if (inFlight.size >= settings.workers || breaker.isOpen()) return;
    const limits = slots.limits();
    const claims = await store.claimDue({
      leaseOwner: settings.leaseOwner,
      leaseDurationMs: settings.leaseDurationMs,
      limits,
      starts: {
        maxInFlight: settings.maxInFlight,
        repairsInFlight: settings.repairsInFlight,
        patienceMs: settings.lanePatienceMs,
        byComputeProvider: settings.computeLimits,
        blockedComputeProviders: computeBreakers.blocked(),
      },
    });
    slots.claimed(claims, limits);
    for (const claim of claims) runPass(claim);
    slotFreed();
  }

  async function run(): Promise<void> {
    while (!stopping) {
      alarm.reset();
      try {
        await claimOnce();
        problem = null;
      } catch (error) {
        problem = messageOf(error);
        if (error instanceof LandlordError)
          logger.warn({ error: problem }, "cannot claim tenants; trying again");
        else logger.error({ error: problem }, "cannot claim tenants; trying again");
        alarm.reset();
      }
      if (!stopping) await alarm.wait(settings.reconciliationIntervalMs);
    }
  }

  return {
    start() {
      problem = null;
      loop ??= run();
      resync.start();
    },
    wake: () => alarm.ring(),
    problem: () => problem,
    async stop() {
      stopping = true;
      problem = "stopping";
      alarm.ring();
      completions.stop();
      await Promise.all([loop, resync.stop()]);
      const passes = Promise.allSettled([...inFlight, computeBreakers.settled()]);
      let cancel = (): void => undefined;
      const limit = new Promise<void>((resolve) => {
        cancel = runtime.schedule(settings.shutdownTimeoutMs, resolve);
      });
      await Promise.race([passes, limit]);
      cancel();
      if (inFlight.size > 0) logger.warn({ passes: inFlight.size }, "passes left to their leases");
    },
  };
}

/** A lane with few passes must not spend them on listening. */
function listeningLess(dependencies: PassDependencies): PassDependencies {
  const { settings } = dependencies;
  const completionWaitMs = settings.completionWaitMs / UNAWAITED_LISTENS_LESS;
  return { ...dependencies, settings: { ...settings, completionWaitMs } };
}

function logTransition(logger: Logger, { tenantId, tenant, transition }: Commit): void {
  if (transition === null) return;
  logger.info(
    {
      tenant_id: tenantId,
      tenant_name: tenant?.name,
      execution_id: tenant?.workflowExecutionId ?? undefined,
      from: transition.fromStatus,
      to: transition.toStatus,
      reason: transition.reason,
      generation: transition.generation,
    },
    transition.toStatus === null ? "tenant removed" : `tenant is ${transition.toStatus}`,
  );
}

/** One batch of status reads for each engine. */
function createStatusReader(settings: ReconcilerSettings, runtime: Runtime): PassDependencies["readStatus"] {
  const byProvider = new Map<string, Batcher<ExecutionRef, WorkflowStatus>>();
  return (provider: WorkflowProvider, execution: ExecutionRef) => {
    let read = byProvider.get(provider.name);
    if (read === undefined) {
      read = createBatcher({ maxBatch: STATUS_BATCH, lingerMs: 1 }, runtime, (executions) =>
        provider.getWorkflowStatus({ executions, signal: runtime.timeout(settings.effectTimeoutMs) }),
      );
      byProvider.set(provider.name, read);
    }
    return read(execution);
  };
}
