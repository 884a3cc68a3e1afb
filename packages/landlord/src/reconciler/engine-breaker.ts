/**
 * One breaker for each engine, kept in the database. While it is open no server claims tenants, no tenant collects
 * failures, and exactly one server at a time probes; the first good probe closes it for all.
 */
import type { WorkflowProvider } from "../workflow/provider.ts";
import type { Breaker, WorkStore } from "../store/store.ts";
import type { Logger } from "../telemetry/logger.ts";
import { messageOf } from "../domain/errors.ts";
import type { Runtime } from "./runtime.ts";

export interface EngineBreaker {
  isOpen(): boolean;
  /** Called for every failure to reach the engine. */
  reportFailure(error: unknown): Promise<void>;
  /** Takes over the shared state, and probes when that is due. */
  refresh(rows: readonly Breaker[]): Promise<void>;
}

export interface EngineBreakerSettings {
  readonly probeIntervalMs: number;
  readonly probeTimeoutMs: number;
}

export function isEngineBreaker(key: string): boolean {
  return key.startsWith("engine:");
}

/** The key of an engine's breaker row. */
export function engineBreakerKey(providerName: string): string {
  return `engine:${providerName}`;
}

export function createEngineBreaker(
  store: Pick<WorkStore, "openBreaker" | "closeBreaker" | "takeProbe">,
  provider: Pick<WorkflowProvider, "name" | "health">,
  settings: EngineBreakerSettings,
  runtime: Pick<Runtime, "timeout">,
  logger: Logger,
): EngineBreaker {
  const key = engineBreakerKey(provider.name);
  let open = false;

  async function isHealthy(): Promise<boolean> {
    try {
      await provider.health({ signal: runtime.timeout(settings.probeTimeoutMs) });
      return true;
    } catch {
      // Why it is not, the failure that led here tells better.
      return false;
    }
  }

  async function probe(): Promise<void> {
    if (!(await store.takeProbe({ key, probeInMs: settings.probeIntervalMs }))) return;
    try {
      await provider.health({ signal: runtime.timeout(settings.probeTimeoutMs) });
    } catch (error) {
      await store.openBreaker({ key, error: messageOf(error), probeInMs: settings.probeIntervalMs });
      return;
    }
    await store.closeBreaker({ key });
    open = false;
    logger.info({ engine: provider.name }, "workflow engine is reachable again");
  }

  return {
    isOpen: () => open,
    async reportFailure(error) {
      // A slow or refused call of a healthy engine must not stop the fleet: the engine's own health decides.
      if (open) return;
      if (await isHealthy()) return;
      if (!open)
        logger.warn(
          { engine: provider.name, error: messageOf(error) },
          "workflow engine is unreachable; pausing",
        );
      open = true;
      await store.openBreaker({ key, error: messageOf(error), probeInMs: settings.probeIntervalMs });
    },
    async refresh(rows) {
      const row = rows.find((breaker) => breaker.key === key);
      open = row?.state === "open";
      if (open) await probe();
    },
  };
}
