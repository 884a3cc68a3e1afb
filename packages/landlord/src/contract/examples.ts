/**
 * Bodies and answers as they are, for the OpenAPI document: by the name of their schema. Taken from a running system; a
 * test holds each against its schema.
 */
import type { z } from "zod";
import type { auditEntrySchema, identitySchema, newTokenSchema, TokenBody } from "./access.ts";
import type { tenantEventSchema } from "./events.ts";
import type { ExplanationBody, WorkerReport } from "./fleet.ts";
import type { PlanBody } from "./plan.ts";
import type { sweepSchema } from "./system.ts";
import type {
  CreateTenantBody,
  generationSchema,
  operationSchema,
  TenantBody,
  transitionSchema,
} from "./tenant.ts";

const TENANT_ID = "37ae6f26-c4fa-47d1-836d-312f1a52493b";
const OPERATION_ID = "1e71c8de-b89c-4b86-b912-c496060f9054";
const EXECUTION_ID = "010ffd2a-bff8-4af5-956e-ff168ef27710";
const REQUEST_ID = "e4b3992d-6655-4820-9b84-309b39486ab1";
const SCOPE = "process:worker-1:fd80de50-b565-4ccc-b601-c9a6da443e67";
const CREATED_AT = "2026-11-22T08:59:10.421Z";
const STARTED_AT = "2026-11-22T08:59:10.493Z";
const READY_AT = "2026-11-22T08:59:11.045Z";

const written = { command: ["sleep", "600"], env: { TEXT: "hello" } };
const config = { ...written, compute_provider: "process" };
const labels = { env: "prod", team: "payments" };

const condition = (
  type: TenantBody["conditions"][number]["type"],
  status: "True" | "False",
  reason: string,
) => ({
  type,
  status,
  reason,
  message: "",
  observed_generation: 1,
  since: READY_AT,
});

const tenant: TenantBody = {
  id: TENANT_ID,
  name: "acme",
  status: "ready",
  status_message: "",
  intent: "present",
  compute_provider: "process",
  desired_config: config,
  compute_config: config,
  observed_config: config,
  observed_resource_ids: { pid: "32288", cgroup: "v1", launch: "5c9a0ba5-20cf-405d-97c9-c963129a09da" },
  endpoints: [],
  workflow_execution_id: EXECUTION_ID,
  workflow_sub_state: "succeeded",
  workflow_retry_count: 0,
  generation: 1,
  observed_generation: 1,
  paused: false,
  conditions: [
    condition("Ready", "True", "ready"),
    condition("Progressing", "False", "settled"),
    condition("Healthy", "True", "observed_healthy"),
    condition("ComputeReachable", "True", "reachable"),
    condition("EngineReachable", "True", "reachable"),
    condition("Stalled", "False", "within_deadline"),
    condition("Paused", "False", "not_paused"),
  ],
  labels,
  annotations: {},
  version: 1,
  created_at: CREATED_AT,
  updated_at: READY_AT,
};

const plan: PlanBody = {
  tenant_id: TENANT_ID,
  tenant_name: "acme",
  hash: "ea472e40f738d943c6dac4ac8f75ba6da821fa3e4bd32d764b6a1e4c8c6af26c",
  action: "replace",
  downtime: true,
  generation: 2,
  fields: [
    {
      pointer: "/compute_config/command",
      from: ["sleep", "600"],
      to: ["sleep", "900"],
      action: "replace",
    },
  ],
  changes: [{ action: "replace", resource: "process", fields: ["/command"], downtime: true }],
  observed: { presence: "present", generation: 1, health: "healthy", message: null, scope: SCOPE },
  desired_config: { ...config, command: ["sleep", "900"] },
};

const create: CreateTenantBody = { name: "acme", compute_config: written, labels };

const workerReport: WorkerReport = {
  engine: "restate",
  workflows: ["LandlordTenantV1"],
  compute_providers: ["process"],
  scopes: [SCOPE],
  version: "0.1.0",
  started_at: "2026-11-22T08:58:36.497Z",
  registered_at: "2026-11-22T08:59:06.630Z",
  last_error: null,
};
const worker = {
  id: "worker-1-31874-ae9310d9",
  ...workerReport,
  last_seen_at: "2026-11-22T08:59:07.536Z",
  live: true,
};

const explanation: ExplanationBody = {
  tenant_id: TENANT_ID,
  tenant_name: "acme",
  status: "ready",
  settled: true,
  stalled: false,
  reason: "ready",
  message: "It is ready at generation 1.",
  what_to_do: [],
  since: READY_AT,
  next_attempt_at: null,
  attempts: 0,
  queue: null,
  execution: null,
  last_error: null,
  workers: [worker],
};

const transition: z.infer<typeof transitionSchema> = {
  tenant_id: TENANT_ID,
  tenant_name: "acme",
  from_status: "provisioning",
  to_status: "ready",
  reason: "ready",
  message: "",
  generation: 1,
  actor: "reconciler",
  request_id: null,
  operation_id: OPERATION_ID,
  at: READY_AT,
};
const event: z.infer<typeof tenantEventSchema> = { ...transition, labels };

