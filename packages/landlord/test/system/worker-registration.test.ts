/** A worker registers itself: with the admin API down at first, down for good, twice, and after the engine forgot it. */
import { createServer } from "node:http";
import { generateKeyPairSync } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:http2";
import { afterEach, expect, inject, test } from "vitest";
import { apiOf } from "../support/api.ts";
import { eventually } from "../support/eventually.ts";
import { spawnLandlord } from "../support/landlord-process.ts";
import {
  provisionRequest,
  randomNamespace,
  restateProvider,
  restateWorker,
  signal,
  untilStatus,
} from "../support/restate.ts";
import { scriptedCompute } from "../../src/plugin/testing.ts";
import { startTestSystem } from "../support/system.ts";
import { startHoldingProxy } from "../support/holding-proxy.ts";
import { sleeper } from "../support/workloads.ts";
import { requestIdentity } from "../../src/start/dev/request-identity.ts";
import { startEmbeddedRestate } from "../../src/workflow/restate/embedded/embedded-restate.ts";
import { pickFreePorts } from "../../src/os/supervised.ts";
import { WORKFLOW_NAME } from "../../src/contract/job.ts";
import type { TenantBody } from "../../src/contract/tenant.ts";

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function deploymentsOf(adminUrl: string): Promise<{ id: string; uri: string }[]> {
  const answer = await fetch(`${adminUrl}/deployments`);
  return ((await answer.json()) as { deployments: { id: string; uri: string }[] }).deployments;
}

async function revisionOf(service: string): Promise<number> {
  const answer = await fetch(`${inject("restateAdminUrl")}/services/${service}`);
  return ((await answer.json()) as { revision: number }).revision;
}

test("create, update and delete run on a worker that registered itself", async () => {
  const system = await startTestSystem();
  closing.push(() => system.stop());
  const api = apiOf(system.url);
  const { body } = await api.call<TenantBody>("POST", "/v1/tenants", {
    name: "seed",
    compute_provider: "process",
    compute_config: sleeper(),
  });
  await api.waitFor(body.id, "ready");
  await api.call("PUT", `/v1/tenants/${body.id}`, { compute_config: sleeper(200_000) });
  const updated = await eventually(
    async () => {
      const tenant = await api.tenant(body.id);
      return tenant?.status === "ready" && tenant.observed_generation === 2 && tenant;
    },
    { what: "updated" },
  );
  expect(updated.observed_config["command"]).toEqual(["sleep", "200000"]);
  await api.call("DELETE", `/v1/tenants/${body.id}`);
  await api.waitGone(body.id);
  const { body: ledger } = await api.call<{ operations: { kind: string; outcome: string }[] }>(
    "GET",
    `/v1/tenants/${body.id}/operations`,
  );
  expect(ledger.operations.map(({ kind, outcome }) => [kind, outcome])).toEqual([
    ["delete", "succeeded"],
    ["update", "succeeded"],
    ["create", "succeeded"],
  ]);
});

test("an admin API that is down at first is waited for, with a log that says so", async () => {
  const [port = 0] = await pickFreePorts(1);
  const settings = {
    data_dir: tmpdir(),
    "workflow.restate.endpoint": inject("restateIngressUrl"),
    "workflow.restate.admin_endpoint": `http://127.0.0.1:${port}`,
    "workflow.restate.worker_namespace": randomNamespace(),
    "workflow.restate.worker_listen_port": 0,
  };
  const worker = spawnLandlord("worker", settings);
  closing.push(async () => {
    worker.child.kill("SIGTERM");
    await worker.exited;
  });
  await eventually(() => worker.log().includes("not registered with Restate yet"), {
    what: "it says that it waits",
  });
  expect(worker.log()).toContain(`http://127.0.0.1:${port}`);
  // The admin API comes up at last.
  const target = new URL(inject("restateAdminUrl"));
  const admin = createServer((incoming, outgoing) => {
    void (async () => {
      const chunks: Buffer[] = [];
      for await (const chunk of incoming) chunks.push(chunk as Buffer);
      const answer = await fetch(`${target.origin}${incoming.url}`, {
        method: incoming.method ?? "GET",
        headers: { "content-type": "application/json" },
        ...(chunks.length === 0 ? {} : { body: Buffer.concat(chunks) }),
      });
      outgoing.writeHead(answer.status, { "content-type": "application/json" }).end(await answer.text());
    })();
  });
  await new Promise<void>((resolve) => admin.listen(port, "127.0.0.1", resolve));
  closing.push(() => new Promise((resolve) => admin.close(resolve)));
  await worker.ready;
  expect(worker.log()).toContain("worker registered with Restate");
});

test("with fail_fast, an admin API that is down ends the worker with a non-zero code and the reason", async () => {
  const worker = spawnLandlord("worker", {
    data_dir: tmpdir(),
    "workflow.restate.admin_endpoint": "http://127.0.0.1:1",
    "workflow.restate.worker_listen_port": 0,
    "workflow.restate.worker_fail_fast": true,
  });
  expect(await worker.exited).not.toBe(0);
  expect(worker.log()).toContain("could not register with Restate at http://127.0.0.1:1");
});

