import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import type { ComputeSpec } from "../../src/compute/provider.ts";
import { detectCgroups } from "../../src/compute/process/cgroup.ts";
import { runLauncher } from "../../src/compute/process/launcher.ts";
import { tenantFiles } from "../../src/compute/process/tenant-files.ts";
import {
  bootId,
  identityOf,
  isAlive,
  isRunning,
  parseProcessStat,
  readIdentity,
  sameProcess,
  writeIdentity,
} from "../../src/os/process-identity.ts";
import {
  applied,
  cleanUpAfterEach,
  instanceId,
  newDataDir,
  newProvider,
  newSpec,
  next,
  observe,
  options,
  pidOf,
  processesOf,
  refOf,
  sleeper,
  until,
  untilHealthy,
} from "./process-kit.ts";

cleanUpAfterEach();

const workerFile = fileURLToPath(new URL("./apply-worker.ts", import.meta.url));

function startWorker(dataDir: string, spec: ComputeSpec): ChildProcess {
  const flags = ["--import", "tsx", workerFile, JSON.stringify({ dataDir, spec })];
  return spawn(process.execPath, flags, { stdio: ["ignore", "pipe", "inherit"] });
}

const output = (worker: ChildProcess, word: string) =>
  new Promise<void>((resolve, reject) => {
    worker.stdout?.on("data", (chunk: Buffer) => chunk.toString().includes(word) && resolve());
    worker.once("close", () => reject(new Error(`the worker ended without "${word}"`)));
  });

const closed = (worker: ChildProcess) =>
  new Promise<void>((resolve) => worker.once("close", () => resolve()));

const launchersOf = (tenantId: string) =>
  readdirSync("/proc").filter((pid) => {
    try {
      const text = /^[0-9]+$/.test(pid) ? readFileSync(`/proc/${pid}/cmdline`, "utf8") : "";
      return text.includes("landlord-launcher") && text.includes(tenantId);
    } catch {
      return false;
    }
  });

