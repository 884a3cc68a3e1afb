/**
 * One breaker for each compute provider, kept in the database. While it is open nothing is started for the provider's
 * tenants, none of them collects failures, and exactly one server at a time probes; the first good probe closes it for
 * all. What is in flight goes on: its engine repeats it.
 */
import { messageOf, UnavailableError } from "../domain/errors.ts";
import type { Breaker, WorkStore } from "../store/store.ts";
import type { Logger } from "../telemetry/logger.ts";
import { observe } from "../workflow/ask-compute.ts";
import { QueryFailedError, type WorkflowProvider } from "../workflow/provider.ts";
import type { Runtime } from "./runtime.ts";

export interface ComputeBreakers {
  /** Names of the providers that are out of reach. */
  blocked(): readonly string[];
  /** Something failed that an unreachable provider would explain: one probe tells. */
  suspect(computeProvider: string): void;
  /** Takes over the shared state, and probes when that is due. */
  refresh(rows: readonly Breaker[]): void;
  /** Resolves when no probe is under way. */
  settled(): Promise<void>;
}

export interface ComputeBreakerSettings {
  readonly probeIntervalMs: number;
  readonly probeTimeoutMs: number;
}

const PREFIX = "compute:";
/** Providers that are remembered to have been probed just now. */
const RECENT_LIMIT = 1_000;

function computeBreakerKey(computeProvider: string): string {
  return `${PREFIX}${computeProvider}`;
}

export function createComputeBreakers(
  store: Pick<WorkStore, "openBreaker" | "closeBreaker" | "takeProbe" | "instanceId">,
  engine: Pick<WorkflowProvider, "query">,
  settings: ComputeBreakerSettings,
  runtime: Pick<Runtime, "timeout" | "monotonicMs" | "newId">,
  logger: Logger,
): ComputeBreakers {
  const open = new Set<string>();
  const probedAtMs = new Map<string, number>();
  const probes = new Map<string, Promise<void>>();

  /** Why the provider is out of reach; null when it is not, `undefined` when nobody can tell. */
  async function problemOf(computeProvider: string): Promise<string | null | undefined> {
    try {
      const [seen] = await observe(engine, {
        computeProvider,
        instanceId: store.instanceId,
        scope: null,
        // Nobody's: to find nothing, the provider has to look.
        tenants: [{ tenantId: runtime.newId(), scopes: [] }],
        signal: runtime.timeout(settings.probeTimeoutMs),
      });
      return seen?.presence === "unknown" ? (seen.message ?? "It does not answer.") : null;
    } catch (error) {
      // Without an engine or a worker nothing is known of the provider.
      if (error instanceof UnavailableError) return undefined;
      if (error instanceof QueryFailedError) return messageOf(error);
      return undefined;
    }
  }

  async function probeSuspect(name: string): Promise<void> {
    const problem = await problemOf(name);
    if (typeof problem !== "string") return;
    if (!open.has(name))
      logger.warn({ compute_provider: name, error: problem }, "compute is unreachable; pausing");
    open.add(name);
    await store.openBreaker({
      key: computeBreakerKey(name),
      error: problem,
      probeInMs: settings.probeIntervalMs,
    });
  }

  async function probeOpen(name: string): Promise<void> {
    const key = computeBreakerKey(name);
    if (!(await store.takeProbe({ key, probeInMs: settings.probeIntervalMs }))) return;
    const problem = await problemOf(name);
    if (typeof problem === "string") {
      await store.openBreaker({ key, error: problem, probeInMs: settings.probeIntervalMs });
    } else if (problem === null) {
      await store.closeBreaker({ key });
      open.delete(name);
      logger.info({ compute_provider: name }, "compute is reachable again");
    }
  }

  function begin(name: string, probe: (name: string) => Promise<void>): void {
    if (probes.has(name)) return;
    const running = probe(name)
      .catch((error: unknown) =>
        logger.debug({ compute_provider: name, error: messageOf(error) }, "compute not probed; trying again"),
      )
      .finally(() => probes.delete(name));
    probes.set(name, running);
  }

  return {
    blocked: () => [...open],
    suspect(name) {
      const nowMs = runtime.monotonicMs();
      const lastMs = probedAtMs.get(name);
      if (open.has(name) || (lastMs !== undefined && nowMs - lastMs < settings.probeIntervalMs)) return;
      if (probedAtMs.size >= RECENT_LIMIT) probedAtMs.clear();
      probedAtMs.set(name, nowMs);
      begin(name, probeSuspect);
    },
    refresh(rows) {
      open.clear();
      for (const { key, state } of rows) {
        if (state === "open" && key.startsWith(PREFIX)) open.add(key.slice(PREFIX.length));
      }
      for (const name of open) begin(name, probeOpen);
    },
    async settled() {
      await Promise.all(probes.values());
    },
  };
}
