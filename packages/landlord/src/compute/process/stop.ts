/** What of a launch still lives, and how it is brought to an end. */
import { setTimeout as delay } from "node:timers/promises";
import {
  allProcesses,
  bootId,
  isAlive,
  isRunning,
  readProcessStatus,
  sendSignal,
} from "../../os/process-identity.ts";
import { ComputeError } from "../provider.ts";
import { cgroupMembers, killCgroups } from "./cgroup.ts";
import { aborted } from "./errors.ts";
import type { LaunchState } from "./tenant-files.ts";

const FIRST_POLL_MS = 10;
const LONGEST_POLL_MS = 100;
/** How long after SIGKILL the kernel may take. */
const KILL_DEADLINE_MS = 10_000;

/**
 * Every living process of a launch other than its leader: members of its cgroups, its session and its process
 * group. Costs a walk over /proc.
 */
export async function leftoversOf(
  state: LaunchState,
  parents: readonly string[],
): Promise<readonly number[]> {
  const { identity, launchId } = state;
  if (identity.bootId !== bootId()) return [];
  const members = new Set(await cgroupMembers(parents, launchId));
  const leader = readProcessStatus(identity.pid);
  // A pid is not given out again while it names a group or session, so another leader means that ours are empty.
  if (leader === null || leader.startTime === identity.startTime) {
    for (const status of allProcesses()) {
      const belongs = status.group === identity.pid || status.session === identity.pid;
      if (belongs && isRunning(status)) members.add(status.pid);
    }
  }
  members.delete(identity.pid);
  return [...members];
}

async function anythingLives(state: LaunchState, parents: readonly string[]): Promise<boolean> {
  return isAlive(state.identity) || (await leftoversOf(state, parents)).length > 0;
}

/** Waits until nothing of the launch lives; false after `deadlineMs`. Abortable between two looks. */
async function waitUntilGone(
  state: LaunchState,
  parents: readonly string[],
  deadlineMs: number,
  signal: AbortSignal | null,
): Promise<boolean> {
  const deadline = performance.now() + deadlineMs;
  let pauseMs = FIRST_POLL_MS;
  while (await anythingLives(state, parents)) {
    if (signal?.aborted === true) throw aborted();
    if (performance.now() >= deadline) return false;
    await delay(Math.min(pauseMs, Math.max(1, deadline - performance.now())));
    pauseMs = Math.min(pauseMs * 2, LONGEST_POLL_MS);
  }
  return true;
}

async function signalLaunch(
  state: LaunchState,
  parents: readonly string[],
  name: NodeJS.Signals,
): Promise<void> {
  const leader = readProcessStatus(state.identity.pid);
  const isOurs = leader === null || leader.startTime === state.identity.startTime;
  if (state.identity.bootId === bootId() && isOurs) sendSignal(-state.identity.pid, name);
  if (name === "SIGKILL") {
    await killCgroups(parents, state.launchId);
    for (const pid of await leftoversOf(state, parents)) sendSignal(pid, "SIGKILL");
  }
}

/**
 * Ends a launch and everything that it started: SIGTERM to its group, then after `graceMs` SIGKILL to all that
 * is left. Throws a retryable `stop_timeout` when the kernel does not end it, or `aborted` between two looks.
 */
export async function stopLaunch(
  state: LaunchState,
  options: { readonly parents: readonly string[]; readonly graceMs: number; readonly signal: AbortSignal },
): Promise<void> {
  const { parents, graceMs, signal } = options;
  if (!(await anythingLives(state, parents))) return;
  if (signal.aborted) throw aborted();
  // A launch whose leader ended by itself has had its time; its leftovers get none.
  if (isAlive(state.identity)) {
    await signalLaunch(state, parents, "SIGTERM");
    if (await waitUntilGone(state, parents, graceMs, signal)) return;
  }
  const deadline = performance.now() + KILL_DEADLINE_MS;
  while (performance.now() < deadline) {
    // Repeated, because a process may have been born between the look and the kill.
    await signalLaunch(state, parents, "SIGKILL");
    if (await waitUntilGone(state, parents, LONGEST_POLL_MS, null)) return;
  }
  throw new ComputeError(
    "stop_timeout",
    `Process ${state.identity.pid} and its children did not end within ${KILL_DEADLINE_MS} ms of SIGKILL. It is tried again; if it stays, look for I/O that hangs.`,
    { retryable: true },
  );
}
