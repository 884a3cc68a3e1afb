/** What the routes need, handed in by the composition root. */
import type { ComputeDescription } from "../compute/provider.ts";
import type { JsonObject } from "../domain/json.ts";
import type { Observation } from "../domain/observation.ts";
import type { PlannedChange } from "../domain/plan.ts";
import type { Operation, Tenant } from "../domain/tenant.ts";
import type { FleetStore } from "../store/fleet-store.ts";
import type { Breaker, TenantStore } from "../store/store.ts";
import type { ConditionSettings } from "../domain/conditions.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { Access } from "./authentication.ts";
import type { EventFeed } from "./event-feed.ts";

/** The configured compute providers, as far as the server knows them. */
export interface ComputeCatalog {
  names(): readonly string[];
  /** Null when it is not configured. */
  get(name: string): ComputeEngine | null;
  /** For tenants that name none; null when there is no single choice. */
  readonly defaultProvider: string | null;
}

export interface ComputeEngine {
  readonly description: ComputeDescription;
  /** Without secrets. */
  readonly engineConfig: JsonObject;
  readonly engineConfigHash: string;
  /** Jobs of a tenant that has compute somewhere must run in that scope. */
  readonly boundToScope: boolean;
}

/**
 * Read-only questions about compute, which a worker answers. They throw UnavailableError: `no_worker` when none can, or
 * what kept the one that took the question.
 */
export interface ComputeQuestions {
  observe(tenant: Tenant): Promise<Observation>;
  /** What it would take to make compute what this tenant says. */
  plan(
    tenant: Tenant,
  ): Promise<{ readonly observation: Observation; readonly changes: readonly PlannedChange[] }>;
  /** At most `tailBytes` of the newest output. */
  logs(tenant: Tenant, tailBytes: number): Promise<string>;
}

/** The workflow engine, as far as people are told about it. */
export interface EngineFacts {
  /** The one that new operations run on. */
  readonly name: string;
  readonly names: readonly string[];
  /** The workflow that a worker has to serve. */
  readonly workflowName: string;
  /** Where the engine shows the execution of an operation; null when that is not known. */
  linkTo(operation: Operation): string | null;
}

export interface HttpDependencies {
  readonly store: TenantStore;
  readonly catalog: ComputeCatalog;
  readonly conditions: ConditionSettings;
  /** How long a creation with an Idempotency-Key is answered again. */
  readonly idempotencyRetentionMs: number;
  /** The breakers, at most a second old: an outage is overlaid on each tenant that is read. */
  openBreakers(): Promise<readonly Breaker[]>;
  readonly fleet: FleetStore;
  readonly compute: ComputeQuestions;
  readonly engine: EngineFacts;
  /** How long a force-deleted tenant's id, generation and scopes are remembered. */
  readonly tombstoneRetentionMs: number;
  /** A client's write was committed. */
  onWrite(): void;
  /** Named checks for /ready: null for fine, else what is wrong. Only `database` and `controller` decide. */
  readiness(): Promise<Readonly<Record<string, string | null>>>;
  readonly logger: Logger;
}

/** What the application needs besides its routes. */
export interface AppDependencies extends HttpDependencies {
  readonly events: EventFeed;
  readonly access: Access;
}

/** PEM texts. */
export interface TlsSettings {
  readonly cert: string;
  readonly key: string;
  /** Null: clients need no certificate. */
  readonly clientCa: string | null;
}

export interface HttpSettings {
  readonly bodyLimitBytes: number;
  readonly maxRequestsInFlight: number;
  readonly maxConnections: number;
  /** Streams of events and waits together. */
  readonly maxWatchers: number;
  readonly eventHeartbeatMs: number;
  /** For each stream. */
  readonly eventBufferBytes: number;
  readonly readTimeoutMs: number;
  readonly writeTimeoutMs: number;
  readonly idleTimeoutMs: number;
  /** Refuse what a web page could send to a server on loopback. */
  readonly loopbackOnly: boolean;
  /** Addresses and networks whose X-Forwarded-For is believed; none when not given. */
  readonly trustedProxies?: readonly string[];
  /** Null, or not given: plain HTTP. */
  readonly tls?: TlsSettings | null;
}
