/**
 * Real local processes that outlive the worker. At most one launch of a tenant lives at any time: the launcher's
 * script is the only one to start it, under a kernel lock, and it refuses while anything recorded lives. Whatever
 * this class does in between is repeatable and may be killed at any line.
 */
import { randomUUID } from "node:crypto";
import { mkdir, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Endpoint } from "../../domain/tenant.ts";
import { isAlive } from "../../os/process-identity.ts";
import {
  type ApplyResult,
  ComputeError,
  type ComputeProvider,
  type ComputeRef,
  type ComputeSpec,
  type EffectOptions,
  type Observation,
  type OwnedResource,
  type PlannedChange,
} from "../provider.ts";
import { type Cgroups, cgroupParents, prepareCgroups, removeCgroups, removeLaunchCgroups } from "./cgroup.ts";
import { checkCommand, launchScript, type NamedPort, workloadEnv } from "./command.ts";
import {
  portNames,
  PROCESS_PROVIDER_NAME,
  type ProcessConfig,
  processConfigSchema,
  stopGraceMs,
  validateProcessConfig,
} from "./description.ts";
import { probeHealth } from "./health.ts";
import { type LauncherAnswer, type LauncherMode, runLauncher } from "./launcher.ts";
import { cutLog, lastLines, tailLog } from "./log-file.ts";
import { planReplacement } from "./plan.ts";
import { allocatePorts, type PortPool, portsIn, releasePorts } from "./ports.ts";
import { aborted, guarded } from "./errors.ts";
import { leftoversOf, stopLaunch } from "./stop.ts";
import {
  instancesDir,
  isTenantId,
  type LaunchRecord,
  type LaunchState,
  readFence,
  readLaunchRecord,
  readState,
  removeLaunch,
  removeOtherLaunches,
  type TenantFiles,
  tenantFiles,
  trashDir,
  writeLaunch,
} from "./tenant-files.ts";

/** Rounds of stop and launch before an apply gives up; more than one only when workers race. */
const APPLY_ROUNDS = 8;
/** Tenants that one observe looks at side by side. */
const OBSERVE_CONCURRENCY = 16;
const ERROR_LOG_LINES = 10;
/** More than this is never listed: a host that runs more needs more workers. */
const LIST_LIMIT = 100_000;

export interface ProcessProviderOptions {
  readonly dataDir: string;
  /** `process:<host>:<random>`, for ever the same for one data folder. */
  readonly scope: string;
  readonly cgroups: Cgroups;
  readonly logLimitBytes: number;
  readonly portMin: number;
  readonly portMax: number;
  /** 0 ≤ x < 1; where the search for a free port begins. */
  readonly random: () => number;
  /** Every effect on the machine passes through this: the conformance kit lets the worker die there. */
  readonly effect?: <T>(name: string, perform: () => Promise<T>) => Promise<T>;
}

export class ProcessComputeProvider implements ComputeProvider {
  readonly name = PROCESS_PROVIDER_NAME;
  readonly #options: ProcessProviderOptions;
  readonly #pool: PortPool;

  constructor(options: ProcessProviderOptions) {
    this.#options = options;
    this.#pool = options;
  }

