/**
 * The orphan sweep: what compute providers run for this instance, compared with what tenants there are. One server at a
 * time does it, now and then or when asked.
 *
 *   of a tombstoned tenant     removed, always: something came late
 *   of an archived tenant      its compute is looked at again, and removed
 *   of a newer generation      looked at again: the database may be older than reality
 *   in another scope           reported: an operator moved something, or a host came back
 *   of nobody                  reported; removed after a grace time, if configured or asked for
 *
 * To remove means to adopt: the resource gets a tenant that is being deleted, and goes the way of every delete.
 */
import { configHash, type JsonObject } from "../domain/json.ts";
import { FRESH_TENANT } from "../domain/new-tenant.ts";
import { messageOf } from "../domain/errors.ts";
import { SWEEP_CHORE } from "../contract/system.ts";
import type { NewTenant, Orphan, ResourceOwner, WorkStore } from "../store/store.ts";
import type { Logger } from "../telemetry/logger.ts";
import { list } from "../workflow/ask-compute.ts";
import type { WorkflowProvider } from "../workflow/provider.ts";
import { createAlarm } from "./alarm.ts";
import type { Runtime } from "./runtime.ts";

export interface SweepSettings {
  readonly intervalMs: number;
  readonly orphanGraceMs: number;
  readonly removeOrphans: boolean;
  /** Of one question to a worker. */
  readonly queryTimeoutMs: number;
}

export interface SweepDependencies {
  readonly store: Pick<
    WorkStore,
    | "instanceId"
    | "takeChore"
    | "finishChore"
    | "describeOwners"
    | "listScopes"
    | "recordOrphans"
    | "adoptOrphans"
    | "requestResync"
  >;
  readonly engine: Pick<WorkflowProvider, "query">;
  /** The configured compute providers. */
  readonly computeProviders: readonly { readonly name: string; readonly boundToScope: boolean }[];
  readonly settings: SweepSettings;
  /** A tenant was adopted: there is work. */
  onAdopted(): void;
  readonly runtime: Runtime;
  readonly logger: Logger;
}

export interface Sweep {
  start(): void;
  stop(): Promise<void>;
}

/** What a sweep found, as it is kept and shown. */
export interface SweepReport {
  readonly resources: number;
  readonly orphans: number;
  readonly adopted: number;
  readonly rechecked: number;
  /** Resources of tenants that live in another scope, at most STRAYS_LIMIT. */
  readonly strays: readonly {
    readonly compute_provider: string;
    readonly tenant_id: string;
    readonly scope: string;
  }[];
  /** What could not be listed, and why. */
  readonly unseen: readonly {
    readonly compute_provider: string;
    readonly scope: string | null;
    readonly error: string;
  }[];
}

/** How often a server asks whether a sweep is due. */
const ASK_MS = 5_000;
const OWNERS_BATCH = 500;
const SCOPES_LIMIT = 1_000;
const STRAYS_LIMIT = 100;
/** A list may be a moment older than the tombstone of what it shows. */
const TOMBSTONE_SETTLE_MS = 10_000;

export function createSweep(dependencies: SweepDependencies): Sweep {
  const { store, settings, runtime, logger } = dependencies;
  const alarm = createAlarm(runtime);
  let stopping = false;
  let loop: Promise<void> | null = null;

  async function run(): Promise<void> {
    while (!stopping) {
      alarm.reset();
      await sweepWhenDue().catch((error: unknown) =>
        logger.debug({ error: messageOf(error) }, "sweep not finished; trying again"),
      );
      if (!stopping) await alarm.wait(Math.min(ASK_MS, settings.intervalMs));
    }
  }

  async function sweepWhenDue(): Promise<void> {
    const options = await store.takeChore({ name: SWEEP_CHORE, everyMs: settings.intervalMs });
    if (options === null) return;
    const report = await sweepAll(dependencies, options["remove_orphans"] === true);
    await store.finishChore({ name: SWEEP_CHORE, report: report as unknown as JsonObject });
    if (report.orphans > 0 || report.strays.length > 0)
      logger.warn(
        { orphans: report.orphans, strays: report.strays.length },
        "compute without a tenant was found",
      );
    else logger.debug({ resources: report.resources }, "swept");
  }

  return {
    start() {
      loop ??= run();
    },
    async stop() {
      stopping = true;
      alarm.ring();
      await loop;
    },
  };
}