describe("at most one process of a tenant", () => {
  it("starts one for concurrent applies of two providers", async () => {
    const dir = newDataDir();
    const providers = await Promise.all([newProvider({}, dir), newProvider({}, dir)]);
    const spec = newSpec({ command: sleeper, ports: [{}] });
    const results = await Promise.all(
      [...providers, ...providers, ...providers].map((each) => applied(each, spec)),
    );
    expect(new Set(results.map(pidOf)).size).toBe(1);
    expect(processesOf(spec.tenantId)).toEqual([pidOf(results[0]!)]);
  });

  it("ends at the highest of several generations that are applied at once", async () => {
    const provider = await newProvider();
    const first = newSpec({ command: sleeper });
    const specs = [first, next(first), next(next(first)), next(next(next(first)))];
    await Promise.allSettled([...specs, ...specs].map((spec) => provider.apply(spec, options)));
    await applied(provider, specs[3]!);
    expect(await observe(provider, first)).toMatchObject({ presence: "present", generation: 4 });
    expect(processesOf(first.tenantId)).toHaveLength(1);
  });

  it("leaves nothing when destroy races apply", async () => {
    const dir = newDataDir();
    const provider = await newProvider({}, dir);
    const specs = Array.from({ length: 12 }, () => newSpec({ command: sleeper, ports: [{}] }));
    await Promise.all(
      specs.map(async (spec, index) => {
        const applying = provider.apply(spec, options).catch(() => null);
        await delay(index * 4);
        await provider.destroy({ ...refOf(spec), generation: 1 }, options);
        await applying;
        expect(await observe(provider, spec)).toMatchObject({ presence: "absent", health: "absent" });
        expect(processesOf(spec.tenantId)).toEqual([]);
        expect(existsSync(join(dir, "instances", instanceId, spec.tenantId, "run", "state"))).toBe(false);
      }),
    );
  });

  it("adopts the process of a worker that was killed at any moment", async () => {
    const dir = newDataDir();
    const provider = await newProvider({}, dir);
    for (let round = 0; round < 10; round += 1) {
      const spec = newSpec({ command: sleeper, ports: [{}] });
      const worker = startWorker(dir, spec);
      await output(worker, "ready");
      await delay(round * 4 + Math.random() * 4);
      worker.kill("SIGKILL");
      await until("its launchers to end", () => launchersOf(spec.tenantId).length === 0);
      const before = processesOf(spec.tenantId);
      expect(before.length).toBeLessThanOrEqual(1);
      const state = join(dir, "instances", instanceId, spec.tenantId, "run", "state");
      if (before.length === 1) expect(readFileSync(state, "utf8").split(" ")[1]).toBe(String(before[0]));
      const adopted = await applied(provider, spec).catch(() => applied(provider, spec));
      expect(processesOf(spec.tenantId)).toEqual([pidOf(adopted)]);
      if (before.length === 1) expect(pidOf(adopted)).toBe(before[0]);
    }
  });

  it("survives its worker", async () => {
    const dir = newDataDir();
    const spec = newSpec({ command: sleeper });
    const worker = startWorker(dir, spec);
    await output(worker, "applied");
    if (worker.exitCode === null) await closed(worker);
    const provider = await newProvider({}, dir);
    expect(await untilHealthy(provider, spec)).toMatchObject({ presence: "present", generation: 1 });
  });

  it("starts nothing when the launcher is killed before it could record itself", async () => {
    const dir = newDataDir();
    const provider = await newProvider({}, dir);
    const spec = newSpec({ command: sleeper });
    // A held lock keeps the launcher where it can be killed.
    const tenantDir = join(dir, "instances", instanceId, spec.tenantId);
    await mkdir(tenantDir, { recursive: true });
    const holder = spawn("flock", [join(tenantDir, "lock"), "-c", "echo held; exec cat"], {
      stdio: ["pipe", "pipe", "ignore"],
    });
    await output(holder, "held");
    const applying = provider.apply(spec, options).then(
      () => "applied",
      () => "failed",
    );
    const [launcher] = await until("the launcher", () => {
      const found = launchersOf(spec.tenantId);
      return found.length > 0 ? found : null;
    });
    process.kill(-Number(launcher), "SIGKILL");
    holder.stdin?.end();
    expect(await applying).toMatch(/applied|failed/);
    await applied(provider, spec).catch(() => applied(provider, spec));
    expect(processesOf(spec.tenantId)).toHaveLength(1);
  });

  it("neither trusts nor kills another process that has the pid now", async () => {
    const dir = newDataDir();
    const provider = await newProvider({}, dir);
    const stranger = spawn("sleep", ["1000"], { detached: true, stdio: "ignore" });
    try {
      const spec = newSpec({ command: sleeper });
      await applied(provider, spec);
      await provider.destroy({ ...refOf(spec), generation: 1 }, options);
      const second = next(spec);
      const runDir = join(dir, "instances", instanceId, spec.tenantId, "run");
      await mkdir(runDir, { recursive: true });
      await writeFile(
        join(runDir, "state"),
        `v1 ${stranger.pid} 1 ${bootId()} 2 ${second.configHash} ${randomUUID()}\n`,
      );
      expect(await observe(provider, spec)).toMatchObject({ presence: "absent", health: "exited" });
      await expect(provider.apply(second, options)).rejects.toMatchObject({ code: "workload_exited" });
      const started = await applied(provider, second);
      expect(pidOf(started)).not.toBe(stranger.pid);
      await provider.destroy({ ...refOf(spec), generation: 2 }, options);
      expect(isAlive(identityOf(stranger.pid!)!)).toBe(true);
    } finally {
      stranger.kill("SIGKILL");
    }
  });

  it("refuses to guess when the fence is damaged", async () => {
    const dir = newDataDir();
    const provider = await newProvider({}, dir);
    const spec = newSpec({ command: sleeper });
    const tenantDir = join(dir, "instances", instanceId, spec.tenantId);
    await mkdir(tenantDir, { recursive: true });
    await writeFile(join(tenantDir, "fence"), "");
    await expect(provider.apply(spec, options)).rejects.toMatchObject({
      code: "state_damaged",
      retryable: true,
    });
    expect(processesOf(spec.tenantId)).toEqual([]);
  });
});

const family = `(trap "" TERM; sleep 1000) & (setsid sh -c 'trap "" TERM; sleep 1000' &) ; exec sleep 1000`;