  scopeOf(): Promise<string> {
    return Promise.resolve(this.#options.scope);
  }

  observe(refs: readonly ComputeRef[], signal: AbortSignal): Promise<readonly Observation[]> {
    return guarded(() => this.#observe(refs, signal));
  }

  async #observe(refs: readonly ComputeRef[], signal: AbortSignal): Promise<readonly Observation[]> {
    const observations: Observation[] = [];
    for (let start = 0; start < refs.length; start += OBSERVE_CONCURRENCY) {
      const batch = refs.slice(start, start + OBSERVE_CONCURRENCY);
      observations.push(...(await Promise.all(batch.map((ref) => this.#observeOne(ref, signal)))));
    }
    return observations;
  }

  plan(spec: ComputeSpec, observation: Observation): Promise<readonly PlannedChange[]> {
    return Promise.resolve(planReplacement("process", spec, observation));
  }

  apply(spec: ComputeSpec, { signal }: EffectOptions): Promise<ApplyResult> {
    return guarded(() => this.#apply(spec, signal));
  }

  destroy(
    ref: ComputeRef & { readonly generation: number },
    { signal }: EffectOptions,
  ): Promise<Observation> {
    return guarded(() => this.#destroy(ref, signal));
  }

  list(instanceId: string, signal: AbortSignal): Promise<readonly OwnedResource[]> {
    return guarded(() => this.#list(instanceId, signal));
  }

  logs(
    ref: ComputeRef,
    options: { readonly tailBytes: number; readonly signal: AbortSignal },
  ): Promise<string> {
    return guarded(() => tailLog(tenantFiles(this.#options.dataDir, ref).logFile, options.tailBytes));
  }

  async #apply(spec: ComputeSpec, signal: AbortSignal): Promise<ApplyResult> {
    const files = tenantFiles(this.#options.dataDir, spec);
    const config = parseConfig(spec);
    const fence = await readFence(files);
    if (fence !== null && isBeyond(fence, spec)) return { kind: "stale", generation: fence.generation };
    // Before anything is stopped for it: a command that cannot run leaves what serves alone.
    await checkCommand(config, files.workDir);
    if (signal.aborted) throw aborted();
    await mkdir(files.tenantDir, { recursive: true, mode: 0o700 });
    const begun = await this.#launcher("begin", files, spec);
    if (begun.kind === "stale") return begun;
    await mkdir(files.runDir, { recursive: true, mode: 0o700 });

    let exited = false;
    for (let round = 0; round < APPLY_ROUNDS; round += 1) {
      if (signal.aborted) throw aborted();
      const state = await readState(files);
      if (state !== null && state.generation > spec.generation)
        return { kind: "stale", generation: state.generation };
      const isCurrent = state?.generation === spec.generation && state.configHash === spec.configHash;
      // A worker that was stopped for long may tidy away the record of a launch that came after its own: nobody could
      // tell its health any more, so it is launched again.
      const isKnown = state !== null && (await readLaunchRecord(files, state.launchId)) !== null;
      if (state !== null && isCurrent && isKnown && isAlive(state.identity)) {
        await cutLog(files.logFile, this.#options.logLimitBytes);
        return { kind: "applied", observation: await this.#look(files, state, signal) };
      }
      if (state !== null && isCurrent && !isAlive(state.identity)) exited = true;
      if (state !== null) await this.#stop(files, state, signal);
      const launched = await this.#launch(files, spec, config, exited);
      if (launched !== null) return launched;
    }
    throw new ComputeError(
      "contended",
      "Other workers kept changing this tenant meanwhile. It is tried again.",
      {
        retryable: true,
      },
    );
  }

  async #destroy(
    ref: ComputeRef & { readonly generation: number },
    signal: AbortSignal,
  ): Promise<Observation> {
    const files = tenantFiles(this.#options.dataDir, ref);
    await mkdir(files.tenantDir, { recursive: true, mode: 0o700 });
    await this.#launcher("destroy", files, ref);
    for (let round = 0; round < APPLY_ROUNDS; round += 1) {
      const state = await readState(files);
      if (state !== null && state.generation > ref.generation) break;
      if (state !== null) await this.#stop(files, state, signal);
      if (await this.#clean(files, ref)) break;
    }
    return this.#observeOne(ref, signal);
  }

  async #list(instanceId: string, signal: AbortSignal): Promise<readonly OwnedResource[]> {
    const folder = join(instancesDir(this.#options.dataDir), instanceId);
    // Refuses an id that would leave the folder.
    tenantFiles(this.#options.dataDir, { instanceId, tenantId: "00000000-0000-0000-0000-000000000000" });
    const owned: OwnedResource[] = [];
    // No folder yet is no tenant yet; any other failure must not look like an empty host.
    const entries = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return [];
      throw error;
    });
    for (const tenantId of entries.slice(0, LIST_LIMIT)) {
      if (signal.aborted) throw aborted();
      if (!isTenantId(tenantId)) continue;
      const state = await readState(tenantFiles(this.#options.dataDir, { instanceId, tenantId }));
      if (state === null) continue;
      const { generation } = state;
      owned.push({
        instanceId,
        tenantId,
        generation,
        scope: this.#options.scope,
        resourceIds: this.#resourceIds(state),
      });
    }
    return owned;
  }

  async #observeOne(ref: ComputeRef, signal: AbortSignal): Promise<Observation> {
    const foreign = ref.scopes.find((scope) => scope !== this.#options.scope);
    if (foreign !== undefined) {
      const message = `This worker sees ${this.#options.scope}, not ${foreign}: ask a worker on that host.`;
      return { ...this.#nothing(), presence: "unknown", health: "unknown", message };
    }
    const files = tenantFiles(this.#options.dataDir, ref);
    const state = await readState(files);
    if (state === null) return this.#nothing();
    await cutLog(files.logFile, this.#options.logLimitBytes);
    return this.#look(files, state, signal);
  }

  #nothing(): Observation {
    return {
      presence: "absent",
      generation: null,
      configHash: null,
      health: "absent",
      message: null,
      config: null,
      resourceIds: {},
      endpoints: [],
      scope: this.#options.scope,
    };
  }

  async #look(files: TenantFiles, state: LaunchState, signal: AbortSignal): Promise<Observation> {
    const parents = cgroupParents(this.#options.cgroups, files.owner);
    const record = await readLaunchRecord(files, state.launchId);
    if (!isAlive(state.identity)) {
      const message = await exitMessage(files, state);
      const left = await leftoversOf(state, parents);
      if (left.length === 0) return { ...this.#nothing(), health: "exited", message };
      return { ...this.#present(state, record), health: "exited", message, endpoints: [] };
    }
    const present = this.#present(state, record);
    const config = processConfigSchema.safeParse(record?.config);
    if (record === null || !config.success) {
      return {
        ...present,
        health: "unhealthy",
        message: "The record of this launch is damaged: apply a new generation.",
      };
    }
    return { ...present, ...(await probeHealth(state, record, { config: config.data, parents, signal })) };
  }

  #present(state: LaunchState, record: LaunchRecord | null): Observation {
    return {
      presence: "present",
      generation: state.generation,
      configHash: state.configHash,
      health: "starting",
      message: null,
      config: record?.config ?? null,
      resourceIds: this.#resourceIds(state),
      endpoints: (record?.ports ?? []).map(endpointOf),
      scope: this.#options.scope,
    };
  }

  #resourceIds(state: LaunchState): Record<string, string> {
    return { pid: String(state.identity.pid), launch: state.launchId, cgroup: this.#options.cgroups.version };
  }

  #launcher(
    mode: LauncherMode,
    files: TenantFiles,
    target: { readonly generation: number; readonly configHash?: string },
    launchId: string = randomUUID(),
  ): Promise<LauncherAnswer> {
    const call = {
      mode,
      files,
      generation: target.generation,
      configHash: target.configHash ?? "-",
      launchId,
      cgroupParents: cgroupParents(this.#options.cgroups, files.owner),
      trash: join(trashDir(this.#options.dataDir), launchId),
    };
    return this.#effect(mode, () => runLauncher(call));
  }

  #effect<T>(name: string, perform: () => Promise<T>): Promise<T> {
    return this.#options.effect === undefined ? perform() : this.#options.effect(name, perform);
  }

  async #stop(files: TenantFiles, state: LaunchState, signal: AbortSignal): Promise<void> {
    const parents = cgroupParents(this.#options.cgroups, files.owner);
    const record = await readLaunchRecord(files, state.launchId);
    const config = processConfigSchema.safeParse(record?.config);
    const graceMs = config.success ? stopGraceMs(config.data) : 0;
    await this.#effect("stop", () => stopLaunch(state, { parents, graceMs, signal }));
  }

  /** Null when another worker was in between and the caller has to look again. */
  async #launch(
    files: TenantFiles,
    spec: ComputeSpec,
    config: ProcessConfig,
    exited: boolean,
  ): Promise<ApplyResult | null> {
    const exitText = exited ? await exitMessage(files, null) : "";
    const ports = await this.#effect("ports", () =>
      allocatePorts(this.#pool, files, portNames(config), async () => {
        const now = await readState(files);
        return now !== null && isAlive(now.identity);
      }),
    );
    const launchId = randomUUID();
    const { cgroups } = this.#options;
    await this.#effect("cgroups", () => prepareCgroups(cgroups, files.owner, launchId, config));
    const cwd = config.cwd ?? files.workDir;
    const env = workloadEnv(spec, config, { cwd, ports });
    const record: LaunchRecord = {
      tenantName: spec.tenantName,
      config: spec.config,
      env,
      cwd,
      ports: [...ports],
    };
    const script = launchScript(config.command, { cwd, env });
    await this.#effect("write-launch", () => writeLaunch(files, launchId, { script, record }));
    await cutLog(files.logFile, this.#options.logLimitBytes);
    const answer = await this.#launcher("launch", files, spec, launchId);
    if (answer.kind !== "launched") {
      await removeLaunch(files, launchId);
      await removeLaunchCgroups(cgroupParents(cgroups, files.owner), launchId);
    }
    if (answer.kind === "stale") {
      // A destroy was faster, and the files of this launch came after it had tidied up.
      await this.#clean(files, answer);
      return answer;
    }
    if (answer.kind !== "launched") return null;
    const state = await readState(files);
    if (state?.launchId !== launchId) {
      throw new ComputeError(
        "launcher_failed",
        "The launcher ended before it recorded the workload. It is tried again.",
        {
          retryable: true,
        },
      );
    }
    await this.#effect("tidy", () => removeOtherLaunches(files, launchId));
    await removeCgroups(cgroupParents(cgroups, files.owner), launchId);
    if (exited)
      throw new ComputeError("workload_exited", `${exitText} It was started again.`, { retryable: true });
    return {
      kind: "applied",
      observation: { ...this.#present(state, record), message: "The process started just now." },
    };
  }

  /** Removes what an ended tenant left; true when there is nothing more for this destroy to do. */
  async #clean(files: TenantFiles, ref: { readonly generation: number }): Promise<boolean> {
    const id = randomUUID();
    const answer = await this.#launcher("clean", files, ref, id);
    if (answer.kind === "alive") return false;
    const moved = join(trashDir(this.#options.dataDir), id);
    if (answer.kind === "done" && (await stat(moved).catch(() => null)) !== null) {
      await this.#effect("release-ports", async () => releasePorts(this.#pool, files, await portsIn(moved)));
      await rm(moved, { recursive: true, force: true });
    }
    if (answer.kind === "done") await removeCgroups(cgroupParents(this.#options.cgroups, files.owner), null);
    return true;
  }
}

function isBeyond(
  fence: { readonly generation: number; readonly kind: string; readonly configHash: string },
  spec: ComputeSpec,
): boolean {
  if (fence.generation !== spec.generation) return fence.generation > spec.generation;
  return fence.kind === "destroy" || fence.configHash !== spec.configHash;
}

function endpointOf({ name, port }: NamedPort): Endpoint {
  return { name, address: "127.0.0.1", port, url: `http://127.0.0.1:${port}` };
}

/** A detached process that its parent does not outlive leaves no exit status: its log is what there is. */
async function exitMessage(files: TenantFiles, state: LaunchState | null): Promise<string> {
  const known = state ?? (await readState(files));
  const tail = await lastLines(files.logFile, ERROR_LOG_LINES);
  const what = `The process (pid ${known?.identity.pid ?? "unknown"}) ended by itself.`;
  // One line, for tables and logs; the whole output is in the tenant's log.
  return tail === ""
    ? `${what} It wrote no output.`
    : `${what} Its last output: ${tail.split("\n").join(" | ")} `;
}

function parseConfig(spec: ComputeSpec): ProcessConfig {
  const problems = validateProcessConfig(spec.config);
  if (problems.length > 0) {
    const text = problems
      .map(({ pointer, message }) => `${pointer === "" ? "/" : pointer} ${message}`)
      .join("; ");
    throw new ComputeError(
      "invalid_config",
      `The compute_config is not valid for process: ${text.slice(0, 2000)}.`,
      {
        retryable: false,
      },
    );
  }
  return processConfigSchema.parse(spec.config);
}
