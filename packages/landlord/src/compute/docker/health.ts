/** One look at whether a container serves. */
import type Docker from "dockerode";
import type { Health } from "../../domain/tenant.ts";
import { probeHttp } from "../http-probe.ts";
import { probeTargets } from "./endpoints.ts";
import type { EngineConfig } from "./engine-config.ts";
import type { Engine } from "./engine.ts";
import { lastLines } from "./logs.ts";
import { type DockerConfig, type HealthCheck, healthCheckOf } from "./tenant-config.ts";

/** Without a check, a container counts as healthy once it ran this long: one that fails at once never does. */
const SETTLE_MS = 1_000;
/** After Docker itself restarted it, it has to stay up for longer. Docker, too, forgets failures after this time. */
const SETTLE_AFTER_RESTART_MS = 10_000;
const MESSAGE_LOG_LINES = 10;
const CHECK_OUTPUT_LIMIT = 500;

export interface HealthReport {
  readonly health: Health;
  /** Why it is not healthy, or null. */
  readonly message: string | null;
}

export interface HealthOptions {
  readonly engine: Engine;
  readonly settings: EngineConfig;
  readonly clockOffsetMs: number;
  readonly signal: AbortSignal;
}

/** Asks once. One success is healthy; a failure is `starting` until the check's deadline, then `unhealthy`. */
export async function healthOf(
  container: Docker.ContainerInspectInfo,
  config: DockerConfig,
  options: HealthOptions,
): Promise<HealthReport> {
  const { State: state } = container;
  switch (state.Status) {
    case "running":
      return runningHealth(container, config, options);
    case "created":
      return { health: "starting", message: state.Error || "The container is created and not started yet." };
    case "paused":
      return { health: "unhealthy", message: "The container is paused." };
    case "restarting":
      return { health: "unhealthy", message: await exitMessage(container, options) };
    default:
      return { health: "exited", message: await exitMessage(container, options) };
  }
}

async function runningHealth(
  container: Docker.ContainerInspectInfo,
  config: DockerConfig,
  options: HealthOptions,
): Promise<HealthReport> {
  const check = healthCheckOf(config);
  const ageMs = Math.max(0, Date.now() + options.clockOffsetMs - Date.parse(container.State.StartedAt));
  const failure =
    check.type === "http"
      ? await askHttp(container, check, options)
      : container.State.Health !== undefined && container.State.Health.Status !== "none"
        ? dockerCheck(container.State.Health)
        : settled(container, ageMs);
  if (failure === null) return { health: "healthy", message: null };
  if (container.RestartCount === 0)
    return { health: ageMs < check.deadlineMs ? "starting" : "unhealthy", message: failure };
  const ended = await exitMessage(container, options);
  return { health: "unhealthy", message: `${failure} ${ended}` };
}

function settled(container: Docker.ContainerInspectInfo, ageMs: number): string | null {
  if (ageMs >= (container.RestartCount === 0 ? SETTLE_MS : SETTLE_AFTER_RESTART_MS)) return null;
  return "The container started just now.";
}

function dockerCheck(health: NonNullable<Docker.ContainerInspectInfo["State"]["Health"]>): string | null {
  if (health.Status === "healthy") return null;
  const last = health.Log?.at(-1);
  if (last === undefined) return "The health check's command has not run yet.";
  const output = last.Output.trim().slice(0, CHECK_OUTPUT_LIMIT);
  return `The health check's command ended with ${last.ExitCode}${output === "" ? "." : `: ${output}.`}`;
}

/** Null when the check succeeded, else why not. */
async function askHttp(
  container: Docker.ContainerInspectInfo,
  check: HealthCheck,
  { settings, engine, signal }: HealthOptions,
): Promise<string | null> {
  if (check.port === null) return "The health check names a port that is not declared.";
  const failures: string[] = [];
  for (const target of probeTargets(container, check.port, settings, engine.connection)) {
    const bounded = AbortSignal.any([signal, AbortSignal.timeout(check.timeoutMs)]);
    const { answered, failure } = await probeHttp({ ...target, path: check.path }, bounded);
    if (failure === null) return null;
    // What spoke HTTP there is the container: there is nothing to find at its other address.
    if (answered) return failure;
    failures.push(failure);
  }
  return failures.length === 0
    ? "The worker has no address at which to ask the container (compute.docker.probe_via)."
    : failures.join(" ");
}

/** How the container ended, with its last output. */
export async function exitMessage(
  container: Docker.ContainerInspectInfo,
  { engine, signal }: Pick<HealthOptions, "engine" | "signal">,
): Promise<string> {
  const { State: state, RestartCount: restarts } = container;
  const how = state.OOMKilled
    ? `out of memory (exit code ${state.ExitCode})`
    : `with exit code ${state.ExitCode}`;
  const again = restarts === 0 ? "" : ` and was restarted ${restarts} ${restarts === 1 ? "time" : "times"}`;
  const what = `The container ended ${how}${again}.`;
  const reason = state.Error === "" ? "" : ` Docker says: ${state.Error.slice(0, 1_000)}.`;
  const tail = await lastLines(engine, container.Id, { lines: MESSAGE_LOG_LINES, signal });
  return `${what}${reason} ${tail === "" ? "It wrote no output." : `Its last output: ${tail}`}`;
}