describe("an end is complete", () => {
  it.each(["auto", "off"])("kills grandchildren, cgroup %s", async (cgroup) => {
    const provider = await newProvider({ cgroup });
    const hasCgroups = cgroup === "auto" && (await detectCgroups()).version !== "none";
    // Without cgroups a grandchild in a session of its own is out of reach, and documented to be.
    const command = ["sh", "-c", hasCgroups ? family : `(trap "" TERM; sleep 1000) & exec sleep 1000`];
    const spec = newSpec({ command, stop_grace_seconds: 0.3 });
    await applied(provider, spec);
    await until("the family", () => processesOf(spec.tenantId).length >= (hasCgroups ? 3 : 2));
    await provider.destroy({ ...refOf(spec), generation: 1 }, options);
    expect(processesOf(spec.tenantId)).toEqual([]);
  });

  it("kills what ignores SIGTERM after its grace, and not before", async () => {
    const provider = await newProvider();
    const spec = newSpec({
      command: ["sh", "-c", `trap "" TERM; echo armed; while :; do sleep 1; done`],
      stop_grace_seconds: 0.5,
    });
    await applied(provider, spec);
    await until("the trap", async () =>
      (await provider.logs(refOf(spec), { tailBytes: 100, signal: options.signal })).includes("armed"),
    );
    const started = performance.now();
    expect(await provider.destroy({ ...refOf(spec), generation: 1 }, options)).toMatchObject({
      presence: "absent",
    });
    expect(performance.now() - started).toBeGreaterThan(450);
    expect(processesOf(spec.tenantId)).toEqual([]);
  });

  it("counts leftovers of an ended leader as present, and removes them before a new start", async () => {
    const provider = await newProvider();
    const spec = newSpec({ command: ["sh", "-c", `sleep 1000 & exit 0`] });
    await applied(provider, spec);
    const left = await until("the leader's end", async () => {
      const observation = await observe(provider, spec);
      return observation.health === "exited" ? observation : null;
    });
    expect(left).toMatchObject({ presence: "present", generation: 1 });
    const [orphan] = processesOf(spec.tenantId);
    await expect(provider.apply(spec, options)).rejects.toMatchObject({ code: "workload_exited" });
    expect(processesOf(spec.tenantId)).not.toContain(orphan);
  });

  it("stops waiting when aborted, and the next destroy finishes", async () => {
    const provider = await newProvider();
    const spec = newSpec({
      command: ["sh", "-c", `trap "" TERM; echo armed; while :; do sleep 1; done`],
      stop_grace_seconds: 60,
    });
    await applied(provider, spec);
    await until("the trap", async () =>
      (await provider.logs(refOf(spec), { tailBytes: 100, signal: options.signal })).includes("armed"),
    );
    const abort = { idempotencyKey: "key", signal: AbortSignal.timeout(200) };
    await expect(provider.destroy({ ...refOf(spec), generation: 1 }, abort)).rejects.toMatchObject({
      code: "aborted",
    });
    expect(await provider.apply(spec, options)).toEqual({ kind: "stale", generation: 1 });
    for (const pid of processesOf(spec.tenantId)) process.kill(pid, "SIGKILL");
    expect(await provider.destroy({ ...refOf(spec), generation: 1 }, options)).toMatchObject({
      presence: "absent",
    });
  });
});

