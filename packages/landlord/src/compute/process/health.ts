/** One look at whether a workload serves. Only ever asks the tenant's own ports on loopback. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { connect } from "node:net";
import type { Health } from "../../domain/tenant.ts";
import { messageOf } from "../../domain/errors.ts";
import { sendSignal, uptimeMs } from "../../os/process-identity.ts";
import { probeHttp } from "../http-probe.ts";
import { type HealthCheck, healthCheckOf, type ProcessConfig } from "./description.ts";
import type { LaunchRecord, LaunchState } from "./tenant-files.ts";

/** Without a check, a workload counts as healthy once it lived this long: one that fails at once never does. */
const SETTLE_WITHOUT_CHECK_MS = 300;

export interface HealthReport {
  readonly health: Health;
  /** Why it is not healthy, or null. */
  readonly message: string | null;
}

/** Asks once. One success is healthy; a failure is `starting` until the check's deadline, then `unhealthy`. */
export async function probeHealth(
  state: LaunchState,
  record: LaunchRecord,
  options: {
    readonly config: ProcessConfig;
    readonly parents: readonly string[];
    readonly signal: AbortSignal;
  },
): Promise<HealthReport> {
  const check = healthCheckOf(options.config);
  const ageMs = uptimeMs(state.identity);
  if (check.type === "none") {
    return ageMs >= SETTLE_WITHOUT_CHECK_MS
      ? { health: "healthy", message: null }
      : { health: "starting", message: "The process started just now." };
  }
  const signal = AbortSignal.any([options.signal, AbortSignal.timeout(check.timeoutMs)]);
  const failure = await ask(check, state, record, { parents: options.parents, signal });
  if (failure === null) return { health: "healthy", message: null };
  return { health: ageMs < check.deadlineMs ? "starting" : "unhealthy", message: failure };
}

/** Null when the check succeeded, else why not. Never throws. */
async function ask(
  check: HealthCheck,
  state: LaunchState,
  record: LaunchRecord,
  options: { readonly parents: readonly string[]; readonly signal: AbortSignal },
): Promise<string | null> {
  if (options.signal.aborted) return "The health check was cancelled.";
  try {
    if (check.type === "exec") return await askExec(check.command ?? [], state, record, options);
    const port = record.ports.find(({ name }) => name === check.portName)?.port;
    if (port === undefined)
      return `The health check names the port "${check.portName}", which was not reserved.`;
    return check.type === "http"
      ? (await probeHttp({ host: "127.0.0.1", port, path: check.path }, options.signal)).failure
      : await askTcp(port, options.signal);
  } catch (error) {
    return `The health check failed: ${messageOf(error)}.`;
  }
}

function askTcp(port: number, signal: AbortSignal): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    const finish = (answer: string | null) => {
      signal.removeEventListener("abort", onAbort);
      socket.destroy();
      resolve(answer);
    };
    const onAbort = () => finish(`Port ${port} did not accept a connection: timed out.`);
    signal.addEventListener("abort", onAbort, { once: true });
    socket.once("connect", () => finish(null));
    socket.once("error", (error) => finish(`Port ${port} does not accept connections: ${error.message}.`));
  });
}

function askExec(
  command: readonly string[],
  state: LaunchState,
  record: LaunchRecord,
  options: { readonly parents: readonly string[]; readonly signal: AbortSignal },
): Promise<string | null> {
  // Joining the workload's cgroups makes a check whose worker was killed end with the workload.
  const groups = options.parents.map((parent) => join(parent, state.launchId, "cgroup.procs"));
  const script =
    'LANDLORD_N=$1; shift; while [ "$LANDLORD_N" -gt 0 ]; do echo $$ >"$1" || exit 125; shift; LANDLORD_N=$((LANDLORD_N - 1)); done; exec "$@"';
  return new Promise((resolve) => {
    const child = spawn(
      "/bin/sh",
      ["-c", script, "health-check", String(groups.length), ...groups, ...command],
      {
        cwd: record.cwd,
        env: record.env,
        detached: true,
        stdio: "ignore",
      },
    );
    const killGroup = () => {
      if (child.pid !== undefined) sendSignal(-child.pid, "SIGKILL");
    };
    options.signal.addEventListener("abort", killGroup, { once: true });
    child.once("error", (error) =>
      resolve(`The health check's command could not be started: ${error.message}.`),
    );
    child.once("exit", (code) => {
      options.signal.removeEventListener("abort", killGroup);
      killGroup();
      if (code === 0) return resolve(null);
      resolve(
        options.signal.aborted
          ? "The health check's command timed out."
          : `The health check's command ended with ${code}.`,
      );
    });
  });
}
