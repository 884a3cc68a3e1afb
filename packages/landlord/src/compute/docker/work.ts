import type { EngineConfig } from "./engine-config.ts";
import type { Daemon, Engine } from "./engine.ts";
import type { Retirement } from "./retirement.ts";
import type { OwnContainer, TenantKeys } from "./tenant-state.ts";

/** What one call of the provider works with: the daemon as it answered at its start. */
export interface Work {
  readonly engine: Engine;
  readonly settings: EngineConfig;
  /** 0 ≤ x < 1; where the search for a free port begins. */
  readonly random: () => number;
  readonly tenant: TenantKeys;
  readonly daemon: Daemon;
  readonly retirement: Retirement;
  readonly signal: AbortSignal;
}

/** Ends the container with its own grace, and removes it. */
export async function removeContainer(
  { engine, signal }: Pick<Work, "engine" | "signal">,
  { id, state }: Pick<OwnContainer, "id" | "state">,
): Promise<void> {
  if (state === "running" || state === "restarting") await engine.stop(id, signal);
  await engine.remove(id, signal);
}