interface Resource extends Orphan {
  readonly owner: ResourceOwner;
}

/** One whole sweep. What cannot be seen is reported and never taken for empty. */
async function sweepAll(dependencies: SweepDependencies, isRemovalAsked: boolean): Promise<SweepReport> {
  const reports: SweepReport[] = [];
  for (const provider of dependencies.computeProviders) {
    reports.push(await sweepProvider(provider, dependencies, isRemovalAsked));
  }
  const sum = (pick: (report: SweepReport) => number): number =>
    reports.reduce((total, report) => total + pick(report), 0);
  return {
    resources: sum(({ resources }) => resources),
    orphans: sum(({ orphans }) => orphans),
    adopted: sum(({ adopted }) => adopted),
    rechecked: sum(({ rechecked }) => rechecked),
    strays: reports.flatMap(({ strays }) => strays).slice(0, STRAYS_LIMIT),
    unseen: reports.flatMap(({ unseen }) => unseen),
  };
}

async function sweepProvider(
  { name, boundToScope }: SweepDependencies["computeProviders"][number],
  dependencies: SweepDependencies,
  isRemovalAsked: boolean,
): Promise<SweepReport> {
  const { store, settings } = dependencies;
  const { resources, unseen, wholeScopes } = await listResources(name, boundToScope, dependencies);
  const isOrphan = ({ owner }: Resource): boolean => owner.tenant === null && owner.tombstone === null;
  const isLate = ({ owner }: Resource): boolean =>
    owner.tenant === null && owner.tombstone !== null && owner.tombstone.ageMs > TOMBSTONE_SETTLE_MS;

  const orphans = await store.recordOrphans({
    computeProvider: name,
    scopes: wholeScopes,
    orphans: resources.filter(isOrphan),
  });
  const isRemoved = isRemovalAsked || settings.removeOrphans;
  const ripe = isRemoved ? orphans.filter(({ ageMs }) => ageMs >= settings.orphanGraceMs) : [];
  const late = resources.filter(isLate);
  const recheck = [...new Set(resources.filter(needsLook).map(({ tenantId }) => tenantId))];
  for (let start = 0; start < recheck.length; start += OWNERS_BATCH) {
    await store.requestResync({ tenantIds: recheck.slice(start, start + OWNERS_BATCH) });
  }
  const adopted =
    (await adopt(late, "tombstone_adopted", boundToScope, dependencies)) +
    (await adopt(ripe, "orphan_adopted", boundToScope, dependencies));
  if (adopted > 0) dependencies.onAdopted();
  return {
    resources: resources.length,
    orphans: orphans.length,
    adopted,
    rechecked: recheck.length,
    strays: resources
      .filter(isStray)
      .slice(0, STRAYS_LIMIT)
      .map(({ tenantId, scope }) => ({ compute_provider: name, tenant_id: tenantId, scope })),
    unseen,
  };
}

/** Compute that should not be there, or not like this, of a tenant that nobody works on. */
function needsLook({ owner: { tenant }, generation }: Resource): boolean {
  if (tenant === null || tenant.intent === "deleted") return false;
  if (tenant.status === "archived") return true;
  return tenant.status === "ready" && generation !== null && generation > tenant.generation;
}

function isStray({ owner: { tenant }, scope }: Resource): boolean {
  return tenant?.status === "ready" && !tenant.scopes.includes(scope);
}

interface Listed {
  readonly resources: readonly Resource[];
  readonly unseen: SweepReport["unseen"];
  /** Scopes of which everything is among the resources. */
  readonly wholeScopes: readonly string[];
}

