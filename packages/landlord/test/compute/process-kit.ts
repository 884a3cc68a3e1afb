import { randomUUID } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach } from "vitest";
import type { ComputeProvider, ComputeRef, ComputeSpec, Observation } from "../../src/compute/provider.ts";
import { processComputeFactory } from "../../src/compute/process/factory.ts";
import { configHash, type JsonObject } from "../../src/domain/json.ts";

export const instanceId = "test-instance";
export const options = { idempotencyKey: "key", signal: new AbortController().signal };

/** Serves HTTP on PORT; `%s` of the script is replaced by the text it answers. */
export const httpServer = (text: string) => [
  process.execPath,
  "-e",
  `require("http").createServer((q,s)=>s.end(${JSON.stringify(text)}+process.pid)).listen(process.env.PORT,"127.0.0.1")`,
];
export const sleeper = ["sleep", "1000"];

const made: ComputeProvider[] = [];
const dataDirs: string[] = [];

export function newDataDir(): string {
  const dir = mkdtempSync(join(tmpdir(), "landlord-process-"));
  dataDirs.push(dir);
  return dir;
}

export async function newProvider(engine: JsonObject = {}, dir = newDataDir()): Promise<ComputeProvider> {
  const provider = await processComputeFactory.create({ data_dir: dir, ...engine }, { dataDir: dir });
  made.push(provider);
  return provider;
}

/** Stops every tenant that the test made and removes its folders. */
export function cleanUpAfterEach(): void {
  afterEach(async () => {
    for (const provider of made.splice(0)) {
      const owned = await provider.list(instanceId, options.signal);
      await Promise.all(
        owned.map(({ tenantId }) =>
          provider.destroy({ instanceId, tenantId, scopes: [], generation: 1_000_000 }, options),
        ),
      );
    }
    for (const dir of dataDirs.splice(0)) rmSync(dir, { recursive: true, force: true });
  });
}

export function newSpec(config: JsonObject, overrides: Partial<ComputeSpec> = {}): ComputeSpec {
  return {
    instanceId,
    tenantId: randomUUID(),
    tenantName: "acme",
    generation: 1,
    configHash: configHash(config),
    config,
    labels: {},
    ...overrides,
  };
}

/** The same tenant, one generation on. */
export function next(spec: ComputeSpec, config: JsonObject = spec.config): ComputeSpec {
  return { ...spec, generation: spec.generation + 1, config, configHash: configHash(config) };
}

export const refOf = (spec: ComputeSpec, scopes: readonly string[] = []): ComputeRef => ({
  instanceId: spec.instanceId,
  tenantId: spec.tenantId,
  scopes,
});

export async function observe(provider: ComputeProvider, spec: ComputeSpec): Promise<Observation> {
  const [observation] = await provider.observe([refOf(spec)], options.signal);
  if (observation === undefined) throw new Error("no observation");
  return observation;
}

export async function until<T>(
  what: string,
  look: () => Promise<T | null | false> | T | null | false,
  deadlineMs = 15_000,
): Promise<T> {
  const deadline = performance.now() + deadlineMs;
  for (;;) {
    const found = await look();
    if (found !== null && found !== false) return found;
    if (performance.now() > deadline) throw new Error(`not within ${deadlineMs} ms: ${what}`);
    await delay(20);
  }
}

export const untilHealthy = (provider: ComputeProvider, spec: ComputeSpec) =>
  until("healthy", async () => {
    const observation = await observe(provider, spec);
    return observation.health === "healthy" ? observation : null;
  });

export async function applied(provider: ComputeProvider, spec: ComputeSpec): Promise<Observation> {
  const result = await provider.apply(spec, options);
  if (result.kind !== "applied") throw new Error(`stale(${result.generation})`);
  await untilExec(result.observation);
  return result.observation;
}

/** An apply returns when the launcher has recorded itself; it becomes the workload a moment later. */
async function untilExec(observation: Observation): Promise<void> {
  const pid = observation.resourceIds["pid"];
  if (pid === undefined) return;
  await until("the workload's start", () => {
    try {
      return !readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("landlord-launcher");
    } catch {
      return true;
    }
  });
}

/** Living processes whose environment says that they are the tenant's. */
export function processesOf(tenantId: string): number[] {
  return readdirSync("/proc")
    .filter((entry) => /^[0-9]+$/.test(entry))
    .filter((pid) => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
        if (/\) [ZX]/.test(stat)) return false;
        return readFileSync(`/proc/${pid}/environ`, "utf8").includes(`LANDLORD_TENANT_ID=${tenantId}\0`);
      } catch {
        return false;
      }
    })
    .map(Number);
}

export const pidOf = (observation: Observation) => Number(observation.resourceIds["pid"]);
