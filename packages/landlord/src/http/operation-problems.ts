/** Which problems an operation can answer. The OpenAPI document says it, and tests ask each of them of each operation. */
import { FLEET_WIDE, PERMISSIONS } from "../auth/permissions.ts";
import { PROBLEM_CODES, type ProblemCode } from "../contract/problem-codes.ts";

export interface OperationShape {
  readonly operationId: string;
  /** In lower case. */
  readonly method: string;
  /** It has parameters or a body that may be wrong. */
  readonly hasInput: boolean;
}

const WRITES = new Set(["post", "put", "patch", "delete"]);

/** Of the questions that a worker answers. */
const WORKER_PROBLEMS: readonly ProblemCode[] = [
  "no_worker",
  "query_failed",
  "invalid_answer",
  "engine_unreachable",
  "engine_unavailable",
  "engine_unauthorized",
  "engine_rejected",
];
const CHANGE: readonly ProblemCode[] = [
  "tenant_not_found",
  "precondition_failed",
  "plan_stale",
  "write_contention",
  ...WORKER_PROBLEMS,
];
const DESIRED_STATE: readonly ProblemCode[] = [
  "invalid_compute_config",
  "unknown_compute_provider",
  "tenant_deleting",
  "outside_scope",
];
const DESIRED_CHANGE: readonly ProblemCode[] = [...DESIRED_STATE, "immutable_field", "tenant_archived"];
/** A configuration that was accepted before is put to the provider once more. */
const KEPT_CONFIG: readonly ProblemCode[] = [
  "invalid_compute_config",
  "compute_provider_missing",
  "tenant_deleting",
];

/** Beyond what follows from an operation's shape. */
const OWN_PROBLEMS: Readonly<Record<string, readonly ProblemCode[]>> = {
  createTenant: [
    ...DESIRED_STATE,
    ...WORKER_PROBLEMS,
    "compute_provider_required",
    "name_taken",
    "plan_stale",
    "idempotency_key_reused",
  ],
  applyTenant: [...CHANGE, ...DESIRED_CHANGE, "compute_provider_required"],
  updateTenant: [...CHANGE, ...DESIRED_CHANGE, "name_taken"],
  patchTenant: [...CHANGE, ...DESIRED_CHANGE, "name_taken"],
  planTenant: ["tenant_not_found", "precondition_failed", ...DESIRED_CHANGE, ...WORKER_PROBLEMS],
  archiveTenant: [...CHANGE, "tenant_deleting"],
  deleteTenant: CHANGE,
  retryTenant: CHANGE,
  pauseTenant: CHANGE,
  resumeTenant: CHANGE,
  restoreTenant: [...CHANGE, ...KEPT_CONFIG, "not_archived"],
  rollbackTenant: [...CHANGE, ...KEPT_CONFIG, "tenant_archived", "generation_not_found"],

  listTenants: ["invalid_page_token"],
  getTenant: ["tenant_not_found", "too_many_watchers", "events_unavailable"],
  explainTenant: ["tenant_not_found"],
  getTenantLogs: ["tenant_not_found", ...WORKER_PROBLEMS],
  getHistory: ["tenant_not_found"],
  listOperations: ["tenant_not_found"],
  listOperationEvents: ["operation_not_found"],
  listGenerations: ["tenant_not_found"],
  watchEvents: ["invalid_token", "watch_expired", "too_many_watchers", "events_unavailable"],

  getComputeConfig: ["unknown_compute_provider"],
  getComputeEngine: ["unknown_compute_provider"],
  reportProgress: ["execution_not_found"],
  createToken: ["name_taken"],
  listTokens: ["invalid_page_token"],
  rotateToken: ["token_not_found"],
  revokeToken: ["token_not_found"],
  listAudit: ["invalid_page_token"],
};

/** Of the statuses that a code may have, the one that it has here. */
const STATUS_HERE: Readonly<Record<string, Partial<Record<ProblemCode, number>>>> = {
  getComputeEngine: { unknown_compute_provider: 404 },
};

/** The codes by status, both in rising order. Those of no operation are not among them. */
export function problemsOf(operation: OperationShape): ReadonlyMap<number, readonly ProblemCode[]> {
  const { operationId } = operation;
  const codes = new Set([...codesOfShape(operation), ...(OWN_PROBLEMS[operationId] ?? [])]);
  const byStatus = new Map<number, ProblemCode[]>();
  for (const code of [...codes].sort()) {
    const status = STATUS_HERE[operationId]?.[code] ?? PROBLEM_CODES[code].statuses[0] ?? 500;
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  return new Map([...byStatus].sort(([a], [b]) => a - b));
}

function codesOfShape({ operationId, method, hasInput }: OperationShape): readonly ProblemCode[] {
  const codes: ProblemCode[] = ["host_not_allowed", "origin_not_allowed"];
  if (PERMISSIONS[operationId] !== "public") {
    // Keys are in the database, so an operation that needs nothing else of it does not work without it either.
    codes.push("unauthenticated", "token_expired", "forbidden", "rate_limited", "overloaded");
    codes.push("database_unavailable", "oidc_unavailable");
  }
  if (FLEET_WIDE.has(operationId)) codes.push("outside_scope");
  // Bodies are read also where none is asked for.
  if (WRITES.has(method))
    codes.push("invalid_request", "malformed_json", "body_too_large", "unsupported_media_type");
  if (hasInput) codes.push("invalid_request");
  return codes;
}

/** The operations of which the code is more than a matter of their shape. */
export function operationsWith(code: ProblemCode): readonly string[] {
  return Object.keys(OWN_PROBLEMS).filter((operation) => OWN_PROBLEMS[operation]?.includes(code));
}
