/** The payload of an operation. Written to the ledger once, and sent from there ever after. */
import type { ProvisionRequest } from "../contract/job.ts";
import type { Operation, Tenant } from "../domain/tenant.ts";

export function buildProvisionRequest(
  tenant: Tenant,
  operation: Operation,
  facts: {
    readonly instanceId: string;
    readonly apiBaseUrl: string;
    readonly engineConfigHash: string | null;
  },
): ProvisionRequest {
  return {
    tenant_id: tenant.id,
    tenant_name: tenant.name,
    operation: operation.kind,
    desired_config: tenant.desiredConfig,
    compute_provider: tenant.computeProvider,
    generation: operation.generation,
    execution_id: operation.executionId,
    start_before: operation.startBefore.toISOString(),
    scopes: [...tenant.observed.scopes],
    observed_resource_ids: { ...tenant.observed.resourceIds },
    labels: { ...tenant.labels },
    annotations: { ...tenant.annotations },
    api_base_url: facts.apiBaseUrl,
    metadata: {
      config_hash: operation.configHash,
      instance_id: facts.instanceId,
      ...(facts.engineConfigHash === null ? {} : { engine_config_hash: facts.engineConfigHash }),
      traceparent: traceparentOf(operation),
    },
  };
}

/** W3C trace context, derived from the ledger row so that a repeated invoke belongs to the same trace. */
function traceparentOf(operation: Operation): string {
  const hex = (id: string): string => id.replaceAll("-", "");
  return `00-${hex(operation.id)}-${hex(operation.executionId).slice(0, 16)}-01`;
}
