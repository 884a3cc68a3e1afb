/** Typed client of the Landlord HTTP API, for Node and browsers. */
import { createTransport, type TransportOptions } from "./transport.ts";
import type {
  ApplyTenant,
  AuditList,
  ComputeConfig,
  ComputeEngine,
  ComputeEngineList,
  CreateTenant,
  CreateToken,
  DeletedTenant,
  Explanation,
  Generation,
  Health,
  History,
  Identity,
  NewToken,
  Operation,
  OperationEvent,
  OperationList,
  PatchTenant,
  Plan,
  Readiness,
  Summary,
  Sweep,
  Tenant,
  TenantEvent,
  TenantList,
  TokenList,
  Transition,
  UpdateTenant,
  Worker,
  WorkflowProvider,
} from "./types.ts";
import { waitFor, type WaitOptions } from "./wait.ts";
import { watch, type WatchOptions } from "./watch.ts";

export * from "./errors.ts";
export type * from "./types.ts";
export type { WaitOptions } from "./wait.ts";
export { watch, type WatchOptions } from "./watch.ts";
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
  /** One or more statuses, joined by commas. */
  readonly status?: string | undefined;
  /** Label selector: `env=prod,tier!=free`. */
  readonly selector?: string | undefined;
  readonly name_prefix?: string | undefined;
  /** The `next_page_token` of the page before. */
  readonly page_token?: string | undefined;
}

export interface WriteOptions {
  /** The version that the write is based on: any other makes it fail with status 412. */
  readonly ifMatch?: number | string | undefined;
  /** The hash of the plan that the write is based on: once it has gone stale, the write fails with status 412. */
  readonly ifPlan?: string | undefined;
  /** `bulk` work waits while there is interactive work; `interactive` by default. */
  readonly priority?: "interactive" | "bulk" | undefined;
}

/** What a write would change; nothing is stored. A worker looks at the compute as it is now: status 503 without one. */
export interface Plans {
  create(body: CreateTenant): Promise<Plan>;
  apply(name: string, body: ApplyTenant): Promise<Plan>;
  /** Without a body: what is missing to the present desired state. */
  update(idOrName: string, body?: UpdateTenant): Promise<Plan>;
  patch(idOrName: string, patch: PatchTenant): Promise<Plan>;
  archive(idOrName: string): Promise<Plan>;
  restore(idOrName: string): Promise<Plan>;
  rollback(idOrName: string, generation?: number): Promise<Plan>;
  delete(idOrName: string): Promise<Plan>;
}

export interface Page {
  /** At most 500; 50 by default. */
  readonly limit?: number | undefined;
  readonly offset?: number | undefined;
}

export interface TokenPage {
  readonly limit?: number | undefined;
  readonly page_token?: string | undefined;
}

export interface AuditParams extends TokenPage {
  readonly actor?: string | undefined;
  readonly action?: string | undefined;
  readonly outcome?: "allowed" | "denied" | "failed" | undefined;
  readonly tenant?: string | undefined;
  /** RFC 3339. */
  readonly since?: string | undefined;
  readonly until?: string | undefined;
}

/**
 * The API, one method for each call. A tenant is named by its uuid or its name. Every method throws
 * LandlordApiError when the API refuses and ConnectionError when it does not answer. Calls that can be repeated
 * safely (reads, plans, applies, and a create with an idempotency key) are retried on network errors and 502, 503, 504.
 */
