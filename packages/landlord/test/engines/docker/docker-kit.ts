/** What the tests of the Docker provider share: a daemon, providers, specs, and looks behind the provider's back. */
import { randomBytes, randomUUID } from "node:crypto";
import { afterEach, inject } from "vitest";
import type { ComputeProvider, ComputeRef, ComputeSpec, Observation } from "../../../src/compute/provider.ts";
import { dockerComputeFactory } from "../../../src/compute/docker/factory.ts";
import { configHash, type JsonObject } from "../../../src/domain/json.ts";
import { askDocker } from "../../support/engines/docker-daemon.ts";
import { eventually } from "../../support/eventually.ts";

/** The daemon is shared with other test files; nothing under another prefix or of another instance is theirs. */
export const prefix = `test-${randomBytes(4).toString("hex")}`;
export const instanceId = `instance-of-${prefix}`;
export const image = "landlord-test:1";
export const options = { idempotencyKey: "key", signal: new AbortController().signal };

export const dockerHost = (): string => inject("dockerHost");

/** Removes the containers of each test. */
export function cleanUpAfterEach(): void {
  afterEach(async () => {
    const left = await containersBy(`${prefix}.tenant`, dockerHost());
    await Promise.all(
      left.map(({ Id }) => askDocker(dockerHost(), "DELETE", `/containers/${Id}?force=1&v=1`)),
    );
  });
}

export async function newProvider(engine: JsonObject = {}): Promise<ComputeProvider> {
  const block = dockerComputeFactory.engineConfigSchema.parse({
    label_prefix: prefix,
    ...engine,
    host: engine["host"] ?? dockerHost(),
  });
  return dockerComputeFactory.create(block, { dataDir: "/nonexistent", environment: {} });
}

export const web: JsonObject = {
  image,
  ports: [{ name: "web", container_port: 8080 }],
  health_check: { type: "http", path: "/" },
  stop_grace_seconds: 1,
};
export const sleeper: JsonObject = { image, command: ["sleep", "1000"], stop_grace_seconds: 0 };

export function newSpec(config: JsonObject = web, overrides: Partial<ComputeSpec> = {}): ComputeSpec {
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

export async function applied(provider: ComputeProvider, spec: ComputeSpec): Promise<Observation> {
  const result = await provider.apply(spec, options);
  if (result.kind !== "applied") throw new Error(`stale(${result.generation})`);
  return result.observation;
}

/** As the job does it: applies until the spec is healthy. A failure is a failure at once. */
export async function converge(provider: ComputeProvider, spec: ComputeSpec): Promise<Observation> {
  const outcome = await eventually(
    async () => {
      try {
        const observation = await applied(provider, spec);
        return observation.health === "healthy" ? { observation } : null;
      } catch (error) {
        return { error };
      }
    },
    { what: `generation ${spec.generation} is healthy`, everyMs: 100, timeoutMs: 30_000 },
  );
  if ("error" in outcome) throw outcome.error;
  return outcome.observation;
}

export const destroy = (provider: ComputeProvider, spec: ComputeSpec, generation = spec.generation) =>
  provider.destroy({ ...refOf(spec), generation }, options);

export async function fetchText(url: string | undefined): Promise<string> {
  return (await fetch(url ?? "http://none", { signal: AbortSignal.timeout(2_000) })).text();
}

interface ListedContainer {
  readonly Id: string;
  readonly Names: readonly string[];
  readonly State: string;
  readonly Labels: Readonly<Record<string, string>>;
}

async function json<T>(host: string, path: string): Promise<T> {
  const { status, body } = await askDocker(host, "GET", path);
  if (status !== 200) throw new Error(`${path}: ${status} ${body}`);
  return JSON.parse(body) as T;
}

function containersBy(label: string, host: string): Promise<readonly ListedContainer[]> {
  const filters = JSON.stringify({ label: [label] });
  return json(host, `/containers/json?all=1&filters=${encodeURIComponent(filters)}`);
}

/** All containers of the tenant, in any state. */
export const containersOf = (spec: ComputeSpec, host = dockerHost()): Promise<readonly ListedContainer[]> =>
  containersBy(`${prefix}.tenant=${spec.tenantId}`, host);

/** Generations that run, serving or being drained, lowest first. */
export async function runningOf(spec: ComputeSpec, host = dockerHost()): Promise<readonly number[]> {
  const containers = await containersOf(spec, host);
  return containers
    .filter(({ State }) => State === "running")
    .map(({ Labels }) => Number(Labels[`${prefix}.generation`]))
    .sort((a, b) => a - b);
}

export interface Inspected {
  readonly Name: string;
  readonly Config: { readonly Env: readonly string[]; readonly Labels: Readonly<Record<string, string>> };
  readonly HostConfig: Readonly<Record<string, unknown>>;
  readonly State: { readonly Status: string; readonly Pid: number };
  readonly Mounts: readonly Readonly<Record<string, unknown>>[];
}

export async function inspect(id: string | undefined, host = dockerHost()): Promise<Inspected> {
  return json(host, `/containers/${id}/json`);
}

export async function namesOf(
  kind: "volumes" | "networks",
  spec: ComputeSpec,
  host = dockerHost(),
): Promise<readonly string[]> {
  const filters = JSON.stringify({ label: [`${prefix}.tenant=${spec.tenantId}`] });
  const path = `/${kind}?filters=${encodeURIComponent(filters)}`;
  const found =
    kind === "volumes"
      ? ((await json<{ Volumes: { Name: string }[] | null }>(host, path)).Volumes ?? [])
      : await json<{ Name: string }[]>(host, path);
  return found.map(({ Name }) => Name);
}
