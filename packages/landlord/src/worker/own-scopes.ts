/**
 * Jobs of compute that lives on one host must run on that host. A worker finds out which scopes are its own, and has
 * its engine take the jobs that are bound to them. It may have to wait for that: a provider's configuration comes from
 * the API, which may start later, and may name the provider later still.
 */
import { messageOf, UnavailableError } from "../domain/errors.ts";
import type { ComputeProvider } from "../compute/provider.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { WorkflowWorkerEngine } from "./engine.ts";

export interface OwnScopesSettings {
  /** Names of the providers whose jobs are bound to a scope. */
  readonly providers: readonly string[];
  resolve(provider: string): Promise<ComputeProvider>;
  /** First wait while the API does not answer; doubles up to the longest. */
  readonly firstRetryMs?: number;
  /** Between two looks for a provider that is not configured. */
  readonly longestRetryMs?: number;
}

const FIRST_RETRY_MS = 250;
const LONGEST_RETRY_MS = 15_000;

export interface OwnScopes {
  /** Resolves when each provider was looked for once. */
  readonly firstLook: Promise<void>;
  /** Those that are served so far. */
  scopes(): readonly string[];
  stop(): void;
}

/**
 * Goes on in the background until every provider's scope is served; `stop` ends it.
 */
export function serveOwnScopes(
  engine: Pick<WorkflowWorkerEngine, "serveScopes">,
  settings: OwnScopesSettings,
  logger: Logger,
): OwnScopes {
  const { firstRetryMs = FIRST_RETRY_MS, longestRetryMs = LONGEST_RETRY_MS } = settings;
  const timers = new Set<NodeJS.Timeout>();
  const served = new Set<string>();
  let stopped = false;

  async function look(name: string, retryMs: number): Promise<void> {
    let waitMs = longestRetryMs;
    try {
      const scope = await (await settings.resolve(name)).scopeOf({});
      await engine.serveScopes([scope]);
      served.add(scope);
      logger.info({ compute_provider: name, scope }, "worker takes the jobs of this scope");
      return;
    } catch (error) {
      if (error instanceof UnavailableError) waitMs = retryMs;
      logger.debug({ compute_provider: name, error: messageOf(error) }, "no scope to serve yet");
    }
    if (stopped) return;
    const timer = setTimeout(() => {
      timers.delete(timer);
      void look(name, Math.min(retryMs * 2, longestRetryMs));
    }, waitMs);
    timer.unref();
    timers.add(timer);
  }

  const looks = settings.providers.map((name) => look(name, firstRetryMs));
  return {
    firstLook: Promise.all(looks).then(() => undefined),
    scopes: () => [...served],
    stop() {
      stopped = true;
      for (const timer of timers) clearTimeout(timer);
    },
  };
}