export interface LandlordClient {
  /** With an idempotency key, the same call answers the same tenant for 24 hours. */
  createTenant(
    body: CreateTenant,
    options?: Omit<WriteOptions, "ifMatch"> & { readonly idempotencyKey?: string | undefined },
  ): Promise<Tenant>;
  /** Creates the tenant, or makes it exactly what is given; the same again changes nothing. */
  applyTenant(
    name: string,
    body: ApplyTenant,
    options?: WriteOptions & {
      /** Fail with status 412 when it exists. */
      readonly onlyCreate?: boolean | undefined;
    },
  ): Promise<Tenant>;
  readonly plans: Plans;
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
  /** Brings an archived tenant back. */
  restoreTenant(idOrName: string, options?: WriteOptions): Promise<Tenant>;
  /** Ends a failure or a backoff: the next attempt begins now. */
  retryTenant(idOrName: string, options?: WriteOptions): Promise<Tenant>;
  pauseTenant(idOrName: string, options?: WriteOptions): Promise<Tenant>;
  resumeTenant(idOrName: string, options?: WriteOptions): Promise<Tenant>;
  /** Without a generation: to the newest configuration that is another than the present one. */
  rollbackTenant(
    idOrName: string,
    options?: WriteOptions & { readonly generation?: number | undefined },
  ): Promise<Tenant>;
  /** Removes the compute and the record. `force` waits for nothing, needs an admin, and answers what may be left. */
  deleteTenant(
    idOrName: string,
    options?: WriteOptions & { readonly force?: boolean | undefined },
  ): Promise<DeletedTenant>;
  /** Why the tenant is where it is. */
  explainTenant(idOrName: string): Promise<Explanation>;
  /** The newest output of its compute. */
  getLogs(idOrName: string, options?: { readonly tailBytes?: number | undefined }): Promise<string>;
  /** The desired states that it had, newest first. */
  getGenerations(idOrName: string): Promise<Generation[]>;
  /** Newest first; answers after a deletion too. */
  getHistory(idOrName: string, page?: Page): Promise<Transition[]>;
  /** The ledger: every attempt, newest first. */
  getOperations(idOrName: string, page?: Page): Promise<Operation[]>;
  /** What a worker reported of an operation. */
  getOperationEvents(idOrName: string, operationId: string): Promise<OperationEvent[]>;
  /** The fleet at a glance. */
  getSummary(): Promise<Summary>;
  listWorkers(): Promise<Worker[]>;
  listWorkflowProviders(): Promise<WorkflowProvider[]>;
  /** Who this client is to the API. */
  getIdentity(): Promise<Identity>;
  /** The secret is in the answer, and nowhere else. */
  createToken(body: CreateToken): Promise<NewToken>;
  listTokens(page?: TokenPage): Promise<TokenList>;
  /** A new secret; the one before stays good for a while. */
  rotateToken(id: string, options?: { readonly graceSeconds?: number | undefined }): Promise<NewToken>;
  revokeToken(id: string): Promise<void>;
  listAudit(params?: AuditParams): Promise<AuditList>;
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
  /**
   * Every transition as it happens, without gap or repeat, until the signal aborts: a connection that breaks is made
   * again, and goes on where the last one was. Throws WatchExpiredError when that place is not kept any more.
   */
  watch(options?: WatchOptions): AsyncGenerator<TenantEvent, void, undefined>;
}

const DEFAULT_PAGE = 200;

