/** Read-only questions of the server, answered from compute. */
import type { QueryMethod, QueryRequest } from "../contract/job.ts";
import type { ComputeProvider, ComputeRef, Observation } from "../compute/provider.ts";
import { LandlordError } from "../domain/errors.ts";
import type { Json } from "../domain/json.ts";

/** Answers are bounded: at most this many resources of a list. */
const LIST_LIMIT = 10_000;

/** @throws LandlordError `invalid_query` when the request lacks what the method needs */
export async function answerQuery(
  method: QueryMethod,
  request: QueryRequest,
  provider: ComputeProvider,
  signal: AbortSignal,
): Promise<Json> {
  const refs: ComputeRef[] = request.tenants.map((tenant) => ({
    instanceId: request.instance_id,
    tenantId: tenant.tenant_id,
    scopes: tenant.scopes,
  }));
  switch (method) {
    case "observe":
      return { observations: (await provider.observe(refs, signal)).map(observationJson) };
    case "plan": {
      const { spec } = request;
      if (spec === undefined) throw new LandlordError("invalid_query", "`plan` needs a spec.");
      const ref = {
        instanceId: request.instance_id,
        tenantId: spec.tenant_id,
        scopes: refs[0]?.scopes ?? [],
      };
      const [observation] = await provider.observe([ref], signal);
      if (observation === undefined) throw new LandlordError("invalid_query", "Nothing was observed.");
      const changes = await provider.plan(
        {
          instanceId: request.instance_id,
          tenantId: spec.tenant_id,
          tenantName: spec.tenant_name,
          generation: spec.generation,
          configHash: spec.config_hash,
          config: spec.desired_config,
          labels: {},
        },
        observation,
      );
      return { observation: observationJson(observation), changes: changes.map((change) => ({ ...change })) };
    }
    case "list": {
      const resources = await provider.list(request.instance_id, signal);
      return {
        truncated: resources.length > LIST_LIMIT,
        resources: resources.slice(0, LIST_LIMIT).map((resource) => ({
          tenant_id: resource.tenantId,
          generation: resource.generation,
          scope: resource.scope,
          resource_ids: resource.resourceIds,
        })),
      };
    }
    case "logs": {
      const [ref] = refs;
      if (ref === undefined) throw new LandlordError("invalid_query", "`logs` needs a tenant.");
      return { logs: await provider.logs(ref, { tailBytes: request.tail_bytes, signal }) };
    }
  }
}

function observationJson(observation: Observation): Json {
  return {
    presence: observation.presence,
    generation: observation.generation,
    config_hash: observation.configHash,
    health: observation.health,
    message: observation.message,
    config: observation.config,
    resource_ids: observation.resourceIds,
    endpoints: observation.endpoints.map((endpoint) => ({ ...endpoint })),
    scope: observation.scope,
  };
}
