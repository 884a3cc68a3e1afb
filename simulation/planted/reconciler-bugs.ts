/** Bugs of somebody who wrote the reconciler or its decisions in a hurry. */
import { VOID_RESULT } from "../../packages/landlord/src/contract/job.ts";
import type { Decision, Facts } from "../../packages/landlord/src/domain/decide.ts";
import type { Plant } from "../planted.ts";
import { abandoned } from "./ports.ts";

const invokeBeforeLedger: Plant = {
  name: "invoke-before-ledger",
  title: "the engine is called first, and the ledger's row is written when it answered",
  wrapStore: (store, { provider }) => ({
    ...store,
    async commit(commits) {
      for (const { newOperation } of commits) {
        if (newOperation === null) continue;
        const { request, operation } = newOperation;
        await provider.invoke({
          workflowName: operation.workflowName,
          request: request as never,
          signal: abandoned(),
        });
      }
      return store.commit(commits);
    },
  }),
};

const unknownTakenAsEnded: Plant = {
  name: "unknown-taken-as-ended",
  title: "an execution that the engine does not know is taken to have ended",
  wrapDecide: (decide) => (facts, settings) =>
    decide(
      facts.execution?.state === "unknown"
        ? {
            ...facts,
            execution: {
              ...facts.execution,
              state: "failed",
              error: { code: "lost", message: "It is gone." },
            },
          }
        : facts,
      settings,
    ),
};

const resultNotEchoed: Plant = {
  name: "result-not-checked",
  title: "whatever an execution answers is believed, also when it answers for another tenant or generation",
  wrapDecide: (decide) => (facts, settings) => {
    const { execution, operation } = facts;
    if (execution?.report === null || execution?.report === undefined || operation === null)
      return decide(facts, settings);
    const { outcome } = execution.report;
    if (outcome === VOID_RESULT.outcome || outcome === "expired") return decide(facts, settings);
    const report = {
      ...execution.report,
      tenantId: operation.tenantId,
      generation: operation.generation,
      configHash: operation.configHash,
    };
    return decide({ ...facts, execution: { ...execution, report } }, settings);
  },
};

const updateLostInFlight: Plant = {
  name: "update-lost-in-flight",
  title: "an operation that ends settles its tenant, also when a newer generation was accepted meanwhile",
  wrapDecide: (decide) => (facts, settings) => {
    const decision = decide(facts, settings);
    if (decision.kind !== "finish" || decision.outcome !== "succeeded") return decision;
    const { tenant } = facts;
    if (tenant.intent !== "present" || decision.change.status === "requested") return decision;
    const change = { ...decision.change, status: "ready", observedGeneration: tenant.generation } as const;
    return { ...decision, change };
  },
};

const retryCounterInMemory: Plant = {
  name: "retry-counter-in-memory",
  title: "attempts are counted by each server for itself",
  wrapDecide(decide) {
    const attemptsOf = new Map<string, number>();
    return (facts, settings) => {
      const key = `${facts.tenant.id}/${facts.tenant.generation}`;
      const attempts = attemptsOf.get(key) ?? 0;
      const decision = decide({ ...facts, tenant: { ...facts.tenant, attempts } }, settings);
      if (decision.kind === "finish") attemptsOf.set(key, decision.change.attempts);
      return decision;
    };
  },
};

const backoffBypassed: Plant = {
  name: "backoff-bypassed",
  title: "the next attempt begins whenever somebody looks at the tenant",
  wrapDecide: (decide) => (facts, settings) =>
    decide(
      facts.operation === null ? { ...facts, tenant: { ...facts.tenant, nextAttemptAt: null } } : facts,
      settings,
    ),
};

const stopNotAwaited: Plant = {
  name: "stop-not-awaited",
  title: "an operation is closed as soon as its stop was asked for",
  wrapDecide: (decide) => (facts, settings) => {
    const { operation, execution } = facts;
    const isStopping = operation !== null && operation.stopPhase !== null && execution?.state === "running";
    if (!isStopping) return decide(facts, settings);
    return decide({ ...facts, execution: { ...execution, state: "failed", error: STOPPED } }, settings);
  },
};

const STOPPED = { code: "stopped", message: "It was told to stop." };

const deleteWithoutProof: Plant = {
  name: "delete-without-proof",
  title: "a delete that ended is a delete that was done",
  wrapDecide: (decide) => (facts, settings) => {
    const decision = decide(facts, settings);
    const isEnded = decision.kind === "finish" && facts.execution?.state !== "unknown";
    return isEnded && isCurrentDelete(facts) ? ({ kind: "remove" } satisfies Decision) : decision;
  },
};

function isCurrentDelete({ operation, tenant }: Facts): boolean {
  return (
    operation?.kind === "delete" && tenant.intent === "deleted" && operation.generation === tenant.generation
  );
}

export const RECONCILER_BUGS: readonly Plant[] = [
  invokeBeforeLedger,
  unknownTakenAsEnded,
  resultNotEchoed,
  updateLostInFlight,
  retryCounterInMemory,
  backoffBypassed,
  stopNotAwaited,
  deleteWithoutProof,
];
