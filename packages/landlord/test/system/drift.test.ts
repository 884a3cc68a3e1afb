/** Drift and orphans of real processes, found through real Restate: nobody writes, and it is put right all the same. */
import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { TenantBody } from "../../src/contract/tenant.ts";
import { apiOf, type Api } from "../support/api.ts";
import { livingTenants } from "../support/census.ts";
import { eventually } from "../support/eventually.ts";
import { startTestSystem, type TestSystem } from "../support/system.ts";
import { sleeper } from "../support/workloads.ts";

const BIN = fileURLToPath(new URL("../../bin/landlord.mjs", import.meta.url));
const run = promisify(execFile);

let system: TestSystem;
let api: Api;

beforeAll(async () => {
  system = await startTestSystem({
    server: {
      "controller.resync_interval": "300ms",
      "controller.resync_rate": 100,
      "controller.sweep_interval": "1h",
      "controller.orphan_grace": "1ms",
    },
  });
  api = apiOf(system.url);
});
afterAll(() => system.stop());

const pidsOf = (id: string): number[] =>
  livingTenants()
    .filter(({ tenantId }) => tenantId === id)
    .map(({ pid }) => pid);

async function create(name: string, config: unknown): Promise<TenantBody> {
  const { status } = await api.call("POST", "/v1/tenants", {
    name,
    compute_provider: "process",
    compute_config: config,
  });
  expect(status).toBe(201);
  return api.waitFor(name, "ready");
}

async function reasonsOf(name: string): Promise<readonly string[]> {
  const { body } = await api.call<{ transitions: { reason: string }[] }>(
    "GET",
    `/v1/tenants/${name}/history`,
  );
  return body.transitions.map(({ reason }) => reason).reverse();
}

test("a process that is killed is started again, once, and its history says why", async () => {
  const { id } = await create("killed", sleeper());
  const [pid] = pidsOf(id) as [number];
  process.kill(pid, "SIGKILL");
  await eventually(() => Promise.resolve(pidsOf(id).some((each) => each !== pid)), {
    what: "another process runs",
  });
  const after = await api.waitFor("killed", "ready");
  expect(pidsOf(id)).toHaveLength(1);
  expect(after.generation).toBe(1);
  expect(await reasonsOf("killed")).toEqual([
    "created",
    "operation_started",
    "ready",
    "drift_exited",
    "ready",
  ]);
});

test("a process that lives and answers 500 is replaced by a new generation", async () => {
  // It is bad for as long as a file of its generation is there.
  const script = `const fs = require("fs"); require("http").createServer((_, r) => {
    r.statusCode = fs.existsSync("bad-" + process.env.LANDLORD_GENERATION) ? 500 : 200; r.end("hello");
  }).listen(process.env.PORT, "127.0.0.1")`;
  const { id } = await create("sick", {
    command: [process.execPath, "-e", script],
    cwd: system.dataDir,
    ports: [{}],
    health_check: { type: "http", path: "/", interval_seconds: 1, timeout_seconds: 2, deadline_seconds: 20 },
  });
  const [pid] = pidsOf(id) as [number];
  await writeFile(join(system.dataDir, "bad-1"), "");
  await eventually(() => Promise.resolve(!pidsOf(id).includes(pid)), {
    what: "the sick process is gone",
    timeoutMs: 40_000,
  });
  const after = await api.waitFor("sick", "ready");
  expect(after).toMatchObject({ generation: 2, observed_generation: 2 });
  expect(await reasonsOf("sick")).toContain("drift_unhealthy");
  expect(await (await fetch(after.endpoints[0]?.url ?? "")).text()).toBe("hello");
});

test(
  "`landlord sweep` shows what belongs to nobody, and removes it when told to",
  { timeout: 90_000 },
  async () => {
    const kept = await create("kept", sleeper());
    const lost = await create("lost", sleeper());
    // What a restored, older database does not know.
    await system.database.query("DELETE FROM tenant_work WHERE tenant_id = $1", [lost.id]);
    await system.database.query("DELETE FROM tenants WHERE id = $1", [lost.id]);
    const sweep = (...args: string[]): Promise<{ stdout: string }> =>
      run(process.execPath, [BIN, "sweep", "--api-url", system.url, ...args]);

    const shown = (await sweep()).stdout;
    expect(shown).toMatch(/^\d+ resources of this instance, 1 of them of no tenant\.$/m);
    expect(shown).toContain(lost.id);
    expect(shown).not.toContain(kept.id);
    expect(pidsOf(lost.id)).toHaveLength(1);

    const removed = (await sweep("--remove")).stdout;
    expect(removed).toContain("1 are being removed");
    await eventually(() => Promise.resolve(pidsOf(lost.id).length === 0), { what: "its process is gone" });
    await api.waitGone(lost.id);
    const again = JSON.parse((await sweep("-o", "json")).stdout) as {
      orphans: unknown[];
      report: { orphans: number };
    };
    expect(again.orphans).toEqual([]);
    expect(again.report.orphans).toBe(0);
    expect(pidsOf(kept.id)).toHaveLength(1);
  },
);
