/** What people ask of the fleet, and what workers say of themselves. Nothing that the reconciler decides by. */
import type { WorkerFact } from "../domain/explain.ts";
import type { Lane, Operation, TenantStatus } from "../domain/tenant.ts";
import type { Selector } from "../domain/selector.ts";
import type { StoredTenant } from "./store.ts";

/** Where a tenant stands in the queue, and what is unfinished. */
export interface Standing {
  readonly stored: StoredTenant;
  readonly lane: Lane;
  readonly owner: string;
  readonly dueAt: Date | null;
  readonly isLeased: boolean;
  /** Of the tenants that wait to start something, those that come first; at most 10,000. Null when it does not wait. */
  readonly ahead: number | null;
  readonly operation: Operation | null;
  /** The last hint of a worker about that operation. */
  readonly progress: string | null;
  /** By the database's clock. */
  readonly now: Date;
}

export interface CountedSince {
  readonly count: number;
  readonly oldestAt: Date;
}

export interface FleetSummary {
  readonly byStatus: ReadonlyMap<TenantStatus, CountedSince>;
  /** Unsettled and failed tenants by the reason of their condition Progressing or Ready, or the code of their last error. */
  readonly byReason: ReadonlyMap<string, CountedSince>;
  readonly paused: number;
  readonly operationsInFlight: number;
  readonly at: Date;
}

export type NewWorkerReport = Omit<WorkerFact, "lastSeenAt" | "isLive">;

export interface FleetStore {
  /** Null when there is no such tenant. */
  getStanding(params: { readonly idOrName: string }): Promise<Standing | null>;
  /** Counts what matches; reads every tenant. */
  summarize(params: { readonly scope: Selector | null }): Promise<FleetSummary>;
  recordWorker(worker: NewWorkerReport): Promise<void>;
  /** Forgets a worker that ended. */
  removeWorker(params: { readonly id: string }): Promise<void>;
  /** Those that were seen last come first. */
  listWorkers(params: { readonly limit: number }): Promise<readonly WorkerFact[]>;
}