async function listResources(
  computeProvider: string,
  boundToScope: boolean,
  { store, engine, settings, runtime }: SweepDependencies,
): Promise<Listed> {
  const known = boundToScope ? await store.listScopes({ computeProvider, limit: SCOPES_LIMIT }) : [];
  const unseen: { compute_provider: string; scope: string | null; error: string }[] = [];
  const found = new Map<string, Orphan>();
  const wholeScopes = new Set<string>();
  // Null reaches any worker: that finds what is in a scope that no tenant is known to be in.
  for (const scope of [null, ...known]) {
    try {
      const answer = await list(engine, {
        computeProvider,
        instanceId: store.instanceId,
        scope,
        signal: runtime.timeout(settings.queryTimeoutMs),
      });
      for (const resource of answer.resources) {
        found.set(JSON.stringify([resource.tenant_id, resource.scope, resource.generation]), {
          computeProvider,
          scope: resource.scope,
          tenantId: resource.tenant_id,
          generation: resource.generation,
          resourceIds: resource.resource_ids,
        });
        if (!answer.truncated) wholeScopes.add(resource.scope);
      }
      if (!answer.truncated && scope !== null) wholeScopes.add(scope);
    } catch (error) {
      unseen.push({ compute_provider: computeProvider, scope, error: messageOf(error) });
    }
  }
  const orphans = [...found.values()];
  const resources: Resource[] = [];
  for (let start = 0; start < orphans.length; start += OWNERS_BATCH) {
    const batch = orphans.slice(start, start + OWNERS_BATCH);
    const owners = await store.describeOwners({ tenantIds: batch.map(({ tenantId }) => tenantId) });
    owners.forEach((owner, index) => resources.push({ ...(batch[index] as Orphan), owner }));
  }
  return { resources, unseen, wholeScopes: [...wholeScopes] };
}

/**
 * Where no worker sees more than one scope, none could prove absence in two: a tenant is adopted for one of them, and the
 * tombstone that its end leaves makes a later sweep take the next.
 */
async function adopt(
  found: readonly (Orphan & { readonly owner?: ResourceOwner })[],
  reason: string,
  boundToScope: boolean,
  { store, runtime }: SweepDependencies,
): Promise<number> {
  const byTenant = new Map<string, (Orphan & { readonly owner?: ResourceOwner })[]>();
  for (const resource of found) {
    const known = byTenant.get(resource.tenantId) ?? [];
    const isElsewhere = known[0] !== undefined && known[0].scope !== resource.scope;
    if (!boundToScope || !isElsewhere) byTenant.set(resource.tenantId, [...known, resource]);
  }
  const tenants = [...byTenant.values()].map((resources) => adoptive(resources, reason, runtime));
  let adopted = 0;
  for (let start = 0; start < tenants.length; start += OWNERS_BATCH) {
    adopted += await store.adoptOrphans({
      tenants: tenants.slice(start, start + OWNERS_BATCH),
      reason,
      lane: "repair",
    });
  }
  return adopted;
}

/** A tenant that exists to be deleted. */
function adoptive(
  resources: readonly (Orphan & { readonly owner?: ResourceOwner })[],
  reason: string,
  runtime: Runtime,
): NewTenant {
  const [first] = resources as readonly [Orphan];
  const desiredConfig: JsonObject = { compute_provider: first.computeProvider };
  const generations = resources.map(({ generation, owner }) =>
    Math.max(generation ?? 1, owner?.tombstone?.generation ?? 1),
  );
  const message =
    reason === "tombstone_adopted"
      ? "Compute of a deleted tenant was found; it is removed."
      : "Compute of this instance without a tenant was found; it is removed.";
  return {
    ...FRESH_TENANT,
    id: first.tenantId,
    name: `orphan-${runtime.newId()}`,
    status: "deleting",
    statusMessage: message,
    intent: "deleted",
    computeProvider: first.computeProvider,
    desiredConfig,
    configHash: configHash(desiredConfig),
    generation: Math.max(...generations),
    observed: {
      config: null,
      resourceIds: first.resourceIds,
      endpoints: [],
      health: "unknown",
      scopes: [...new Set(resources.map(({ scope }) => scope))],
    },
  };
}
