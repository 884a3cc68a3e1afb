/** Read-only questions of the API about compute, put to a worker through the engine. */
import type { ComputeCatalog, ComputeQuestions } from "../http/dependencies.ts";
import { isProblemCode, type ProblemCode } from "../contract/problem-codes.ts";
import { LandlordError, UnavailableError } from "../domain/errors.ts";
import type { Tenant } from "../domain/tenant.ts";
import { logs, observe, plan } from "../workflow/ask-compute.ts";
import type { WorkStore } from "../store/store.ts";
import type { WorkflowProvider } from "../workflow/provider.ts";

/** Below the 15 s after which existing clients give up, so that they hear why. */
const QUESTION_TIMEOUT_MS = 10_000;

export function createComputeQuestions(
  engine: Pick<WorkflowProvider, "query">,
  store: Pick<WorkStore, "instanceId">,
  catalog: ComputeCatalog,
): ComputeQuestions {
  const questionAbout = (tenant: Tenant) => ({
    computeProvider: tenant.computeProvider,
    instanceId: store.instanceId,
    scope:
      catalog.get(tenant.computeProvider)?.boundToScope === true ? (tenant.observed.scopes[0] ?? null) : null,
    signal: AbortSignal.timeout(QUESTION_TIMEOUT_MS),
  });
  return {
    observe: (tenant) =>
      answered(async () => {
        const tenants = [{ tenantId: tenant.id, scopes: tenant.observed.scopes }];
        const [seen] = await observe(engine, { ...questionAbout(tenant), tenants });
        if (seen === undefined) throw new LandlordError("invalid_answer", "A worker answered nothing.");
        return seen;
      }),
    plan: (tenant) =>
      answered(() =>
        plan(engine, {
          ...questionAbout(tenant),
          scopes: tenant.observed.scopes,
          spec: {
            tenant_id: tenant.id,
            tenant_name: tenant.name,
            generation: tenant.generation,
            config_hash: tenant.configHash,
            desired_config: tenant.desiredConfig,
          },
        }),
      ),
    logs: (tenant, tailBytes) =>
      answered(() =>
        logs(engine, {
          ...questionAbout(tenant),
          tenantId: tenant.id,
          scopes: tenant.observed.scopes,
          tailBytes,
        }),
      ),
  };
}

/** What went wrong behind the API is worth another try, and no fault of the request. */
async function answered<Answer>(ask: () => Promise<Answer>): Promise<Answer> {
  try {
    return await ask();
  } catch (error) {
    if (!(error instanceof LandlordError)) throw error;
    throw new UnavailableError(codeOf(error), error.message, { cause: error });
  }
}

/** Engines, those of packages too, have codes that say more than the API promises. */
function codeOf(error: LandlordError): ProblemCode {
  if (isProblemCode(error.code)) return error.code;
  return error instanceof UnavailableError ? "engine_unavailable" : "engine_rejected";
}
