/** Gathers the facts for explain(), and shows its answer. */
import type { z } from "zod";
import type { ExplanationBody, workerListSchema } from "../contract/fleet.ts";
import { explain, type OutageFact, type WorkerFact } from "../domain/explain.ts";
import type { Principal } from "../domain/principal.ts";
import type { Breaker } from "../store/store.ts";
import { notFound } from "./change.ts";
import type { HttpDependencies } from "./dependencies.ts";
import { isVisible } from "./principal.ts";

const WORKERS_READ = 500;
const WORKERS_SHOWN = 20;

export async function explainTenant(
  idOrName: string,
  principal: Principal,
  dependencies: HttpDependencies,
): Promise<ExplanationBody> {
  const { fleet, engine } = dependencies;
  const [standing, breakers, workers] = await Promise.all([
    fleet.getStanding({ idOrName }),
    dependencies.openBreakers(),
    fleet.listWorkers({ limit: WORKERS_READ }),
  ]);
  if (standing === null || !isVisible(principal, standing.stored.tenant.labels)) throw notFound(idOrName);
  const { operation } = standing;
  const { tenant } = standing.stored;
  const engineName = operation?.workflowProvider ?? engine.name;
  const workflowName = operation?.workflowName ?? engine.workflowName;
  const able = workers.filter(
    (worker) =>
      worker.engine === engineName &&
      worker.computeProviders.includes(tenant.computeProvider) &&
      worker.workflows.includes(workflowName),
  );
  const explanation = explain({
    tenant,
    queue: standing,
    operation,
    engineOutage: outageOf(breakers, `engine:${engineName}`),
    computeOutage: outageOf(breakers, `compute:${tenant.computeProvider}`),
    workers: able,
    workflowName,
    operationDeadlineMs: dependencies.conditions.operationDeadlineMs,
    now: standing.now,
  });
  return {
    tenant_id: tenant.id,
    tenant_name: tenant.name,
    status: tenant.status,
    settled: explanation.isSettled,
    stalled: explanation.isStalled,
    reason: explanation.reason,
    message: explanation.message,
    what_to_do: [...explanation.whatToDo],
    since: explanation.since.toISOString(),
    next_attempt_at: explanation.nextAttemptAt?.toISOString() ?? null,
    attempts: tenant.attempts,
    queue: explanation.isSettled
      ? null
      : { lane: standing.lane, owner: standing.owner, position: standing.ahead },
    execution:
      operation === null
        ? null
        : {
            operation_id: operation.id,
            kind: operation.kind,
            generation: operation.generation,
            execution_id: operation.executionId,
            workflow_provider: operation.workflowProvider,
            workflow: operation.workflowName,
            sub_state: operation.subState,
            retry_count: operation.retryCount,
            started_at: operation.invokedAt?.toISOString() ?? null,
            stop_reason: operation.stopReason,
            progress: standing.progress,
            link: engine.linkTo(operation),
          },
    last_error: tenant.lastError,
    workers: able
      .toSorted((one, other) => Number(other.isLive) - Number(one.isLive))
      .slice(0, WORKERS_SHOWN)
      .map(renderWorker),
  };
}

function outageOf(breakers: readonly Breaker[], key: string): OutageFact | null {
  const breaker = breakers.find((each) => each.key === key && each.state === "open");
  return breaker === undefined
    ? null
    : { since: breaker.openedAt, error: breaker.lastError, nextProbeAt: breaker.nextProbeAt };
}

export function renderWorker(worker: WorkerFact): z.infer<typeof workerListSchema>["workers"][number] {
  return {
    id: worker.id,
    engine: worker.engine,
    workflows: [...worker.workflows],
    compute_providers: [...worker.computeProviders],
    scopes: [...worker.scopes],
    version: worker.version,
    started_at: worker.startedAt.toISOString(),
    registered_at: worker.registeredAt?.toISOString() ?? null,
    last_error: worker.lastError,
    last_seen_at: worker.lastSeenAt.toISOString(),
    live: worker.isLive,
  };
}