describe("shared resources", () => {
  it("gives every one of 50 concurrent tenants its own port", async () => {
    const dir = newDataDir();
    const engine = { port_min: 21_000, port_max: 21_400, cgroup: "off" };
    const providers = await Promise.all([newProvider(engine, dir), newProvider(engine, dir)]);
    const specs = Array.from({ length: 50 }, () =>
      newSpec({ command: sleeper, ports: [{ name: "a" }, { name: "b" }] }),
    );
    const results = await Promise.all(specs.map((spec, index) => applied(providers[index % 2]!, spec)));
    const ports = results.flatMap(({ endpoints }) => endpoints.map(({ port }) => port));
    expect(new Set(ports).size).toBe(100);
    expect(readdirSync(join(dir, "ports")).map(Number).sort()).toEqual(ports.sort());
  });

  it("reclaims a reservation whose tenant does not know it, and says when none is left", async () => {
    const dir = newDataDir();
    const provider = await newProvider({ port_min: 21_500, port_max: 21_500 }, dir);
    await mkdir(join(dir, "ports"));
    await writeFile(join(dir, "ports", "21500"), `${instanceId}/${randomUUID()}\n`);
    const spec = newSpec({ command: sleeper, ports: [{}] });
    expect((await applied(provider, spec)).endpoints[0]?.port).toBe(21_500);
    const other = newSpec(spec.config);
    await expect(provider.apply(other, options)).rejects.toMatchObject({
      code: "no_free_port",
      retryable: true,
    });
  });

  it("launches again what lives without the record of its launch, instead of calling it unhealthy for ever", async () => {
    const dir = newDataDir();
    const provider = await newProvider({}, dir);
    const spec = newSpec({ command: sleeper });
    const first = await applied(provider, spec);
    // What a worker does that was stopped before it tidied up, and went on after another one had launched.
    const runDir = join(dir, "instances", instanceId, spec.tenantId, "run");
    await rm(join(runDir, `launch-${first.resourceIds["launch"]}.json`));
    const second = await applied(provider, spec);
    expect(pidOf(second)).not.toBe(pidOf(first));
    expect(processesOf(spec.tenantId)).toHaveLength(1);
    await untilHealthy(provider, spec);
  });

  it("sets the limits where cgroups are available, and removes the groups", async () => {
    const cgroups = await detectCgroups();
    const provider = await newProvider();
    const resources = { cpu: 250, memory: 64, pids: 32 };
    const spec = newSpec({ command: sleeper, resources });
    const observation = await applied(provider, spec);
    if (cgroups.version === "none") {
      // This host lets nobody make cgroups: the workload runs all the same, and says that it has none.
      expect(observation.resourceIds["cgroup"]).toBe("none");
      return;
    }
    const launch = observation.resourceIds["launch"] ?? "";
    const groups = cgroups.roots.map(({ path }) => join(path, "landlord", instanceId, spec.tenantId));
    const read = (file: string) =>
      groups
        .map((group) => join(group, launch, file))
        .filter((each) => existsSync(each))
        .map((each) => readFileSync(each, "utf8").trim());
    for (const members of read("cgroup.procs")) expect(members).toBe(String(pidOf(observation)));
    const expected =
      cgroups.version === "v1"
        ? { "cpu.cfs_quota_us": "25000", "memory.limit_in_bytes": String(64 * 1024 * 1024), "pids.max": "32" }
        : { "cpu.max": "25000 100000", "memory.max": String(64 * 1024 * 1024), "pids.max": "32" };
    for (const [file, value] of Object.entries(expected))
      for (const found of read(file)) expect(found).toBe(value);
    await provider.destroy({ ...refOf(spec), generation: 1 }, options);
    expect(groups.filter((group) => existsSync(group))).toEqual([]);
  });
});

describe("process identity", () => {
  it("parses names with spaces, parentheses and line feeds", () => {
    const rest = `S 7 42 43 ${Array.from({ length: 15 }, () => "0").join(" ")} 987654 0 0`;
    for (const name of ["sh", "a b", ") Z 1 (", "x\n) R 9"]) {
      expect(parseProcessStat(`42 (${name}) ${rest}\n`)).toMatchObject({
        pid: 42,
        state: "S",
        group: 42,
        session: 43,
        startTime: "987654",
      });
    }
    expect(parseProcessStat("")).toBeNull();
  });

  it("is written and read back, and names one process", async () => {
    const file = join(newDataDir(), "identity");
    const own = identityOf(process.pid)!;
    expect(await readIdentity(file)).toBeNull();
    await writeIdentity(file, own);
    const read = (await readIdentity(file))!;
    expect(sameProcess(read, own) && isAlive(read)).toBe(true);
    expect(isAlive({ ...own, startTime: "1" })).toBe(false);
    expect(isAlive({ ...own, bootId: "another" })).toBe(false);
  });

  it("counts a process whose first thread has ended as running", () => {
    const stat = (threads: number) =>
      parseProcessStat(
        `42 (x) Z 1 42 42 ${Array.from({ length: 13 }, () => "0").join(" ")} ${threads} 0 987654 0`,
      );
    expect(isRunning(stat(3)!)).toBe(true);
    expect(isRunning(stat(1)!)).toBe(false);
    expect(stat(1)?.startTime).toBe("987654");
  });

  it("starts nothing twice for a workload with a hostile name", async () => {
    const dir = newDataDir();
    const provider = await newProvider({}, dir);
    const rename = `require("fs").writeFileSync("/proc/self/comm", ") Z\\n(x) Z"); console.log("renamed"); setInterval(()=>{},1000)`;
    const spec = newSpec({ command: [process.execPath, "-e", rename] });
    const started = await applied(provider, spec);
    await until("its name", async () =>
      (await provider.logs(refOf(spec), { tailBytes: 100, signal: options.signal })).includes("renamed"),
    );
    expect(pidOf(await applied(provider, spec))).toBe(pidOf(started));
    // The launcher must see through it by itself.
    const answer = await runLauncher({
      mode: "launch",
      files: tenantFiles(dir, spec),
      generation: 1,
      configHash: spec.configHash,
      launchId: randomUUID(),
      cgroupParents: [],
      trash: join(dir, "trash", "none"),
    });
    expect(answer).toEqual({ kind: "alive" });
  });
});
