/**
 * Looks again at the compute of settled tenants: a batch for each beat of a metronome that all servers share, so that the
 * cost is the same for a thousand tenants and for a hundred thousand, and only the time between two looks grows.
 */
import { messageOf } from "../domain/errors.ts";
import type { Observation } from "../domain/observation.ts";
import type { Claim, WorkStore } from "../store/store.ts";
import type { Logger } from "../telemetry/logger.ts";
import { OBSERVE_LIMIT, observe } from "../workflow/ask-compute.ts";
import { NoWorkerError, type WorkflowProvider } from "../workflow/provider.ts";
import { createAlarm } from "./alarm.ts";
import type { ComputeBreakers } from "./compute-breakers.ts";
import type { Runtime } from "./runtime.ts";
import type { ReconcilerSettings } from "./settings.ts";

export interface Resync {
  start(): void;
  stop(): Promise<void>;
}

export interface ResyncDependencies {
  readonly store: Pick<WorkStore, "claimResync" | "instanceId">;
  readonly engine: Pick<WorkflowProvider, "query">;
  readonly settings: Pick<
    ReconcilerSettings,
    "leaseOwner" | "leaseDurationMs" | "effectTimeoutMs" | "resyncRate"
  >;
  readonly computeBreakers: Pick<ComputeBreakers, "blocked" | "suspect">;
  isBoundToScope(computeProvider: string): boolean;
  /** Nothing can be asked now. */
  isPaused(): boolean;
  /** Runs a pass with what was seen; null when nothing could be. */
  reconcile(claim: Claim, observation: Observation | null): Promise<void>;
  readonly runtime: Runtime;
  readonly logger: Logger;
}

/** A beat is at most this long; a low rate makes the batches smaller. */
const LONGEST_BEAT_MS = 5_000;

/** How many tenants a beat takes, and how long it is. */
function metronomeOf(rate: number): { readonly limit: number; readonly everyMs: number } {
  const limit = Math.min(OBSERVE_LIMIT, Math.max(1, Math.floor((rate * LONGEST_BEAT_MS) / 1_000)));
  return { limit, everyMs: (limit / rate) * 1_000 };
}

export function createResync(dependencies: ResyncDependencies): Resync {
  const { store, settings, runtime, logger } = dependencies;
  const alarm = createAlarm(runtime);
  let stopping = false;
  let loop: Promise<void> | null = null;

  async function claimBatch(metronome: ReturnType<typeof metronomeOf>): Promise<readonly Claim[]> {
    if (dependencies.isPaused()) return [];
    const { leaseOwner, leaseDurationMs } = settings;
    try {
      return await store.claimResync({ leaseOwner, leaseDurationMs, ...metronome });
    } catch (error) {
      logger.debug({ error: messageOf(error) }, "no resync; trying again");
      return [];
    }
  }

  /** Never throws: whom nobody looked at is left to the lease. */
  async function lookAtAll(claims: readonly Claim[]): Promise<void> {
    try {
      await Promise.all([...groupsOf(claims, dependencies).values()].map(lookAt));
    } catch (error) {
      logger.error({ error: messageOf(error) }, "no resync; trying again");
    }
  }

  async function lookAt(group: Group): Promise<void> {
    const observations = await seen(group);
    await Promise.all(
      group.claims.map((claim, index) =>
        // A pass that cannot end leaves its tenant to its lease.
        dependencies
          .reconcile(claim, observations?.[index] ?? null)
          .catch((error: unknown) =>
            logger.debug(
              { tenant_id: claim.tenantId, error: messageOf(error) },
              "tenant not resynced; trying again",
            ),
          ),
      ),
    );
  }

  async function seen({ computeProvider, scope, claims }: Group): Promise<readonly Observation[] | null> {
    if (dependencies.computeBreakers.blocked().includes(computeProvider)) return null;
    try {
      const observations = await observe(dependencies.engine, {
        computeProvider,
        instanceId: store.instanceId,
        scope,
        tenants: claims.map(({ tenantId, stored }) => ({ tenantId, scopes: stored.tenant.observed.scopes })),
        signal: runtime.timeout(settings.effectTimeoutMs),
      });
      if (observations.every(({ presence }) => presence === "unknown"))
        dependencies.computeBreakers.suspect(computeProvider);
      return observations;
    } catch (error) {
      // A scope without a worker says nothing of the provider elsewhere.
      if (!(error instanceof NoWorkerError)) dependencies.computeBreakers.suspect(computeProvider);
      logger.debug(
        { compute_provider: computeProvider, scope, error: messageOf(error) },
        "compute was not looked at; trying again",
      );
      return null;
    }
  }

  async function run(metronome: ReturnType<typeof metronomeOf>): Promise<void> {
    let looking = Promise.resolve();
    while (!stopping) {
      alarm.reset();
      const claims = await claimBatch(metronome);
      // The next batch is claimed while this one is looked at, and waits for it: its lease is three times one question.
      await looking;
      looking = lookAtAll(claims);
      if (!stopping) await alarm.wait(metronome.everyMs);
    }
    await looking;
  }

  return {
    start() {
      if (settings.resyncRate > 0) loop ??= run(metronomeOf(settings.resyncRate));
    },
    async stop() {
      stopping = true;
      alarm.ring();
      await loop;
    },
  };
}

/** Claims whose compute one worker can look at. */
interface Group {
  readonly computeProvider: string;
  readonly scope: string | null;
  readonly claims: Claim[];
}

function groupsOf(
  claims: readonly Claim[],
  { isBoundToScope }: Pick<ResyncDependencies, "isBoundToScope">,
): ReadonlyMap<string, Group> {
  const groups = new Map<string, Group>();
  for (const claim of claims) {
    const { computeProvider, observed } = claim.stored.tenant;
    const scope = isBoundToScope(computeProvider) ? (observed.scopes[0] ?? null) : null;
    const key = JSON.stringify([computeProvider, scope]);
    const group = groups.get(key) ?? { computeProvider, scope, claims: [] };
    group.claims.push(claim);
    groups.set(key, group);
  }
  return groups;
}
