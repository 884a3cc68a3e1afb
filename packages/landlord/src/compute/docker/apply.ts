/**
 * Brings one tenant to one generation, a step at a time. Every round looks at the daemon anew and does the next
 * thing, so a worker that takes over does what the one before it would have done.
 */
import { setTimeout as delay } from "node:timers/promises";
import { type ApplyResult, ComputeError, type ComputeSpec, type EffectOptions } from "../provider.ts";
import { containerBody } from "./container-body.ts";
import { aborted, contended, DockerFailure, hasStatus, startError } from "./errors.ts";
import { removeLowerFences, isFenced, writeFence } from "./fence.ts";
import { exitMessage } from "./health.ts";
import { chooseHostPorts } from "./host-ports.ts";
import { ensureImage } from "./image.ts";
import { ensureNetwork, removeNetworks } from "./network.ts";
import { observeTenant } from "./observation.ts";
import { configOfLabel, retiredName, tenantBase } from "./ownership.ts";
import { areRivals } from "./plan.ts";
import { declaredPorts, type DockerConfig, dockerConfigSchema } from "./tenant-config.ts";
import {
  generationBeyond,
  isUp,
  lookAtTenant,
  type OwnContainer,
  predecessorOf,
  type TenantState,
} from "./tenant-state.ts";
import { removeContainer, type Work } from "./work.ts";

/** Steps before an apply gives up; more than four only when workers race or ports are taken. */
const APPLY_ROUNDS = 12;
/** Between two rounds when somebody else is at work. */
const RACE_PAUSE_MS = 100;

/** What a step came to: the end of the apply, or another round. */
type Step = ApplyResult | "again" | "somebody else";

export async function applyGeneration(
  work: Work,
  spec: ComputeSpec,
  config: DockerConfig,
  options: EffectOptions,
): Promise<ApplyResult> {
  for (let round = 0; round < APPLY_ROUNDS; round += 1) {
    if (options.signal.aborted) throw aborted();
    const step = await applyStep(work, spec, config, options);
    if (typeof step === "object") return step;
    if (step === "somebody else") {
      await delay(RACE_PAUSE_MS, undefined, { signal: options.signal }).catch(() => undefined);
    }
  }
  throw contended("Other workers, or other users of the daemon, kept changing this tenant meanwhile.");
}

async function applyStep(
  work: Work,
  spec: ComputeSpec,
  config: DockerConfig,
  options: EffectOptions,
): Promise<Step> {
  const state = await lookAtTenant(work.engine, work.tenant, spec, work.signal);
  work.retirement.notice(state.retired, work.daemon.clockOffsetMs);
  const own = state.containers.find(({ generation }) => generation === spec.generation);
  const beyond = generationBeyond(state, spec);
  if (beyond !== null) {
    await giveWay(work, spec, state, own);
    return { kind: "stale", generation: beyond };
  }
  if (own === undefined) return create(work, spec, config, state, options);
  await removeLowerFences(work.engine, state, work.signal);
  switch (own.state) {
    case "created":
      return start(work, spec, config, { state, own });
    case "running":
    case "restarting":
      return settle(work, spec, { state, own });
    case "paused":
      await work.engine.unpause(own.id, work.signal);
      return "somebody else";
    case "exited":
      return startAgain(work, spec, config, { state, own });
    default:
      // Dead, or being removed.
      await work.engine.remove(own.id, work.signal);
      return "somebody else";
  }
}

/** Removes what this generation made and must not start, and the network that came too late. */
async function giveWay(
  work: Work,
  spec: ComputeSpec,
  { containers, retired }: TenantState,
  own: OwnContainer | undefined,
): Promise<void> {
  const isMine = own !== undefined && own.configHash === spec.configHash && own.state === "created";
  if (isMine) await removeContainer(work, own);
  if (containers.length + retired.length - Number(isMine) === 0)
    await removeNetworks(work.engine, work.tenant, spec, work.signal);
}

/** Creates the container and does not start it: that is for the next round, which looks at the fences again. */
async function create(
  work: Work,
  spec: ComputeSpec,
  config: DockerConfig,
  state: TenantState,
  options: EffectOptions,
): Promise<Step> {
  const { engine, tenant, settings, signal } = work;
  // What can be refused is refused before anything is marked: it leaves what serves alone.
  await ensureImage(engine, config, settings, options);
  const fence = { generation: spec.generation, kind: "applied", configHash: spec.configHash } as const;
  if (!isFenced(state, fence)) {
    const written = await writeFence(engine, tenant, spec, fence, signal);
    if (written === null) return "again";
    // Of two configs of one generation, the first to write wins.
    if (written.configHash !== spec.configHash) return { kind: "stale", generation: spec.generation };
  }
  const network = await ensureNetwork(engine, tenant, spec, { config, settings, signal });
  const ports = await chooseHostPorts(
    engine,
    declaredPorts(config),
    { portMin: settings.portMin, portMax: settings.portMax, random: work.random },
    signal,
  );
  const base = tenantBase(tenant.prefix, spec);
  try {
    await engine.create(
      containerBody(spec, config, { base, keys: tenant.keys, engine: settings, ports, network }),
      signal,
    );
    return "again";
  } catch (error) {
    // Another worker's, or one under way.
    if (hasStatus(error, 409)) return "somebody else";
    throw startError(error);
  }
}

interface Place {
  readonly state: TenantState;
  readonly own: OwnContainer;
}

