/**
 * Hears of ended executions early, so that a pass may wait for the end of a short one, and nobody has to poll for a long one. Only executions that this server invoked are watched, at most LIMIT of them; what
 * is heard is a cache of the engine's answer plus a hint to look again. Losing either costs one poll.
 */
import type { ExecutionRef, WorkflowProvider, WorkflowStatus } from "../workflow/provider.ts";
import type { Logger } from "../telemetry/logger.ts";
import { setMaxListeners } from "node:events";
import { messageOf } from "../domain/errors.ts";
import type { Runtime } from "./runtime.ts";

const WATCH_LIMIT = 1_000;
const HEARD_LIMIT = 2_000;

export interface Completions {
  watch(provider: WorkflowProvider, tenantId: string, execution: ExecutionRef): void;
  /** Resolves with true as soon as the end of a watched execution is heard, with false when it is not within this time. */
  soon(executionId: string, withinMs: number): Promise<boolean>;
  /** The status with which an execution ended, if it was heard; it is forgotten afterwards. */
  take(executionId: string): WorkflowStatus | null;
  stop(): void;
}

/** @param onEnded of an execution whose end nobody waits for */
export function createCompletions(
  onEnded: (tenantId: string) => void,
  runtime: Pick<Runtime, "schedule">,
  logger: Logger,
): Completions {
  const watched = new Set<string>();
  // One for each pass that waits.
  const waiting = new Map<string, (isHeard: boolean) => void>();
  const heard = new Map<string, WorkflowStatus>();
  const stopped = new AbortController();
  // Each watched execution listens to it.
  setMaxListeners(0, stopped.signal);

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
          const waiter = waiting.get(execution.executionId);
          if (waiter === undefined) onEnded(tenantId);
          else waiter(true);
        })
        .catch((error: unknown) => {
          if (!stopped.signal.aborted) {
            logger.debug(
              { execution_id: execution.executionId, error: messageOf(error) },
              "completion not heard; polling",
            );
          }
        })
        .finally(() => {
          watched.delete(execution.executionId);
          // Nothing will be heard of it any more.
          waiting.get(execution.executionId)?.(false);
        });
    },
    soon(executionId, withinMs) {
      if (heard.has(executionId)) return Promise.resolve(true);
      if (!watched.has(executionId) || withinMs <= 0) return Promise.resolve(false);
      return new Promise((resolve) => {
        const done = (isHeard: boolean): void => {
          cancel();
          waiting.delete(executionId);
          resolve(isHeard);
        };
        const cancel = runtime.schedule(withinMs, () => done(false));
        waiting.set(executionId, done);
      });
    },
    take(executionId) {
      const status = heard.get(executionId) ?? null;
      heard.delete(executionId);
      return status;
    },
    stop: () => stopped.abort(),
  };
}
