/**
 * Hears of ended executions early. Only executions that this server invoked are watched, at most LIMIT of them; what
 * is heard is a cache of the engine's answer plus a hint to look again. Losing either costs one poll.
 */
import type { ExecutionRef, WorkflowProvider, WorkflowStatus } from "../workflow/provider.ts";
import type { Logger } from "../telemetry/logger.ts";
import { messageOf } from "../domain/errors.ts";

const WATCH_LIMIT = 1_000;
const HEARD_LIMIT = 2_000;

export interface Completions {
  watch(provider: WorkflowProvider, tenantId: string, execution: ExecutionRef): void;
  /** The status with which an execution ended, if it was heard; it is forgotten afterwards. */
  take(executionId: string): WorkflowStatus | null;
  stop(): void;
}

export function createCompletions(onEnded: (tenantId: string) => void, logger: Logger): Completions {
  const watched = new Set<string>();
  const heard = new Map<string, WorkflowStatus>();
  const stopped = new AbortController();

  return {
    watch(provider, tenantId, execution) {
      if (
        provider.watchCompletion === null ||
        watched.size >= WATCH_LIMIT ||
        watched.has(execution.executionId)
      )
        return;
      watched.add(execution.executionId);
      provider
        .watchCompletion({ execution, signal: stopped.signal })
        .then((status) => {
          if (status.state !== "succeeded" && status.state !== "failed") return;
          const oldest = heard.keys().next();
          if (heard.size >= HEARD_LIMIT && !oldest.done) heard.delete(oldest.value);
          heard.set(execution.executionId, status);
          onEnded(tenantId);
        })
        .catch((error: unknown) => {
          if (!stopped.signal.aborted) {
            logger.debug(
              { execution_id: execution.executionId, error: messageOf(error) },
              "completion not heard; polling",
            );
          }
        })
        .finally(() => watched.delete(execution.executionId));
    },
    take(executionId) {
      const status = heard.get(executionId) ?? null;
      heard.delete(executionId);
      return status;
    },
    stop: () => stopped.abort(),
  };
}
