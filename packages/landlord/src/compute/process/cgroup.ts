/**
 * Control groups: limits, and a kill that reaches every descendant. One group per launch, so that a late stop of
 * an old launch can never reach a newer one. Version 1 and 2 by detection; none at all is fine.
 */
import { constants, existsSync } from "node:fs";
import { access, mkdir, readdir, readFile, rmdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "../../domain/errors.ts";
import { sendSignal } from "../../os/process-identity.ts";
import { ComputeError, type Owner } from "../provider.ts";
import type { ProcessConfig } from "./description.ts";

const ROOT = "/sys/fs/cgroup";
const FOLDER = "landlord";
const CONTROLLERS = ["cpu", "memory", "pids"] as const;
type Controller = (typeof CONTROLLERS)[number];
const CPU_PERIOD_MICROSECONDS = 100_000;

export interface Cgroups {
  readonly version: "v1" | "v2" | "none";
  /** Root of each hierarchy in use. Version 2 has one. */
  readonly roots: readonly { readonly path: string; readonly controllers: readonly Controller[] }[];
}

export const NO_CGROUPS: Cgroups = { version: "none", roots: [] };

async function isWritable(path: string): Promise<boolean> {
  return access(path, constants.W_OK).then(
    () => true,
    () => false,
  );
}

/** What this host lets the worker use. Makes the `landlord` group at the root of each hierarchy. */
export async function detectCgroups(): Promise<Cgroups> {
  try {
    if (existsSync(join(ROOT, "cgroup.controllers"))) return await detectVersion2();
    const roots = [];
    for (const controller of CONTROLLERS) {
      const path = join(ROOT, controller);
      if (!(await isWritable(join(path, "cgroup.procs")))) continue;
      await mkdir(join(path, FOLDER), { recursive: true });
      roots.push({ path, controllers: [controller] });
    }
    return roots.length === 0 ? NO_CGROUPS : { version: "v1", roots };
  } catch {
    // A read-only or foreign hierarchy: run without.
    return NO_CGROUPS;
  }
}

async function detectVersion2(): Promise<Cgroups> {
  if (!(await isWritable(join(ROOT, "cgroup.procs")))) return NO_CGROUPS;
  await delegate(ROOT);
  await mkdir(join(ROOT, FOLDER), { recursive: true });
  const given = (await readFile(join(ROOT, FOLDER, "cgroup.controllers"), "utf8")).trim().split(/\s+/);
  const controllers = CONTROLLERS.filter((controller) => given.includes(controller));
  return { version: "v2", roots: [{ path: ROOT, controllers }] };
}

/** Version 2: passes controllers on to children. What the parent does not have is left out. */
async function delegate(group: string): Promise<void> {
  for (const controller of CONTROLLERS) {
    await writeFile(join(group, "cgroup.subtree_control"), `+${controller}`).catch(() => undefined);
  }
}

/** The folders of a tenant that hold one group per launch, one for each hierarchy. */
export function cgroupParents(cgroups: Cgroups, owner: Owner): readonly string[] {
  return cgroups.roots.map(({ path }) => join(path, FOLDER, owner.instanceId, owner.tenantId));
}

function limitFiles(
  version: Cgroups["version"],
  controller: Controller,
  config: ProcessConfig,
): [string, string][] {
  const { cpu, memory, pids } = config.resources ?? {};
  if (controller === "cpu" && cpu !== undefined) {
    const quota = Math.max(1000, Math.round((cpu * CPU_PERIOD_MICROSECONDS) / 1000));
    if (version === "v2") return [["cpu.max", `${quota} ${CPU_PERIOD_MICROSECONDS}`]];
    return [
      ["cpu.cfs_period_us", String(CPU_PERIOD_MICROSECONDS)],
      ["cpu.cfs_quota_us", String(quota)],
    ];
  }
  if (controller === "memory" && memory !== undefined) {
    return [[version === "v2" ? "memory.max" : "memory.limit_in_bytes", String(memory * 1024 * 1024)]];
  }
  if (controller === "pids" && pids !== undefined) return [["pids.max", String(pids)]];
  return [];
}

/** Makes the groups of a launch with their limits. Throws a retryable `cgroup_failed`. */
export async function prepareCgroups(
  cgroups: Cgroups,
  owner: Owner,
  launchId: string,
  config: ProcessConfig,
): Promise<void> {
  try {
    for (const { path, controllers } of cgroups.roots) {
      const tenant = join(path, FOLDER, owner.instanceId, owner.tenantId);
      await mkdir(join(tenant, launchId), { recursive: true });
      if (cgroups.version === "v2") {
        for (const group of [join(path, FOLDER), join(path, FOLDER, owner.instanceId), tenant])
          await delegate(group);
      }
      for (const controller of controllers) {
        for (const [file, value] of limitFiles(cgroups.version, controller, config)) {
          await writeFile(join(tenant, launchId, file), value);
        }
      }
    }
  } catch (cause) {
    throw new ComputeError(
      "cgroup_failed",
      `The limits of compute_config.resources could not be set: ${messageOf(cause)}. Set compute.process.cgroup to off to run without limits.`,
      { retryable: true, cause },
    );
  }
}

/** Every process in the groups of a launch. */
export async function cgroupMembers(
  parents: readonly string[],
  launchId: string,
): Promise<ReadonlySet<number>> {
  const members = new Set<number>();
  for (const parent of parents) {
    const text = await readFile(join(parent, launchId, "cgroup.procs"), "utf8").catch(() => "");
    for (const line of text.split("\n")) if (line !== "") members.add(Number(line));
  }
  return members;
}

/** Kills what is in the groups of a launch. One pass: on version 1 the caller repeats it until nothing is left. */
export async function killCgroups(parents: readonly string[], launchId: string): Promise<void> {
  for (const parent of parents) {
    const group = join(parent, launchId);
    await writeIfThere(join(group, "cgroup.kill"), "1");
    // No fork can outrun the kills below.
    await writeIfThere(join(group, "pids.max"), "0");
  }
  for (const pid of await cgroupMembers(parents, launchId)) sendSignal(pid, "SIGKILL");
}

async function writeIfThere(file: string, value: string): Promise<void> {
  // r+ never creates: a cgroup file exists or is not supported.
  await writeFile(file, value, { flag: "r+" }).catch(() => undefined);
}

/** Removes the groups of a launch that never came to be. */
export async function removeLaunchCgroups(parents: readonly string[], launchId: string): Promise<void> {
  for (const parent of parents) await rmdir(join(parent, launchId)).catch(() => undefined);
}

/** Removes the empty groups of every launch but `keepLaunchId`, and the tenant's own when nothing is kept. */
export async function removeCgroups(parents: readonly string[], keepLaunchId: string | null): Promise<void> {
  for (const parent of parents) {
    const entries = await readdir(parent, { withFileTypes: true }).catch(() => []);
    for (const entry of entries) {
      // Fails on a group that still has members, which is what keeps a concurrent launch safe.
      if (entry.isDirectory() && entry.name !== keepLaunchId)
        await rmdir(join(parent, entry.name)).catch(() => undefined);
    }
    if (keepLaunchId === null) await rmdir(parent).catch(() => undefined);
  }
}
