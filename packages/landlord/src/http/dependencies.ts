/** What the routes need, handed in by the composition root. */
import type { ComputeDescription } from "../compute/provider.ts";
import type { JsonObject } from "../domain/json.ts";
import type { Breaker, TenantStore } from "../store/store.ts";
import type { ConditionSettings } from "../domain/conditions.ts";
import type { Logger } from "../telemetry/logger.ts";

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

export interface HttpDependencies {
  readonly store: TenantStore;
  readonly catalog: ComputeCatalog;
  readonly conditions: ConditionSettings;
  /** How long a creation with an Idempotency-Key is answered again. */
  readonly idempotencyRetentionMs: number;
  /** The breakers, at most a second old: an outage is overlaid on each tenant that is read. */
  openBreakers(): Promise<readonly Breaker[]>;
  /** A client's write was committed. */
  onWrite(): void;
  /** Named checks for /ready: null for fine, else what is wrong. Only `database` and `controller` decide. */
  readiness(): Promise<Readonly<Record<string, string | null>>>;
  readonly logger: Logger;
}

export interface HttpSettings {
  readonly bodyLimitBytes: number;
  readonly maxRequestsInFlight: number;
  readonly maxConnections: number;
  readonly readTimeoutMs: number;
  readonly writeTimeoutMs: number;
  readonly idleTimeoutMs: number;
  /** Refuse what a web page could send to a server on loopback. */
  readonly loopbackOnly: boolean;
}
