/**
 * What breaks the fleet while users work: kills, stops, broken connections and tenants' processes that die, chosen by
 * seed. Five lanes run side by side, so that a fault often meets another one; no two of them hold the same part or
 * connection.
 */
import { setTimeout as delay } from "node:timers/promises";
import { LEASE_MS, type Fleet, type Link, type Part } from "./fleet.ts";
import { livingTenants } from "../packages/landlord/test/support/census.ts";
import type { Random } from "./random.ts";

export interface Fault {
  readonly kind: "kill" | "stop" | "link" | "workload";
  readonly target: string;
  /** `cut`, `refuse`, …, or how long a part was stopped. */
  readonly detail: string;
  readonly beganAt: Date;
  /** The part is ready again, goes on, or the connection lets through. */
  readonly endedAt: Date;
}

export interface FaultOptions {
  readonly fleet: Fleet;
  /** Whose tenants' processes may be killed. */
  readonly instanceId: string;
  readonly random: Random;
  readonly signal: AbortSignal;
  readonly onFault: (fault: Fault) => void;
}

/** Pauses between two faults of a lane, and how long a dead part stays dead. */
const KILL_PAUSE_MS = [1_500, 5_000] as const;
const DOWN_MS = [0, 1_500] as const;
const STOP_PAUSE_MS = [1_000, 6_000] as const;
const LINK_PAUSE_MS = [500, 4_000] as const;
const WORKLOAD_PAUSE_MS = [3_000, 8_000] as const;
const LINK_BROKEN_MS = [200, 4_000] as const;
/** Some shorter than a lease, some longer. */
const STOPPED_MS = [300, LEASE_MS + 2_500] as const;
const DELAYS_MS = [5, 50, 250] as const;

type LinkFault = "cut" | "refuse" | "blackhole" | "swallow-answers" | "delay";
const LINK_FAULTS: readonly (readonly [number, LinkFault])[] = [
  [3, "cut"],
  [2, "refuse"],
  [2, "blackhole"],
  [3, "swallow-answers"],
  [2, "delay"],
];

/** Breaks things until `signal` aborts, and mends everything that it broke before it ends. */
export async function runFaults(options: FaultOptions): Promise<void> {
  const { fleet } = options;
  const busy = new Set<Part | Link>();
  const isApp = ({ kind }: Part): boolean => kind === "server" || kind === "worker";
  await Promise.all([
    lane(options, "kill app", KILL_PAUSE_MS, busy, fleet.parts.filter(isApp), kill),
    lane(
      options,
      "kill engine",
      KILL_PAUSE_MS,
      busy,
      fleet.parts.filter((part) => !isApp(part)),
      kill,
    ),
    lane(options, "stop", STOP_PAUSE_MS, busy, fleet.parts, stop),
    lane(options, "link", LINK_PAUSE_MS, busy, fleet.links, breakLink),
    killWorkloads(options),
  ]);
}

async function lane<Target extends Part | Link>(
  { random, signal, onFault }: FaultOptions,
  name: string,
  pauseMs: readonly [number, number],
  busy: Set<Part | Link>,
  targets: readonly Target[],
  perform: (target: Target, random: Random, signal: AbortSignal) => Promise<Pick<Fault, "kind" | "detail">>,
): Promise<void> {
  const own = random.fork(name);
  for (;;) {
    await pause(own.between(...pauseMs), signal);
    if (signal.aborted) return;
    const target = own.pick(targets);
    if (busy.has(target)) continue;
    busy.add(target);
    const beganAt = new Date();
    const performed = await perform(target, own, signal);
    busy.delete(target);
    onFault({ ...performed, target: target.name, beganAt, endedAt: new Date() });
  }
}

/** Drift: somebody else ends a tenant's process. Which one is left to chance, since processes have no names. */
async function killWorkloads({ instanceId, random, signal, onFault }: FaultOptions): Promise<void> {
  const own = random.fork("workload");
  for (;;) {
    await pause(own.between(...WORKLOAD_PAUSE_MS), signal);
    if (signal.aborted) return;
    const living = livingTenants().filter((each) => each.instanceId === instanceId);
    if (living.length === 0) continue;
    const { pid, tenantId } = own.pick(living);
    const beganAt = new Date();
    signalGroup(pid, "SIGKILL");
    onFault({ kind: "workload", target: tenantId, detail: `process ${pid}`, beganAt, endedAt: new Date() });
  }
}

/** To a tenant's processes; one that ended meanwhile needs none. */
export function signalGroup(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(-pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

async function kill(
  part: Part,
  random: Random,
  signal: AbortSignal,
): Promise<Pick<Fault, "kind" | "detail">> {
  const downMs = random.between(...DOWN_MS);
  await part.kill();
  await pause(downMs, signal);
  await part.start();
  return { kind: "kill", detail: `down for ${downMs} ms` };
}

async function stop(
  part: Part,
  random: Random,
  signal: AbortSignal,
): Promise<Pick<Fault, "kind" | "detail">> {
  const stoppedMs = random.between(...STOPPED_MS);
  part.signal("SIGSTOP");
  await pause(stoppedMs, signal);
  part.signal("SIGCONT");
  return { kind: "stop", detail: `stopped for ${stoppedMs} ms` };
}

async function breakLink(
  { proxy }: Link,
  random: Random,
  signal: AbortSignal,
): Promise<Pick<Fault, "kind" | "detail">> {
  const fault = random.weighted(LINK_FAULTS);
  const brokenMs = random.between(...LINK_BROKEN_MS);
  switch (fault) {
    case "cut":
      proxy.cut();
      return { kind: "link", detail: fault };
    case "refuse":
      proxy.refuse();
      break;
    case "blackhole":
      proxy.blackhole();
      break;
    case "swallow-answers":
      proxy.swallowAnswers();
      break;
    case "delay":
      proxy.delay(random.pick(DELAYS_MS));
      break;
  }
  await pause(brokenMs, signal);
  proxy.restore();
  return { kind: "link", detail: `${fault} for ${brokenMs} ms` };
}

async function pause(durationMs: number, signal: AbortSignal): Promise<void> {
  await delay(durationMs, undefined, { signal }).catch(() => undefined);
}
