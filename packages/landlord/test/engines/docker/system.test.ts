/** Restate × Docker: the whole product, and the whole life of a tenant. */
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { pickFreePorts } from "../../../src/os/supervised.ts";
import type { TenantBody } from "../../../src/contract/tenant.ts";
import { apiOf } from "../../support/api.ts";
import { askDocker, loadTestImage, startDockerDaemon } from "../../support/engines/docker-daemon.ts";
import { liveWholeLife } from "../../support/engines/lifecycle.ts";
import { eventually } from "../../support/eventually.ts";
import { startLandlord } from "../../support/landlord-process.ts";
import { startTestSystem, testSettings, type TestSystem } from "../../support/system.ts";

let system: TestSystem;
beforeAll(async () => {
  system = await startTestSystem({
    server: { "compute.docker": { host: inject("dockerHost"), drain_seconds: 2 } },
  });
});
afterAll(() => system.stop());

const site = (variant: number) => ({
  image: `landlord-test:${variant}`,
  ports: [{ container_port: 8080 }],
  health_check: { type: "http", path: "/", deadline_seconds: 30 },
  stop_grace_seconds: 1,
});

async function running(host: string, tenantId: string): Promise<readonly number[]> {
  const filters = encodeURIComponent(JSON.stringify({ label: [`landlord.tenant=${tenantId}`] }));
  const { body } = await askDocker(host, "GET", `/containers/json?all=1&filters=${filters}`);
  return (JSON.parse(body) as { Labels: Record<string, string> }[]).map(({ Labels }) =>
    Number(Labels["landlord.generation"]),
  );
}

test("a tenant lives its whole life", async () => {
  await liveWholeLife(system.url, "docker", {
    computeProvider: "docker",
    config: site,
    running: (id) => running(inject("dockerHost"), id),
  });
});

test("a client that follows the endpoint sees no failure during updates", async () => {
  const api = apiOf(system.url);
  const { body } = await api.call<TenantBody>("POST", "/v1/tenants", {
    name: "followed",
    compute_provider: "docker",
    compute_config: site(1),
  });
  await api.waitFor(body.id, "ready");
  const seen = new Map<string, number>();
  const failures: string[] = [];
  let probing = true;
  const prober = (async () => {
    while (probing) {
      const url = (await api.tenant(body.id))?.endpoints[0]?.url ?? "";
      try {
        const response = await fetch(url, { signal: AbortSignal.timeout(1_000) });
        const text = `${response.status} ${(await response.text()).trim()}`;
        seen.set(text, (seen.get(text) ?? 0) + 1);
      } catch (error) {
        failures.push(`${url}: ${String(error)}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  })();
  for (const [generation, variant] of [
    [2, 2],
    [3, 1],
  ] as const) {
    await api.call("PUT", `/v1/tenants/${body.id}`, { compute_config: site(variant) });
    await eventually(async () => (await api.tenant(body.id))?.observed_generation === generation, {
      what: `generation ${generation} is ready`,
    });
    await eventually(async () => (await running(inject("dockerHost"), body.id)).length === 1, {
      what: "the old one is gone",
    });
  }
  probing = false;
  await prober;
  expect(failures).toEqual([]);
  expect([...seen.keys()].sort()).toEqual(["200 landlord-test:1", "200 landlord-test:2"]);
  await api.call("DELETE", `/v1/tenants/${body.id}`);
  await api.waitGone(body.id);
});

test(
  "killing the daemon or the worker in the middle of each operation ends correctly",
  { timeout: 240_000 },
  async () => {
    const daemon = await startDockerDaemon();
    await loadTestImage(daemon.host);
    const own = await startTestSystem({
      server: { "compute.docker": { host: daemon.host, drain_seconds: 0 } },
      worker: false,
    });
    // A worker that comes back keeps its address: executions in flight retry it.
    const [port = 0] = await pickFreePorts(1);
    const start = () =>
      startLandlord("worker", {
        ...testSettings(own.dataDir, own.namespace),
        "workflow.restate.worker_listen_port": port,
        "worker.api_url": own.url,
        "worker.absence_settle": "50ms",
      });
    let worker = await start();
    try {
      await liveWholeLife(own.url, "killed-daemon", {
        computeProvider: "docker",
        config: site,
        running: (id) => running(daemon.host, id),
        during: async () => {
          await daemon.kill("SIGKILL");
          await daemon.restart();
        },
        timeoutMs: 90_000,
      });
      await liveWholeLife(own.url, "killed-worker", {
        computeProvider: "docker",
        config: site,
        running: (id) => running(daemon.host, id),
        during: async () => {
          await worker.kill();
          worker = await start();
        },
        timeoutMs: 90_000,
      });
    } finally {
      await worker.kill();
      await own.stop();
      await daemon.stop();
    }
  },
);