test("registering twice changes nothing, and a second replica at the same address adds nothing", async () => {
  const namespace = randomNamespace();
  const worker = restateWorker(namespace, scriptedCompute());
  await worker.start();
  closing.push(() => worker.stop());
  await worker.register(signal());
  const service = `${namespace}_${WORKFLOW_NAME}`;
  const before = await revisionOf(service);
  await worker.register(signal());
  expect(await revisionOf(service)).toBe(before);
  const replica = restateWorker(namespace, scriptedCompute(), {
    advertisedUrl: worker.status().listenAddress,
  });
  await replica.start();
  closing.push(() => replica.stop());
  await replica.register(signal());
  expect(await revisionOf(service)).toBe(before);
  const mine = (await deploymentsOf(inject("restateAdminUrl"))).filter(
    ({ uri }) => uri.replace(/\/$/, "") === worker.status().listenAddress,
  );
  expect(mine).toHaveLength(1);
});

test("a worker at another address takes over new work, and the old deployment is not removed", async () => {
  const namespace = randomNamespace();
  const computes = [scriptedCompute(), scriptedCompute()] as const;
  const workers = computes.map((compute) => restateWorker(namespace, compute));
  for (const worker of workers) {
    await worker.start();
    closing.push(() => worker.stop());
    await worker.register(signal());
  }
  const provider = restateProvider(namespace);
  closing.push(() => provider.close());
  const run = async (): Promise<void> => {
    const execution = await provider.invoke({
      workflowName: WORKFLOW_NAME,
      request: provisionRequest(),
      signal: signal(),
    });
    await untilStatus(provider, execution, ({ state }) => state === "succeeded", "succeeded");
  };
  await run();
  expect(computes.map(({ applied }) => applied.length)).toEqual([0, 1]);
  // Back to the first: its deployment is known, but not the newest.
  await workers[0]?.register(signal());
  await run();
  expect(computes.map(({ applied }) => applied.length)).toEqual([1, 1]);
  const uris = (await deploymentsOf(inject("restateAdminUrl"))).map(({ uri }) => uri.replace(/\/$/, ""));
  for (const worker of workers) expect(uris).toContain(worker.status().listenAddress);
});

test(
  "requests that Restate did not sign are refused, and signed ones served",
  { timeout: 90_000 },
  async () => {
    const folder = await mkdtemp(join(tmpdir(), "landlord-identity-"));
    closing.push(() => rm(folder, { recursive: true, force: true }));
    const own = await requestIdentity(join(folder, "own.pem"));
    const quiet = { info: () => undefined, warn: () => undefined };
    const restate = await startEmbeddedRestate({
      dataDir: join(folder, "restate"),
      ports: null,
      requestIdentityKeyFile: own.privateKeyFile,
      logFile: join(folder, "restate.log"),
      log: quiet,
    });
    closing.push(() => restate.stop());
    const start = async (namespace: string, key: string): Promise<ReturnType<typeof restateWorker>> => {
      const worker = restateWorker(namespace, scriptedCompute(), {
        adminUrl: restate.adminUrl,
        identityKeys: [key],
        failFast: true,
      });
      await worker.start();
      closing.push(() => worker.stop());
      return worker;
    };
    const trusted = await start("trusted", own.publicKey);
    await trusted.register(signal());
    const provider = restateProvider("trusted", {
      ingressUrl: restate.ingressUrl,
      adminUrl: restate.adminUrl,
    });
    closing.push(() => provider.close());
    const execution = await provider.invoke({
      workflowName: WORKFLOW_NAME,
      request: provisionRequest(),
      signal: signal(),
    });
    await untilStatus(provider, execution, ({ state }) => state === "succeeded", "succeeded");

    expect(await unsignedStatus(trusted.status().listenAddress ?? "")).toBe(401);

    // A worker that trusts another key does not even let itself be discovered.
    generateKeyPairSync("ed25519");
    const other = await requestIdentity(join(folder, "other.pem"));
    const stranger = await start("stranger", other.publicKey);
    await expect(stranger.register(signal())).rejects.toMatchObject({ code: "registration_failed" });
  },
);

function unsignedStatus(url: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const session = connect(url);
    session.once("error", reject);
    const request = session.request({
      ":method": "POST",
      ":path": `/invoke/trusted_${WORKFLOW_NAME}/run`,
      "content-type": "application/vnd.restate.invocation.v5",
    });
    request.once("response", (headers) => {
      resolve(Number(headers[":status"]));
      session.destroy();
    });
    request.end();
  });
}

test("an engine that forgot its workers gets them back", { timeout: 60_000 }, async () => {
  // What the worker sees of a wiped engine: its services are not there any more.
  const namespace = randomNamespace();
  const admin = await startHoldingProxy(inject("restateAdminUrl"));
  closing.push(() => admin.stop());
  const worker = restateWorker(namespace, scriptedCompute(), {
    adminUrl: admin.url,
    registrationCheckMs: 200,
  });
  await worker.start();
  closing.push(() => worker.stop());
  await worker.register(signal());
  const [deployment] = (await deploymentsOf(inject("restateAdminUrl"))).filter(
    ({ uri }) => uri.replace(/\/$/, "") === worker.status().listenAddress,
  );
  await fetch(`${inject("restateAdminUrl")}/deployments/${deployment?.id}?force=true`, { method: "DELETE" });
  await eventually(
    async () =>
      (await deploymentsOf(inject("restateAdminUrl"))).some(
        ({ uri }) => uri.replace(/\/$/, "") === worker.status().listenAddress,
      ),
    { what: "registered again" },
  );
});