/** Starts the container by its id: had a destroy removed it meanwhile, a new one of that name would not be meant. */
async function start(work: Work, spec: ComputeSpec, config: DockerConfig, place: Place): Promise<Step> {
  const { engine, signal } = work;
  await ensureNetwork(engine, work.tenant, spec, { config, settings: work.settings, signal });
  const stopped = await stopRivals(work, config, place);
  try {
    await engine.start(place.own.id, signal);
  } catch (error) {
    if (hasStatus(error, 404) && (await engine.inspect(place.own.id, signal)) === null) return "again";
    const failure = startError(error);
    // Somebody has a port that was free when it was chosen: the next container gets another.
    const isPortTaken = isPortConflict(failure) && !hasFixedPort(config, failure);
    if (isPortTaken || isHalfStarted(error) || isNetworkGone(config, error)) {
      await engine.remove(place.own.id, signal);
      return "again";
    }
    // What had to stop for it serves again; should that fail too, the first failure is the one to tell.
    await Promise.allSettled(stopped.map(({ id }) => engine.start(id, signal)));
    throw failure;
  }
  // Nothing of theirs can serve any more, and a replaced container is not kept for nothing.
  for (const container of stopped) await engine.remove(container.id, signal);
  const containers = place.state.containers.filter((each) => !stopped.includes(each));
  return settle(work, spec, { ...place, state: { ...place.state, containers } });
}

/** Stops what cannot run beside the new container. Answers what may be started again if the new one does not. */
async function stopRivals(
  work: Work,
  config: DockerConfig,
  { state, own }: Place,
): Promise<readonly OwnContainer[]> {
  const rivals = [...state.containers, ...state.retired].filter(
    (each) => each.id !== own.id && each.generation < own.generation && isUp(each) && isRivalOf(each, config),
  );
  for (const rival of rivals) {
    if (rival.retiredUntilSeconds === null) await work.engine.stop(rival.id, work.signal);
    else await removeContainer(work, rival);
  }
  return rivals.filter(({ retiredUntilSeconds }) => retiredUntilSeconds === null);
}

function isRivalOf(container: OwnContainer, config: DockerConfig): boolean {
  const parsed = dockerConfigSchema.safeParse(configOfLabel(container.config, []));
  return !parsed.success || areRivals(config, parsed.data);
}

/**
 * A daemon that was killed within a start forgets the start, and its runtime remembers the id: no start of this
 * container will ever succeed, and one of another id will.
 */
function isHalfStarted(error: unknown): boolean {
  return error instanceof DockerFailure && /^task \w+: already exists|id already in use/.test(error.message);
}

/** The network that this provider made for the container is gone: a destroy removed it. The next container gets another. */
function isNetworkGone({ network_mode: asked }: DockerConfig, error: unknown): boolean {
  if (asked !== undefined || !hasStatus(error, 404)) return false;
  return error instanceof DockerFailure && /network \S+ not found/.test(error.message);
}

function isPortConflict(failure: unknown): failure is ComputeError {
  return failure instanceof ComputeError && failure.code === "port_in_use";
}

/** True when the conflict may be about a port that the tenant fixed: no other may be taken for it. */
function hasFixedPort(config: DockerConfig, { providerError }: ComputeError): boolean {
  const fixed = declaredPorts(config).flatMap(({ hostPort }) => hostPort ?? []);
  const named = /:([0-9]{1,5})(?=[\s:]|$)/g;
  const ports = [...(providerError ?? "").matchAll(named)].map(([, port]) => Number(port));
  return config.network_mode === "host" || fixed.some((port) => ports.length === 0 || ports.includes(port));
}

/** An ended container is started again, and its end is told. */
async function startAgain(work: Work, spec: ComputeSpec, config: DockerConfig, place: Place): Promise<Step> {
  const container = await work.engine.inspect(place.own.id, work.signal);
  if (container === null) return "again";
  const ended = await exitMessage(container, work);
  const step = await start(work, spec, config, place);
  if (typeof step !== "object") return step;
  throw new ComputeError("workload_exited", `${ended} It was started again.`, { retryable: true });
}

/** Looks at the started container, and tidies up below it: all of it once it is healthy. */
async function settle(work: Work, spec: ComputeSpec, { state, own }: Place): Promise<Step> {
  const predecessor = predecessorOf(state, spec.generation);
  const lower = state.containers.filter(({ generation }) => generation < spec.generation);
  // At most one older generation stays, so attempts that never became healthy do not pile up.
  for (const container of lower) if (container !== predecessor) await removeContainer(work, container);
  const observation = await observeTenant(work, spec, predecessor === null ? [own] : [own, predecessor]);
  if (observation.presence !== "present" || observation.generation !== spec.generation) return "again";
  if (observation.health === "healthy" && predecessor !== null) await retire(work, spec, predecessor);
  return { kind: "applied", observation };
}

/**
 * The replaced container serves for a while longer, because clients learn of the new one only after this apply. Its
 * labels cannot change, its name can: it says until when.
 */
async function retire(work: Work, spec: ComputeSpec, container: OwnContainer): Promise<void> {
  const { settings, daemon, engine, tenant, signal } = work;
  if (settings.drainMs === 0) return removeContainer(work, container);
  const untilSeconds = Math.ceil((Date.now() + daemon.clockOffsetMs + settings.drainMs) / 1_000);
  const base = tenantBase(tenant.prefix, spec);
  await engine.rename(container.id, retiredName(base, container.generation, untilSeconds), signal);
  work.retirement.notice([{ ...container, retiredUntilSeconds: untilSeconds }], daemon.clockOffsetMs);
}
