/**
 * The port to the only truth. One implementation (store/postgres); the simulation brings another with the same
 * semantics. Two kinds of callers write: clients (through `http`), by compare-and-set on `revision`, and the
 * reconciler, which also holds a lease whose token fences it. All times are the database's.
 */
import type { JsonObject } from "../domain/json.ts";
import type {
  ErrorRecord,
  Lane,
  Intent,
  Operation,
  StopPhase,
  SubState,
  Tenant,
  TenantStatus,
} from "../domain/tenant.ts";
import type { Selector } from "../domain/selector.ts";
import type { OperationOutcome } from "../domain/decide.ts";
import { LandlordError, UnavailableError } from "../domain/errors.ts";
import type { FleetStore } from "./fleet-store.ts";
import type { Chore, Orphan, RecordedOrphan, ResourceOwner } from "./sweep-records.ts";
import type { AccessStore } from "./access-store.ts";

export type * from "./access-store.ts";
import type { EventStore, Sequenced } from "./event-store.ts";

export type { EventStore, Sequenced, SequencedTransition } from "./event-store.ts";

export type * from "./sweep-records.ts";

/** The database did not answer. */
export class StoreUnavailableError extends UnavailableError {}

/** The database holds a schema that this binary cannot run on. */
export class SchemaVersionError extends LandlordError {}

/** A tenant with the counter of all its writes, clients' and reconciler's alike: the token of compare-and-set. */
export interface StoredTenant {
  readonly tenant: Tenant;
  readonly revision: number;
}

/** Who asked, and by which request. */
export interface Actor {
  /** `anonymous`, `reconciler`, or the name of a key. */
  readonly name: string;
  readonly requestId: string | null;
}

/** A status change, or a client's write. Survives the tenant. */
export interface Transition {
  readonly id: number;
  /** Gap-free over all tenants; null until the sequencer has seen the commit. */
  readonly position: number | null;
  readonly tenantId: string;
  readonly tenantName: string;
  readonly fromStatus: TenantStatus | null;
  /** Null: the tenant was removed. */
  readonly toStatus: TenantStatus | null;
  readonly reason: string;
  readonly message: string;
  readonly generation: number;
  readonly actor: string;
  readonly requestId: string | null;
  readonly operationId: string | null;
  /** The tenant's, as they were then. */
  readonly labels: Readonly<Record<string, string>>;
  readonly at: Date;
}

export type NewTransition = Pick<
  Transition,
  "fromStatus" | "toStatus" | "reason" | "message" | "generation" | "operationId"
>;

/** A row of the ledger as it is shown, finished or not. */
export interface OperationRecord extends Operation {
  readonly outcome: OperationOutcome | null;
  readonly error: ErrorRecord | null;
  readonly finishedAt: Date | null;
}

export interface OperationEvent {
  readonly at: Date;
  readonly phase: string;
  readonly message: string;
}

/** A tenant as a client creates it. Time columns are filled by the database. */
export type NewTenant = Omit<Tenant, "createdAt" | "updatedAt" | "generationAt">;

/** The creation that an idempotency key repeats: the tenant as it was created. */
export interface IdempotentAnswer {
  readonly requestHash: string;
  readonly tenant: Tenant;
}

export interface CreateTenant {
  readonly tenant: NewTenant;
  readonly actor: Actor;
  readonly lane: Lane;
  /** Written with the tenant, so that both exist or neither. */
  readonly idempotency: { readonly key: string; readonly requestHash: string; readonly ttlMs: number } | null;
}

export type CreateOutcome =
  | { readonly kind: "created"; readonly tenant: Tenant }
  | { readonly kind: "name_taken"; readonly tenant: Tenant | null }
  | { readonly kind: "key_used" };

/** A client's change of a tenant that it has read: `tenant` is the whole next state. */
export interface WriteTenant {
  readonly tenant: Tenant;
  /** The revision that was read. */
  readonly revision: number;
  /** The generation was raised: a row for rollback is kept, and the clock of the deadline starts anew. */
  readonly generationRaised: boolean;
  /** The tenant itself needs no pass: only its compute is to be looked at, now. For one that is settled. */
  readonly isLookRequested?: boolean;
  readonly transition: NewTransition;
  readonly actor: Actor;
  readonly lane: Lane;
}

