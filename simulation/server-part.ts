/** A server as a party: its ports lead over the network, and end with its life. */
import { createSimulatedProvider, engineUnavailable, type Ask, type EngineCall } from "./engine-provider.ts";
import type { SimulatedEngine } from "./engine.ts";
import { runtimeOf, type Life } from "./parties.ts";
import type { PartsDependencies } from "./parts.ts";
import { startSimulatedServer, type SimulatedServer } from "./server.ts";
import { ENGINE_TIMEOUT_MS, reconcilerSettings, STATEMENT_TIMEOUT_MS } from "./settings.ts";
import { createSimulatedStore, databaseUnavailable, type Statement } from "./store.ts";

/** A completion is waited for until it comes, or the server ends. */
const WATCH_TIMEOUT_MS = 600_000;
/** Between the moment in which a claim reads and the one in which it locks. */
const LONGEST_PAUSE_MS = 3;

export function startServerPart(
  life: Life,
  engine: SimulatedEngine,
  ask: Ask,
  dependencies: PartsDependencies,
): SimulatedServer {
  const { plan, scheduler, network, database, plant, logger } = dependencies;
  const leaseOwner = `${life.party}.${life.number}`;
  const random = dependencies.random.fork(leaseOwner);
  const runtime = runtimeOf(life, scheduler, network, random);
  const statement: Statement = (name, perform) =>
    network.call({
      from: life,
      to: "database",
      name,
      timeoutMs: STATEMENT_TIMEOUT_MS,
      perform,
      failure: databaseUnavailable,
    });
  const call: EngineCall = (name, signal, perform) =>
    network.call({
      from: life,
      to: "engine",
      name,
      timeoutMs: name === "watch" ? WATCH_TIMEOUT_MS : ENGINE_TIMEOUT_MS,
      signal,
      perform,
      failure: engineUnavailable,
    });
  const pause = (): Promise<void> =>
    new Promise((resolve) => void scheduler.after(random.between(0, LONGEST_PAUSE_MS), 0, resolve));
  const provider = createSimulatedProvider(engine, call, ask);
  const wrapped = plant?.wrapProvider?.(provider) ?? provider;
  const store = createSimulatedStore(database, statement, leaseOwner, pause);
  const counted: typeof store = {
    ...store,
    async writeTenant(params) {
      const outcome = await store.writeTenant(params);
      if (outcome.kind === "outdated") dependencies.faults.count("version_conflict");
      return outcome;
    },
  };
  return startSimulatedServer({
    store: plant?.wrapStore?.(counted, { provider, database }) ?? counted,
    provider: wrapped,
    runtime,
    settings: reconcilerSettings(leaseOwner, plan),
    decide: plant?.wrapDecide?.(dependencies.decide) ?? dependencies.decide,
    boundToScope: !plan.isShared,
    removeOrphans: plan.removeOrphans,
    logger,
  });
}