const operation: z.infer<typeof operationSchema> = {
  id: OPERATION_ID,
  tenant_id: TENANT_ID,
  kind: "create",
  generation: 1,
  execution_id: EXECUTION_ID,
  workflow_provider: "restate",
  outcome: "succeeded",
  error: null,
  sub_state: null,
  retry_count: 0,
  stop_reason: null,
  created_at: STARTED_AT,
  invoked_at: "2026-11-22T08:59:10.530Z",
  finished_at: READY_AT,
};

const generation: z.infer<typeof generationSchema> = {
  generation: 1,
  intent: "present",
  compute_provider: "process",
  compute_config: config,
  config_hash: "19e351cf25ae91e3392437ea809eedc8867933573c6cf635d07d55aa074f39a0",
  actor: "ci",
  request_id: REQUEST_ID,
  created_at: CREATED_AT,
};

const token: TokenBody = {
  id: "518b5732-3964-497b-9fba-cab1e7a0791b",
  name: "ci",
  role: "operator",
  scope: "team=payments",
  created_by: "admin-token",
  created_at: "2026-11-22T08:59:17.073Z",
  expires_at: null,
  last_used_at: null,
  previous_secret_expires_at: null,
};
const newToken: z.infer<typeof newTokenSchema> = {
  ...token,
  secret: "ll_0000000000000000000000000000000000000000000",
};

const audited: z.infer<typeof auditEntrySchema> = {
  id: 1,
  at: "2026-11-22T08:59:10.434Z",
  actor: "ci",
  role: "operator",
  action: "createTenant",
  outcome: "allowed",
  status: 201,
  code: null,
  tenant: TENANT_ID,
  request_id: REQUEST_ID,
  remote_address: "127.0.0.1",
  detail: { method: "key" },
};

const identity: z.infer<typeof identitySchema> = {
  name: "ci",
  role: "operator",
  scope: "team=payments",
  authenticated_by: "key",
  expires_at: null,
};

const sweep: z.infer<typeof sweepSchema> = {
  requested_at: "2026-11-22T08:59:14.013Z",
  finished_at: "2026-11-22T08:59:15.509Z",
  report: { resources: 1, orphans: 0, adopted: 0, rechecked: 0, strays: [], unseen: [] },
  orphans: [],
};

const computeEngine = {
  name: "mock",
  schema: { $schema: "https://json-schema.org/draft/2020-12/schema", type: "object" },
  defaults: null,
  immutable_keys: [],
  engine_config: {},
  engine_config_hash: "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
};

export const EXAMPLES: Readonly<Record<string, unknown>> = {
  CreateTenant: create,
  ApplyTenant: { compute_config: written, labels },
  UpdateTenant: { compute_config: { ...written, command: ["sleep", "900"] } },
  PatchTenant: { compute_config: { env: { TEXT: "good evening" } }, labels: { env: null } },
  PlanRequest: { compute_config: { ...written, command: ["sleep", "900"] } },
  Rollback: { generation: 1 },
  Tenant: tenant,
  DeletedTenant: { ...tenant, status: "deleting", intent: "deleted", generation: 2, version: 2 },
  TenantList: { tenants: [tenant], total: 1, limit: 50, offset: 0, next_page_token: null },
  Plan: plan,
  Explanation: explanation,
  Logs: { logs: "listening on 127.0.0.1:29750\n" },
  Transition: transition,
  TenantEvent: event,
  History: { transitions: [transition] },
  OperationList: { operations: [operation] },
  OperationEvents: {
    events: [
      { at: STARTED_AT, phase: "started", message: "create of generation 1" },
      { at: READY_AT, phase: "succeeded", message: "" },
    ],
  },
  GenerationList: { generations: [generation] },
  Progress: { phase: "waiting", message: "The process started just now." },
  Summary: {
    total: 1,
    by_status: { ready: { count: 1, oldest_at: READY_AT } },
    by_reason: {},
    paused: 0,
    operations_in_flight: 0,
    at: "2026-11-22T08:59:13.886Z",
  },
  WorkerList: { workers: [worker] },
  WorkerReport: workerReport,
  WorkflowProviderList: {
    providers: [{ name: "restate", default: true, reachable: true, error: null, unreachable_since: null }],
  },
  ComputeConfig: { provider: computeEngine.name, schema: computeEngine.schema },
  ComputeEngine: computeEngine,
  ComputeEngineList: { engines: [computeEngine] },
  SweepRequest: { remove_orphans: false },
  Sweep: sweep,
  CreateToken: { name: "ci", role: "operator", scope: "team=payments" },
  Token: token,
  NewToken: newToken,
  TokenList: { tokens: [token], next_page_token: null },
  AuditEntry: audited,
  AuditList: { entries: [audited], next_page_token: null },
  Identity: identity,
  Health: { status: "ok", time: READY_AT },
  Readiness: {
    status: "ready",
    checks: { database: "ok", controller: "ok", workflow: "ok" },
    time: READY_AT,
  },
};

/** Of media types that are more than one JSON document. */
export const TEXT_EXAMPLES: Readonly<Record<string, string>> = {
  "text/event-stream": `id: MS4xNzYwLmpXYTg4M2hDb0Y3NQ\nevent: transition\ndata: ${JSON.stringify(event)}\n\n`,
  "application/x-ndjson": `${JSON.stringify(audited)}\n`,
};