export type WriteOutcome =
  | { readonly kind: "written"; readonly tenant: Tenant }
  /** Somebody else wrote since: read again and repeat. */
  | { readonly kind: "outdated" }
  | { readonly kind: "name_taken" };

export interface TenantFilter {
  readonly statuses: readonly TenantStatus[] | null;
  /** Labels must match all of these. */
  readonly selectors?: readonly Selector[];
  readonly namePrefix?: string | null;
  readonly includeArchived: boolean;
  readonly workflowSubState: SubState | null;
  readonly hasWorkflowError: boolean | null;
  readonly minRetryCount: number | null;
  /** 1 to 500. */
  readonly limit: number;
  readonly offset: number;
  /** Only what comes after: a TenantPage's `next`. */
  readonly after?: string | null;
  /** Whether `total` is needed, which costs more than a page; true when left out. */
  readonly isCounted?: boolean;
}

/** Oldest first. */
export interface TenantPage {
  readonly tenants: readonly Tenant[];
  /** Null when it was not asked for. */
  readonly total: number | null;
  /** For `after` of the page that follows; null at the end. */
  readonly next: string | null;
}

/** A desired state that a tenant had. */
export interface GenerationRecord {
  readonly generation: number;
  readonly intent: Intent;
  readonly computeProvider: string;
  readonly desiredConfig: JsonObject;
  readonly configHash: string;
  readonly actor: string;
  readonly requestId: string | null;
  readonly createdAt: Date;
}

/** What the reconciler was given: a tenant, its unfinished operation, and the fence. */
export interface Claim {
  readonly tenantId: string;
  /** With the token the fence: a restored database gives tokens out again, and a process has its name once. */
  readonly leaseOwner: string;
  readonly leaseToken: number;
  readonly wakeSeq: number;
  readonly lane: Lane;
  readonly stored: StoredTenant;
  readonly operation: Operation | null;
  /** The payload of the unfinished operation, as it was recorded. */
  readonly request: JsonObject | null;
  readonly now: Date;
}

export interface NewOperation {
  readonly operation: Operation;
  /** The payload, whole: a repeated invoke sends the same bytes. */
  readonly request: JsonObject;
}

export interface OperationUpdate {
  readonly id: string;
  readonly executionHandle: string | null;
  readonly invoked: boolean;
  readonly stopPhase: StopPhase | null;
  readonly stopReason: string | null;
  readonly subState: SubState | null;
  readonly retryCount: number;
  readonly error: ErrorRecord | null;
  /** Set to close the row. */
  readonly outcome: OperationOutcome | null;
}

/** One fenced write of the reconciler. Everything in it happens, or nothing does. */
export interface Commit {
  readonly tenantId: string;
  readonly leaseOwner: string;
  readonly leaseToken: number;
  readonly wakeSeq: number;
  readonly revision: number;
  /** The whole next state, or null when only the ledger or the lease changes. */
  readonly tenant: Tenant | null;
  readonly newOperation: NewOperation | null;
  readonly operationUpdate: OperationUpdate | null;
  readonly transition: NewTransition | null;
  /** The generation in `tenant` is new: a row for rollback is kept. */
  readonly generationRaised: boolean;
  /** A new course of operations begins: the deadline counts from now, in this lane. Null to leave both. */
  readonly restart: { readonly lane: Lane } | null;
  /** Delete the row and leave a tombstone of this age. */
  readonly remove: { readonly tombstoneTtlMs: number } | null;
  /** Shortens the lease to so long from now; it is never made longer. Null to leave it. */
  readonly leaseMs: number | null;
  /**
   * Give the lease back. The next pass is `dueInMs` from now, null for not until somebody writes; the next look at its
   * compute `resyncInMs` from now, null for none.
   */
  readonly release: {
    readonly dueInMs: number | null;
    readonly resyncInMs: number | null;
    /** Nobody looked at its compute: a look that is due earlier stays so. */
    readonly keepsEarlierLook?: boolean;
  } | null;
}

