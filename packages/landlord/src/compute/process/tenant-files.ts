/**
 * Where a tenant's process keeps what it must remember, and how it is read. Everything but `lock` and `fence`
 * lives in `run`, which a destroy moves away in one step.
 *
 *   instances/<instance>/<tenant>/lock            the kernel lock's file
 *   instances/<instance>/<tenant>/fence           v1 <generation> apply|destroy <hash>
 *   instances/<instance>/<tenant>/run/state       v1 <pid> <start time> <boot id> <generation> <hash> <launch id>
 *   instances/<instance>/<tenant>/run/launch-<id>.sh and .json
 *   instances/<instance>/<tenant>/run/ports.json, run/output.log, run/output.log.1, run/work
 *
 * `fence` and `state` are written by the launcher's script only, under the lock.
 */
import { randomUUID } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { jsonObject } from "../../contract/job.ts";
import type { ProcessIdentity } from "../../os/process-identity.ts";
import { ComputeError, type Owner } from "../provider.ts";

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const INSTANCE_ID = /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/;

export interface TenantFiles {
  readonly owner: Owner;
  readonly tenantDir: string;
  readonly runDir: string;
  readonly workDir: string;
  readonly stateFile: string;
  readonly fenceFile: string;
  readonly portsFile: string;
  readonly logFile: string;
}

/** Where a `run` folder goes before it is deleted. On the same file system, so that the move is one step. */
export function trashDir(dataDir: string): string {
  return join(dataDir, "trash");
}

export function instancesDir(dataDir: string): string {
  return join(dataDir, "instances");
}

export function isTenantId(text: string): boolean {
  return UUID.test(text);
}

/** The files of a tenant. Ids become path segments, so any other shape is refused with `invalid_owner`. */
export function tenantFiles(dataDir: string, owner: Owner): TenantFiles {
  if (!isTenantId(owner.tenantId) || !INSTANCE_ID.test(owner.instanceId)) {
    throw new ComputeError(
      "invalid_owner",
      `The process provider needs a lower-case UUID as tenant id and an instance id of letters, digits, - and _; got "${owner.tenantId.slice(0, 80)}" of "${owner.instanceId.slice(0, 80)}".`,
      { retryable: false },
    );
  }
  const tenantDir = join(instancesDir(dataDir), owner.instanceId, owner.tenantId);
  const runDir = join(tenantDir, "run");
  return {
    owner: { instanceId: owner.instanceId, tenantId: owner.tenantId },
    tenantDir,
    runDir,
    workDir: join(runDir, "work"),
    stateFile: join(runDir, "state"),
    fenceFile: join(tenantDir, "fence"),
    portsFile: join(runDir, "ports.json"),
    logFile: join(runDir, "output.log"),
  };
}

export interface Fence {
  readonly generation: number;
  readonly kind: "apply" | "destroy";
  readonly configHash: string;
}

/** What the launcher recorded of the process before it became the workload. */
export interface LaunchState {
  readonly identity: ProcessIdentity;
  readonly generation: number;
  readonly configHash: string;
  readonly launchId: string;
}

const launchRecordSchema = z.object({
  tenantName: z.string(),
  config: jsonObject,
  env: z.record(z.string(), z.string()),
  cwd: z.string(),
  /** In declared order. */
  ports: z.array(z.object({ name: z.string(), port: z.int() })),
});
/** What the worker knew when it launched; beside the state because it is too large for one line. */
export type LaunchRecord = z.infer<typeof launchRecordSchema>;

/** The text of a file, or null when it does not exist. */
export async function readTextOrNull(file: string): Promise<string | null> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}

function damaged(file: string): ComputeError {
  return new ComputeError(
    "state_damaged",
    `The file ${file} is damaged, so it is not known what runs. Stop the tenant's processes by hand, remove the file, and retry.`,
    { retryable: true },
  );
}

/** The tenant's fence, or null before its first apply or destroy. Throws `state_damaged`. */
export async function readFence(files: TenantFiles): Promise<Fence | null> {
  const line = await readTextOrNull(files.fenceFile);
  if (line === null) return null;
  const match = /^v1 (\d{1,16}) (apply|destroy) (\S+)\n$/.exec(line);
  if (match === null) throw damaged(files.fenceFile);
  return { generation: Number(match[1]), kind: match[2] as Fence["kind"], configHash: match[3] as string };
}

/** The last recorded process, dead or alive, or null. Throws `state_damaged`. */
export async function readState(files: TenantFiles): Promise<LaunchState | null> {
  const line = await readTextOrNull(files.stateFile);
  if (line === null) return null;
  const match = /^v1 (\d{1,10}) (\d+) ([0-9a-f-]{36}) (\d{1,16}) (\S+) ([0-9a-f-]{36})\n$/.exec(line);
  if (match === null) throw damaged(files.stateFile);
  return {
    identity: { pid: Number(match[1]), startTime: match[2] as string, bootId: match[3] as string },
    generation: Number(match[4]),
    configHash: match[5] as string,
    launchId: match[6] as string,
  };
}

/** What was launched, or null when its file is gone or not readable. */
export async function readLaunchRecord(files: TenantFiles, launchId: string): Promise<LaunchRecord | null> {
  const text = await readTextOrNull(join(files.runDir, `launch-${launchId}.json`));
  if (text === null) return null;
  try {
    return launchRecordSchema.parse(JSON.parse(text));
  } catch {
    return null;
  }
}

/** Writes a file so that a reader sees all of it or nothing. */
export async function writeWhole(file: string, text: string): Promise<void> {
  const draft = `${file}.${randomUUID()}.new`;
  await writeFile(draft, text, { mode: 0o600 });
  await rename(draft, file);
}

/** Puts down what the launcher will run. */
export async function writeLaunch(
  files: TenantFiles,
  launchId: string,
  launch: { readonly script: string; readonly record: LaunchRecord },
): Promise<void> {
  await mkdir(files.workDir, { recursive: true, mode: 0o700 });
  await writeWhole(join(files.runDir, `launch-${launchId}.json`), JSON.stringify(launch.record));
  await writeWhole(join(files.runDir, `launch-${launchId}.sh`), launch.script);
}

/** Removes the files of a launch that never came to be. */
export async function removeLaunch(files: TenantFiles, launchId: string): Promise<void> {
  for (const suffix of ["sh", "json"])
    await rm(join(files.runDir, `launch-${launchId}.${suffix}`), { force: true });
}

/** Removes what earlier launches left. The launcher refuses to run a launch whose files are gone. */
export async function removeOtherLaunches(files: TenantFiles, launchId: string): Promise<void> {
  for (const entry of await readdir(files.runDir)) {
    const isOther = entry.startsWith("launch-") && !entry.startsWith(`launch-${launchId}.`);
    if (isOther) await rm(join(files.runDir, entry), { force: true });
  }
}
