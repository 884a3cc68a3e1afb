/** What decide() is told, and what it answers. */
import type { JsonObject } from "./json.ts";
import type { Observation } from "./observation.ts";
import type { TenantChange } from "./tenant-change.ts";
import type {
  Endpoint,
  ErrorRecord,
  Health,
  Observed,
  Operation,
  OperationKind,
  StopPhase,
  SubState,
  Tenant,
  TenantStatus,
} from "./tenant.ts";

/** What a job reported (contract/job.ts has its wire form). */
export interface JobReport {
  readonly outcome: "succeeded" | "rejected" | "gave_up" | "expired" | "void";
  readonly tenantId: string;
  readonly generation: number;
  readonly configHash: string;
  readonly observedConfig: JsonObject | null;
  readonly resourceIds: Readonly<Record<string, string>>;
  readonly endpoints: readonly Endpoint[];
  readonly health: Health;
  readonly scope: string | null;
  readonly absentObservations: number;
  readonly error: ErrorRecord | null;
  /** With error code `stale_generation`: the generation that reality is at. */
  readonly staleGeneration: number | null;
}

/** What the engine says of the execution of the unfinished operation. */
export interface ExecutionFact {
  /** `unreachable`: the engine did not answer. `unknown`: it answered, and has no such execution. */
  readonly state: "unreachable" | "unknown" | "running" | "succeeded" | "failed";
  readonly subState: SubState | null;
  readonly retryCount: number;
  readonly error: ErrorRecord | null;
  /** With `succeeded`: what the job reported; null when its answer could not be understood. */
  readonly report: JobReport | null;
}

export interface Facts {
  readonly tenant: Tenant;
  /** The unfinished operation, if there is one. */
  readonly operation: Operation | null;
  /** Null when nobody asked: the operation was not invoked yet. */
  readonly execution: ExecutionFact | null;
  /** A fresh look at the compute of a settled tenant; null when nobody looked. */
  readonly observation: Observation | null;
  /** By the database's clock. */
  readonly now: Date;
  /** Uniform in [0, 1), fresh for each decision. */
  readonly jitter: number;
}

export interface DecideSettings {
  readonly backoffInitialMs: number;
  readonly backoffMaxMs: number;
  /** How long a cancelled execution may take before it is killed. */
  readonly stopGraceMs: number;
  readonly statusPollMs: number;
  readonly statusPollMaxMs: number;
  /** How long an engine may need to show an execution that it accepted. */
  readonly visibilityGraceMs: number;
  /** Past this age of a generation the tenant is stalled. */
  readonly operationDeadlineMs: number;
  readonly onDeadline: "keep_retrying" | "fail";
}

export type OperationOutcome =
  "succeeded" | "rejected" | "failed" | "expired" | "lost" | "superseded" | "stale" | "ignored" | "abandoned";

export type Decision =
  /** Nothing to do until somebody writes. */
  | { readonly kind: "settle" }
  /** Nothing to do before `dueAt`. */
  | {
      readonly kind: "wait";
      readonly dueAt: Date;
      readonly reason: string;
      readonly progress: ExecutionFact | null;
    }
  | { readonly kind: "start"; readonly operation: OperationKind; readonly status: TenantStatus }
  | { readonly kind: "invoke" }
  | { readonly kind: "stop"; readonly phase: StopPhase; readonly reason: string }
  | {
      readonly kind: "finish";
      readonly outcome: OperationOutcome;
      readonly error: ErrorRecord | null;
      readonly change: TenantChange;
    }
  /** The compute of a deleted tenant is proven absent: the row goes, the tombstone stays. */
  | { readonly kind: "remove" }
  /** Compute is not as it was, and nothing has to be done about it now. */
  | {
      readonly kind: "record";
      readonly observed: Observed;
      readonly message: string;
      /** Another look, soon, tells whether it stays so. */
      readonly isConfirmedSoon: boolean;
    }
  /** Compute has drifted: the tenant is unsettled again, and an operation follows when there is room for a repair. */
  | { readonly kind: "repair"; readonly change: TenantChange };
