/** Typed client of the Landlord HTTP API, for Node and browsers. */
import { createTransport, type TransportOptions } from "./transport.ts";
import type {
  ComputeConfig,
  ComputeEngine,
  ComputeEngineList,
  CreateTenant,
  Health,
  History,
  Operation,
  OperationList,
  PatchTenant,
  Readiness,
  Sweep,
  Tenant,
  TenantList,
  Transition,
  UpdateTenant,
} from "./types.ts";
import { waitFor, type WaitOptions } from "./wait.ts";

export * from "./errors.ts";
export type * from "./types.ts";
export type { WaitOptions } from "./wait.ts";
export type { TransportOptions as ClientOptions } from "./transport.ts";

export interface ListParams {
  /** Tenants on a page, at most 500; 50 by default. */
  readonly limit?: number | undefined;
  readonly offset?: number | undefined;
  /** Also those that are archived. */
  readonly include_deleted?: boolean | undefined;
  readonly workflow_sub_state?: string | undefined;
  readonly has_workflow_error?: boolean | undefined;
  readonly min_retry_count?: number | undefined;
}

export interface WriteOptions {
  /** The version that the write is based on: any other makes it fail with status 412. */
  readonly ifMatch?: number | string | undefined;
}

/**
 * The API, one method for each call. A tenant is named by its uuid or its name. Every method throws
 * LandlordApiError when the API refuses and ConnectionError when it does not answer. Calls that can be repeated
 * safely (reads, and a create with an idempotency key) are retried on network errors and 502, 503, 504.
 */
export interface LandlordClient {
  /** With an idempotency key, the same call answers the same tenant for 24 hours. */
  createTenant(
    body: CreateTenant,
    options?: { readonly idempotencyKey?: string | undefined },
  ): Promise<Tenant>;
  getTenant(idOrName: string): Promise<Tenant>;
  listTenants(params?: ListParams): Promise<TenantList>;
  /** Every tenant, page after page; `limit` is the size of a page. */
  listAllTenants(params?: ListParams): AsyncGenerator<Tenant, void, undefined>;
  /** Replaces what is given, the configuration as a whole; what is left out stays. */
  updateTenant(idOrName: string, body: UpdateTenant, options?: WriteOptions): Promise<Tenant>;
  /** JSON merge patch (RFC 7396): null removes a key. */
  patchTenant(idOrName: string, patch: PatchTenant, options?: WriteOptions): Promise<Tenant>;
  /** Removes the compute and keeps the record. */
  archiveTenant(idOrName: string, options?: WriteOptions): Promise<Tenant>;
  /** Removes the compute and the record. */
  deleteTenant(idOrName: string, options?: WriteOptions): Promise<Tenant>;
  /** Newest first; answers after a deletion too. */
  getHistory(idOrName: string): Promise<Transition[]>;
  /** The ledger: every attempt, newest first. */
  getOperations(idOrName: string): Promise<Operation[]>;
  /** The JSON Schema and the defaults of a provider's compute_config. */
  getComputeConfig(provider: string): Promise<ComputeConfig>;
  listComputeEngines(): Promise<ComputeEngine[]>;
  getComputeEngine(name: string): Promise<ComputeEngine>;
  /** What the last orphan sweep found. */
  getSweep(): Promise<Sweep>;
  /** Asks for an orphan sweep. It has finished when `finished_at` is later than the `requested_at` of the answer. */
  requestSweep(options?: { readonly removeOrphans?: boolean | undefined }): Promise<Sweep>;
  health(): Promise<Health>;
  /** Answers also when the server is not ready; see `status`. */
  ready(): Promise<Readiness>;
  /**
   * Waits until the tenant is ready (at `generation`, if given), archived, or gone. Answers it as last seen, or
   * null when it was gone already. Throws TenantFailedError and WaitTimeoutError. A server that is away
   * meanwhile is waited for.
   */
  waitFor(idOrName: string, options: WaitOptions): Promise<Tenant | null>;
}

const DEFAULT_PAGE = 200;

/** Throws LandlordClientError with code `invalid_base_url` when the base URL is none. */
export function createClient(options: TransportOptions): LandlordClient {
  const send = createTransport(options);
  const get = <Answer>(
    path: string,
    query?: Readonly<Record<string, string | number | boolean | undefined>>,
  ) => send<Answer>({ method: "GET", path, query });

  async function* listAllTenants(params: ListParams = {}): AsyncGenerator<Tenant, void, undefined> {
    const limit = params.limit ?? DEFAULT_PAGE;
    for (let offset = params.offset ?? 0; ;) {
      const page = await get<TenantList>("/v1/tenants", { ...params, limit, offset });
      yield* page.tenants;
      offset += page.tenants.length;
      if (page.tenants.length === 0 || offset >= page.total) return;
    }
  }

  return {
    createTenant: (body, { idempotencyKey } = {}) =>
      send({
        method: "POST",
        path: "/v1/tenants",
        body,
        headers: idempotencyKey === undefined ? {} : { "idempotency-key": idempotencyKey },
      }),
    getTenant: (idOrName) => get(tenantPath(idOrName)),
    listTenants: (params) => get("/v1/tenants", { ...params }),
    listAllTenants,
    updateTenant: (idOrName, body, write) =>
      send({ method: "PUT", path: tenantPath(idOrName), body, headers: conditional(write) }),
    patchTenant: (idOrName, body, write) =>
      send({ method: "PATCH", path: tenantPath(idOrName), body, headers: conditional(write) }),
    archiveTenant: (idOrName, write) =>
      send({ method: "POST", path: tenantPath(idOrName, "/archive"), headers: conditional(write) }),
    deleteTenant: (idOrName, write) =>
      send({ method: "DELETE", path: tenantPath(idOrName), headers: conditional(write) }),
    getHistory: async (idOrName) => (await get<History>(tenantPath(idOrName, "/history"))).transitions,
    getOperations: async (idOrName) =>
      (await get<OperationList>(tenantPath(idOrName, "/operations"))).operations,
    getComputeConfig: (provider) => get("/v1/compute/config", { provider }),
    listComputeEngines: async () => (await get<ComputeEngineList>("/v1/compute/engines")).engines,
    getComputeEngine: (name) => get(`/v1/compute/engines/${encodeURIComponent(name)}`),
    getSweep: () => get("/v1/sweep"),
    requestSweep: ({ removeOrphans = false } = {}) =>
      send({ method: "POST", path: "/v1/sweep", body: { remove_orphans: removeOrphans } }),
    health: () => get("/health"),
    ready: () => send({ method: "GET", path: "/ready", retries: 0, accept: [503] }),
    waitFor: (idOrName, wait) => waitFor(send, idOrName, wait),
  };
}

function tenantPath(idOrName: string, rest = ""): string {
  return `/v1/tenants/${encodeURIComponent(idOrName)}${rest}`;
}

function conditional(options: WriteOptions = {}): Record<string, string> {
  const { ifMatch } = options;
  if (ifMatch === undefined) return {};
  return { "if-match": typeof ifMatch === "number" ? `"${ifMatch}"` : ifMatch };
}
