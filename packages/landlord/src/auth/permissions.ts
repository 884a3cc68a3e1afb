/** Which roles may call which operation: the one table, by the operation ids of the OpenAPI document. */
import type { Role } from "../domain/principal.ts";

const PUBLIC = "public";
const VIEWERS = ["viewer", "operator", "admin"] as const;
const OPERATORS = ["operator", "admin"] as const;
const ADMINS = ["admin"] as const;
const WORKERS = ["worker", "admin"] as const;

/** `public`: needs no credentials. Every route has its line; an operation without one is refused to everybody. */
export const PERMISSIONS: Readonly<Record<string, readonly Role[] | typeof PUBLIC>> = {
  getHealth: PUBLIC,
  getReadiness: PUBLIC,

  listTenants: VIEWERS,
  // A payload of an older sender names no compute provider; the worker then asks for the tenant.
  getTenant: [...VIEWERS, "worker"],
  explainTenant: VIEWERS,
  getTenantLogs: OPERATORS,
  planTenant: OPERATORS,
  getSummary: VIEWERS,
  watchEvents: VIEWERS,

  getHistory: VIEWERS,
  listOperations: VIEWERS,
  listOperationEvents: VIEWERS,
  listGenerations: VIEWERS,

  createTenant: OPERATORS,
  applyTenant: OPERATORS,
  updateTenant: OPERATORS,
  patchTenant: OPERATORS,
  archiveTenant: OPERATORS,
  restoreTenant: OPERATORS,
  // With `force=true` only for `admin`: checked by the route.
  deleteTenant: OPERATORS,
  retryTenant: OPERATORS,
  pauseTenant: OPERATORS,
  resumeTenant: OPERATORS,
  rollbackTenant: OPERATORS,

  getComputeConfig: VIEWERS,
  listComputeEngines: VIEWERS,
  getComputeEngine: [...VIEWERS, "worker"],
  listWorkflowProviders: VIEWERS,
  listWorkers: VIEWERS,
  reportWorker: WORKERS,
  removeWorker: WORKERS,
  reportProgress: WORKERS,

  getSweep: VIEWERS,
  requestSweep: ADMINS,

  getIdentity: [...VIEWERS, "worker"],
  createToken: ADMINS,
  listTokens: ADMINS,
  rotateToken: ADMINS,
  revokeToken: ADMINS,
  listAudit: ADMINS,
};

/** What concerns all tenants at once, or hands out access: not for whoever is bound to a part of the tenants. */
export const FLEET_WIDE: ReadonlySet<string> = new Set([
  "getSweep",
  "requestSweep",
  "createToken",
  "listTokens",
  "rotateToken",
  "revokeToken",
  "listAudit",
]);
