import { execFile, execFileSync } from "node:child_process";
import { randomBytes, randomInt } from "node:crypto";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import type { ComputeSpec, Observation } from "../../../src/compute/provider.ts";
import { startEcsEmulator, type EcsEmulator } from "../../support/engines/ecs-emulator.ts";
import { censusOf, converge, ecsEngineConfig, newProvider, newSpec, next, webConfig } from "./ecs-kit.ts";

const namespace = `lle${randomBytes(3).toString("hex")}`;
const link = `10.${randomInt(250, 255)}.${randomInt(1, 255)}`;
const ip = (...args: readonly string[]) => execFileSync("ip", args, { stdio: "pipe" });

let emulator: EcsEmulator;
/** A network namespace that shares nothing with the host but one cable. */
beforeAll(async () => {
  ip("netns", "add", namespace);
  ip("link", "add", `${namespace}h`, "type", "veth", "peer", "name", "eth0", "netns", namespace);
  ip("address", "add", `${link}.1/30`, "dev", `${namespace}h`);
  ip("link", "set", `${namespace}h`, "up");
  ip("-n", namespace, "address", "add", `${link}.2/30`, "dev", "eth0");
  ip("-n", namespace, "link", "set", "eth0", "up");
  emulator = await startEcsEmulator({ dockerHost: inject("dockerHost"), address: `${link}.1` });
});
afterAll(async () => {
  await emulator.stop();
  ip("netns", "delete", namespace);
});

async function elsewhere(
  action: "apply" | "destroy",
  spec: ComputeSpec,
  scopes: readonly string[],
): Promise<Observation> {
  const script = fileURLToPath(new URL("elsewhere-worker.ts", import.meta.url));
  const engine = { ...ecsEngineConfig, endpoint: emulator.endpoint };
  const payload = JSON.stringify({ action, spec, scopes, engine });
  const node = ["--conditions=source", "--import", "tsx", script, payload];
  const { stdout } = await promisify(execFile)("ip", ["netns", "exec", namespace, process.execPath, ...node]);
  return JSON.parse(stdout) as Observation;
}

test("a worker in another network namespace updates and deletes what the first one created", async () => {
  const here = await newProvider({}, emulator.endpoint);
  const spec = newSpec();
  const first = await converge(here, spec);
  const second = next(spec, webConfig(2));
  const updated = await elsewhere("apply", second, [first.scope]);
  expect(updated).toMatchObject({
    generation: 2,
    health: "healthy",
    scope: first.scope,
    resourceIds: first.resourceIds,
  });
  expect(await censusOf(spec, emulator.endpoint)).toEqual([2]);
  expect(await here.apply(spec, { idempotencyKey: "late", signal: new AbortController().signal })).toEqual({
    kind: "stale",
    generation: 2,
  });
  expect(await elsewhere("destroy", second, [first.scope])).toMatchObject({ presence: "absent" });
  expect(await censusOf(spec, emulator.endpoint)).toEqual([]);
});