/**
 * `outdated`: the tenant was written since the claim; nothing was changed, the lease is given back and the tenant
 * is due at once. `lost`: somebody else holds the lease; nothing was changed.
 */
export type CommitOutcome = "committed" | "outdated" | "lost";

/** How many tenants of each lane a claim may take. */
export type ClaimLimits = Readonly<Record<Lane, number>>;

/**
 * Bounds for operations in flight, counted over all servers. They decide who is claimed of the tenants that have no
 * unfinished operation; what is in flight is always looked after. Servers that claim within the same few milliseconds
 * may together go beyond a bound by what one of them takes.
 */
export interface StartLimits {
  /** Of all compute providers together. Lanes other than interactive leave a fifth of it free. */
  readonly maxInFlight: number;
  /** In the lane `repair`, for each compute provider. */
  readonly repairsInFlight: number;
  /** A lane with nothing in flight at a provider goes first once its oldest tenant has waited for longer than this. */
  readonly patienceMs: number;
  /** A provider that is not named has no limit of its own. */
  readonly byComputeProvider: Readonly<Record<string, ComputeLimits>>;
  /** Nothing is started for these: they are out of reach. */
  readonly blockedComputeProviders: readonly string[];
}

export interface ComputeLimits {
  readonly maxInFlight: number | null;
  /** Above 0. A second's worth may come at once, and at least one. */
  readonly startsPerSecond: number | null;
}

export interface Breaker {
  /** `engine:<name>` or `compute:<name>`. */
  readonly key: string;
  readonly state: "closed" | "open";
  readonly failures: number;
  readonly openedAt: Date | null;
  readonly nextProbeAt: Date | null;
  readonly lastError: string | null;
}

export interface Tombstone {
  readonly tenantId: string;
  readonly name: string;
  readonly generation: number;
  readonly computeProvider: string;
  readonly scopes: readonly string[];
  readonly expiresAt: Date;
}

/** Clients' side. */
export interface TenantStore {
  createTenant(params: CreateTenant): Promise<CreateOutcome>;
  /** By uuid or by name; null when there is none. */
  getTenant(params: { readonly idOrName: string }): Promise<StoredTenant | null>;
  listTenants(params: TenantFilter): Promise<TenantPage>;
  writeTenant(params: WriteTenant): Promise<WriteOutcome>;
  /**
   * Removes a tenant without a proof of absence, closes its unfinished operation, and leaves a tombstone: what is left of
   * its compute is removed by the sweep.
   */
  forceDelete(params: {
    readonly tenantId: string;
    /** The revision that was read. */
    readonly revision: number;
    readonly tombstoneTtlMs: number;
    readonly transition: NewTransition;
    readonly actor: Actor;
  }): Promise<"removed" | "outdated">;
  /** The newest 100 at most, newest first. */
  listGenerations(params: { readonly tenantId: string }): Promise<readonly GenerationRecord[]>;
  findIdempotentAnswer(params: { readonly key: string }): Promise<IdempotentAnswer | null>;
  /** Newest first. By uuid, or by name: then of every tenant that ever had it. */
  listTransitions(params: {
    readonly idOrName: string;
    /** Only transitions of tenants whose labels matched then. */
    readonly scope?: Selector | null;
    readonly limit: number;
    readonly offset: number;
  }): Promise<readonly Transition[]>;
  /** Newest first, like listTransitions. */
  listOperations(params: {
    readonly idOrName: string;
    readonly scope?: Selector | null;
    readonly limit: number;
    readonly offset: number;
  }): Promise<readonly OperationRecord[]>;
  /** Keeps a worker's hint with its operation (the newest 100); false when no operation has this execution. */
  recordProgress(params: {
    readonly executionId: string;
    readonly phase: string;
    readonly message: string;
  }): Promise<boolean>;
  /** The newest 100, oldest first; null when this tenant, as far as it is in scope, has no such operation. */
  listOperationEvents(params: {
    readonly idOrName: string;
    readonly scope?: Selector | null;
    readonly operationId: string;
  }): Promise<readonly OperationEvent[] | null>;
  /** Makes a chore due now. `options` hold for its next run. Answers when it was requested. */
  requestChore(params: { readonly name: string; readonly options: JsonObject }): Promise<Date>;
  /** Null when it never was due. */
  getChore(params: { readonly name: string }): Promise<Chore | null>;
  /** Oldest first. */
  listOrphans(params: { readonly limit: number }): Promise<readonly RecordedOrphan[]>;
  listBreakers(): Promise<readonly Breaker[]>;
  /** Resolves when the database answers. */
  ping(): Promise<void>;
}