/** Throws LandlordClientError with code `invalid_base_url` when the base URL is none. */
export function createClient(options: TransportOptions): LandlordClient {
  const send = createTransport(options);
  const get = <Answer>(
    path: string,
    query?: Readonly<Record<string, string | number | boolean | undefined>>,
  ) => send<Answer>({ method: "GET", path, query });

  const plan = (method: "POST" | "PUT" | "PATCH" | "DELETE", path: string, body?: unknown) =>
    send<Plan>({
      method,
      path,
      query: { dry_run: true },
      isRepeatable: true,
      ...(body === undefined ? {} : { body }),
    });
  const verb = (idOrName: string, name: string, write?: WriteOptions, body?: unknown) =>
    send<Tenant>({
      method: "POST",
      path: tenantPath(idOrName, `/${name}`),
      headers: conditional(write),
      ...(body === undefined ? {} : { body }),
    });

  async function* listAllTenants(params: ListParams = {}): AsyncGenerator<Tenant, void, undefined> {
    const limit = params.limit ?? DEFAULT_PAGE;
    let next: string | null = params.page_token ?? null;
    do {
      const from = next === null ? {} : { page_token: next };
      const page: TenantList = await get("/v1/tenants", { ...params, limit, ...from });
      yield* page.tenants;
      next = page.next_page_token;
    } while (next !== null);
  }

  return {
    createTenant: (body, { idempotencyKey, ...write } = {}) =>
      send({
        method: "POST",
        path: "/v1/tenants",
        body,
        headers: {
          ...conditional(write),
          ...(idempotencyKey === undefined ? {} : { "idempotency-key": idempotencyKey }),
        },
      }),
    applyTenant: (name, body, { onlyCreate = false, ...write } = {}) =>
      send({
        method: "PUT",
        path: namePath(name),
        body,
        // Exactly this state, however often it is asked for. A write of its own version is not: the first one changes it.
        isRepeatable: write.ifMatch === undefined && write.ifPlan === undefined && !onlyCreate,
        headers: { ...conditional(write), ...(onlyCreate ? { "if-none-match": "*" } : {}) },
      }),
    plans: {
      create: (body) => plan("POST", "/v1/tenants", body),
      apply: (name, body) => plan("PUT", namePath(name), body),
      update: (idOrName, body = {}) => send({ method: "POST", path: tenantPath(idOrName, "/plan"), body }),
      patch: (idOrName, body) => plan("PATCH", tenantPath(idOrName), body),
      archive: (idOrName) => plan("POST", tenantPath(idOrName, "/archive")),
      restore: (idOrName) => plan("POST", tenantPath(idOrName, "/restore")),
      rollback: (idOrName, generation) => plan("POST", tenantPath(idOrName, "/rollback"), { generation }),
      delete: (idOrName) => plan("DELETE", tenantPath(idOrName)),
    },
    getTenant: (idOrName) => get(tenantPath(idOrName)),
    listTenants: (params) => get("/v1/tenants", { ...params }),
    listAllTenants,
    updateTenant: (idOrName, body, write) =>
      send({ method: "PUT", path: tenantPath(idOrName), body, headers: conditional(write) }),
    patchTenant: (idOrName, body, write) =>
      send({ method: "PATCH", path: tenantPath(idOrName), body, headers: conditional(write) }),
    archiveTenant: (idOrName, write) => verb(idOrName, "archive", write),
    restoreTenant: (idOrName, write) => verb(idOrName, "restore", write),
    retryTenant: (idOrName, write) => verb(idOrName, "retry", write),
    pauseTenant: (idOrName, write) => verb(idOrName, "pause", write),
    resumeTenant: (idOrName, write) => verb(idOrName, "resume", write),
    rollbackTenant: (idOrName, { generation, ...write } = {}) =>
      verb(idOrName, "rollback", write, { generation }),
    deleteTenant: (idOrName, { force, ...write } = {}) =>
      send({
        method: "DELETE",
        path: tenantPath(idOrName),
        query: force === true ? { force } : {},
        headers: conditional(write),
      }),
    explainTenant: (idOrName) => get(tenantPath(idOrName, "/explain")),
    getLogs: async (idOrName, { tailBytes } = {}) =>
      (await get<{ logs: string }>(tenantPath(idOrName, "/logs"), { tail_bytes: tailBytes })).logs,
    getGenerations: async (idOrName) =>
      (await get<{ generations: Generation[] }>(tenantPath(idOrName, "/generations"))).generations,
    getHistory: async (idOrName, page) =>
      (await get<History>(tenantPath(idOrName, "/history"), { ...page })).transitions,
    getOperations: async (idOrName, page) =>
      (await get<OperationList>(tenantPath(idOrName, "/operations"), { ...page })).operations,
    getOperationEvents: async (idOrName, operationId) => {
      const path = tenantPath(idOrName, `/operations/${encodeURIComponent(operationId)}/events`);
      return (await get<{ events: OperationEvent[] }>(path)).events;
    },
    getSummary: () => get("/v1/summary"),
    listWorkers: async () => (await get<{ workers: Worker[] }>("/v1/workers")).workers,
    listWorkflowProviders: async () =>
      (await get<{ providers: WorkflowProvider[] }>("/v1/workflow/providers")).providers,
    getIdentity: () => get("/v1/identity"),
    createToken: (body) => send({ method: "POST", path: "/v1/tokens", body }),
    listTokens: (page) => get("/v1/tokens", { ...page }),
    rotateToken: (id, { graceSeconds } = {}) =>
      send({
        method: "POST",
        path: `/v1/tokens/${encodeURIComponent(id)}/rotate`,
        query: { grace_seconds: graceSeconds },
      }),
    revokeToken: (id) => send({ method: "DELETE", path: `/v1/tokens/${encodeURIComponent(id)}` }),
    listAudit: (params) => get("/v1/audit", { ...params }),
    getComputeConfig: (provider) => get("/v1/compute/config", { provider }),
    listComputeEngines: async () => (await get<ComputeEngineList>("/v1/compute/engines")).engines,
    getComputeEngine: (name) => get(`/v1/compute/engines/${encodeURIComponent(name)}`),
    getSweep: () => get("/v1/sweep"),
    requestSweep: ({ removeOrphans = false } = {}) =>
      send({ method: "POST", path: "/v1/sweep", body: { remove_orphans: removeOrphans } }),
    health: () => get("/health"),
    ready: () => send({ method: "GET", path: "/ready", retries: 0, accept: [503] }),
    waitFor: (idOrName, wait) => waitFor(send, idOrName, wait),
    watch: (params) => watch(options, params),
  };
}

function tenantPath(idOrName: string, rest = ""): string {
  return `/v1/tenants/${encodeURIComponent(idOrName)}${rest}`;
}

function namePath(name: string): string {
  return `/v1/tenants/by-name/${encodeURIComponent(name)}`;
}

function conditional({ ifMatch, ifPlan, priority }: WriteOptions = {}): Record<string, string> {
  return {
    ...(ifMatch === undefined ? {} : { "if-match": typeof ifMatch === "number" ? `"${ifMatch}"` : ifMatch }),
    ...(ifPlan === undefined ? {} : { "if-plan": ifPlan }),
    ...(priority === undefined ? {} : { "landlord-priority": priority }),
  };
}
