/** Questions to compute, through an engine and a worker: what they are sent as, and what their answers mean. */
import {
  listAnswerSchema,
  observeAnswerSchema,
  type ListAnswer,
  type ObserveAnswer,
  type QueryRequest,
} from "../contract/job.ts";
import { LandlordError } from "../domain/errors.ts";
import type { Observation } from "../domain/observation.ts";
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