/** Reconciler's side. */
export interface WorkStore {
  /** Leases due tenants and reads their facts. Also takes those whose lease expired. */
  claimDue(params: {
    readonly leaseOwner: string;
    readonly leaseDurationMs: number;
    readonly limits: ClaimLimits;
    readonly starts: StartLimits;
  }): Promise<readonly Claim[]>;
  /**
   * Leases settled tenants whose compute is to be looked at again, those that waited longest first. All servers together
   * get at most `limit` in `everyMs`, however large the fleet is.
   */
  claimResync(params: {
    readonly leaseOwner: string;
    readonly leaseDurationMs: number;
    readonly limit: number;
    readonly everyMs: number;
  }): Promise<readonly Claim[]>;
  /** Makes the next look at these settled tenants due now. At most 1,000. */
  requestResync(params: { readonly tenantIds: readonly string[] }): Promise<void>;
  /** In the order asked; at most 1,000. */
  describeOwners(params: { readonly tenantIds: readonly string[] }): Promise<readonly ResourceOwner[]>;
  /** Scopes in which compute of this provider was, at most `limit`. */
  listScopes(params: {
    readonly computeProvider: string;
    readonly limit: number;
  }): Promise<readonly string[]>;
  /** Keeps since when each was seen, and forgets those of these scopes that are not among them. */
  recordOrphans(params: {
    readonly computeProvider: string;
    /** Everything in these was listed. */
    readonly scopes: readonly string[];
    readonly orphans: readonly Orphan[];
  }): Promise<readonly RecordedOrphan[]>;
  /**
   * Puts compute without a tenant under a tenant of its own that is being deleted: it goes the way of every delete, with
   * proof and history. Nothing happens where the tenant exists. Returns how many were adopted.
   */
  adoptOrphans(params: {
    readonly tenants: readonly NewTenant[];
    readonly reason: string;
    readonly lane: Lane;
  }): Promise<number>;
  /** The chore's options for exactly one caller in `everyMs`, or when it was requested; null for the others. */
  takeChore(params: { readonly name: string; readonly everyMs: number }): Promise<JsonObject | null>;
  /** Keeps what the run found. */
  finishChore(params: { readonly name: string; readonly report: JsonObject }): Promise<void>;
  /** One result per commit, in order. */
  commit(commits: readonly Commit[]): Promise<readonly CommitOutcome[]>;
  /** Makes tenants due now. A hint: never lost while a lease is held, never needed. */
  wake(params: { readonly tenantIds: readonly string[] }): Promise<void>;
  /** Opens a breaker; one that is open keeps the time of its next probe. */
  openBreaker(params: {
    readonly key: string;
    readonly error: string;
    readonly probeInMs: number;
  }): Promise<void>;
  closeBreaker(params: { readonly key: string }): Promise<void>;
  /** True for exactly one caller when a probe is due; it moves the next one by `probeInMs`. */
  takeProbe(params: { readonly key: string; readonly probeInMs: number }): Promise<boolean>;
  listBreakers(): Promise<readonly Breaker[]>;
  /** Gives committed transitions their position, at most 1,000, and tells listeners. */
  sequenceTransitions(): Promise<Sequenced>;
  /** Deletes what has outlived its retention, in bounded steps. Returns how many rows. */
  collectGarbage(params: { readonly historyRetentionMs: number }): Promise<number>;
  listTombstones(params: { readonly limit: number }): Promise<readonly Tombstone[]>;
  /** The identity of this database: part of every ownership label. */
  readonly instanceId: string;
}

export type Store = TenantStore &
  EventStore &
  WorkStore & {
    close(): Promise<void>;
  };

/** What a server runs on; the simulation of tenants needs no keys. */
export type ServerStore = Store & FleetStore & AccessStore;
