/** Questions to compute, through an engine and a worker: what they are sent as, and what their answers mean. */
import {
  listAnswerSchema,
  logsAnswerSchema,
  planAnswerSchema,
  observeAnswerSchema,
  type ListAnswer,
  type ObserveAnswer,
  type QueryRequest,
} from "../contract/job.ts";
import { LandlordError } from "../domain/errors.ts";
import type { Observation } from "../domain/observation.ts";
import type { PlannedChange } from "../domain/plan.ts";
import type { WorkflowProvider } from "./provider.ts";

/** Tenants that one `observe` may ask for. */
export const OBSERVE_LIMIT = 100;

interface Question {
  readonly computeProvider: string;
  readonly instanceId: string;
  /** Only a worker there can answer; null for any. */
  readonly scope: string | null;
  readonly signal: AbortSignal;
}

/**
 * Looks at the compute of at most OBSERVE_LIMIT tenants; answers in the order asked. Throws what `query` throws, and
 * `invalid_answer`.
 */
export async function observe(
  engine: Pick<WorkflowProvider, "query">,
  question: Question & {
    readonly tenants: readonly { readonly tenantId: string; readonly scopes: readonly string[] }[];
  },
): Promise<readonly Observation[]> {
  const tenants = question.tenants.map(({ tenantId, scopes }) => ({
    tenant_id: tenantId,
    scopes: [...scopes],
  }));
  const { signal, scope } = question;
  const answer = await engine.query({
    method: "observe",
    request: requestOf(question, tenants),
    scope,
    signal,
  });
  const parsed = observeAnswerSchema.safeParse(answer);
  if (!parsed.success || parsed.data.observations.length !== tenants.length) throw invalidAnswer("observe");
  return parsed.data.observations.map(toObservation);
}

/** Everything that the provider runs for the instance, as far as one worker sees it. */
export async function list(engine: Pick<WorkflowProvider, "query">, question: Question): Promise<ListAnswer> {
  const { signal, scope } = question;
  const answer = await engine.query({ method: "list", request: requestOf(question, []), scope, signal });
  const parsed = listAnswerSchema.safeParse(answer);
  if (!parsed.success) throw invalidAnswer("list");
  return parsed.data;
}

/** What it would take to bring a tenant's compute to a spec, from a fresh look at it. */
export async function plan(
  engine: Pick<WorkflowProvider, "query">,
  question: Question & {
    readonly scopes: readonly string[];
    readonly spec: NonNullable<QueryRequest["spec"]>;
  },
): Promise<{ readonly observation: Observation; readonly changes: readonly PlannedChange[] }> {
  const { signal, scope, spec } = question;
  const tenants = [{ tenant_id: spec.tenant_id, scopes: [...question.scopes] }];
  const request = { ...requestOf(question, tenants), spec };
  const parsed = planAnswerSchema.safeParse(await engine.query({ method: "plan", request, scope, signal }));
  if (!parsed.success) throw invalidAnswer("plan");
  return { observation: toObservation(parsed.data.observation), changes: parsed.data.changes };
}

/** The newest output of a tenant's compute. */
export async function logs(
  engine: Pick<WorkflowProvider, "query">,
  question: Question & {
    readonly tenantId: string;
    readonly scopes: readonly string[];
    readonly tailBytes: number;
  },
): Promise<string> {
  const { signal, scope, tenantId, scopes } = question;
  const tenants = [{ tenant_id: tenantId, scopes: [...scopes] }];
  const request = { ...requestOf(question, tenants), tail_bytes: question.tailBytes };
  const parsed = logsAnswerSchema.safeParse(await engine.query({ method: "logs", request, scope, signal }));
  if (!parsed.success) throw invalidAnswer("logs");
  return parsed.data.logs;
}

function requestOf(question: Question, tenants: QueryRequest["tenants"]): QueryRequest {
  return {
    compute_provider: question.computeProvider,
    instance_id: question.instanceId,
    tenants,
    tail_bytes: 1,
  };
}

function toObservation(observation: ObserveAnswer["observations"][number]): Observation {
  return {
    presence: observation.presence,
    generation: observation.generation,
    configHash: observation.config_hash,
    health: observation.health,
    message: observation.message,
    config: observation.config,
    resourceIds: observation.resource_ids,
    endpoints: observation.endpoints,
    scope: observation.scope,
  };
}

function invalidAnswer(method: string): LandlordError {
  return new LandlordError(
    "invalid_answer",
    `A worker's answer to \`${method}\` could not be understood; do server and workers run compatible versions?`,
  );
}
