/** A secret of a tenant's configuration: where it travels, and what the engine and the logs get to see of it. */
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, inject, test } from "vitest";
import type { TenantBody } from "../../src/contract/tenant.ts";
import { newKey } from "../auth/sealed-harness.ts";
import { apiOf, type Api } from "../support/api.ts";
import { createTestDatabase } from "../support/database.ts";
import { eventually } from "../support/eventually.ts";
import { startLandlord } from "../support/landlord-process.ts";
import { randomNamespace, testSettings } from "../support/system.ts";

const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

interface Installation {
  readonly api: Api;
  /** All that server and workers wrote, at the level `trace`. */
  logs(): string;
  /** All that Restate keeps of this installation, binary parts decoded. */
  engine(): Promise<string>;
  startWorker(
    settings: Readonly<Record<string, unknown>>,
  ): Promise<{ stop(): Promise<unknown>; log(): string }>;
  restartServer(settings: Readonly<Record<string, unknown>>): Promise<void>;
}

async function install(serverSettings: Readonly<Record<string, unknown>>): Promise<Installation> {
  const [folder, database] = await Promise.all([
    mkdtemp(join(tmpdir(), "landlord-sealed-")),
    createTestDatabase(),
  ]);
  closing.push(async () => {
    await database.drop();
    await rm(folder, { recursive: true, force: true });
  });
  const namespace = randomNamespace();
  const common = { ...testSettings(folder, namespace), "log.level": "trace" };
  let output = "";
  const keep = (chunk: Buffer): void => {
    output += chunk.toString();
  };
  const launch = (settings: Readonly<Record<string, unknown>>, port: number) =>
    startLandlord(
      "serve",
      {
        ...common,
        "database.url": database.url,
        "http.port": port,
        "compute.process": {},
        "controller.backoff_initial": "200ms",
        "controller.backoff_max": "1s",
        ...settings,
      },
      {},
      keep,
    );
  let server = await launch(serverSettings, 0);
  closing.push(() => server.stop());
  return {
    api: apiOf(server.url),
    logs: () => output,
    engine: () => everythingAt(namespace),
    async startWorker(settings) {
      const worker = await startLandlord(
        "worker",
        {
          ...common,
          "workflow.restate.worker_listen_port": 0,
          "worker.api_url": server.url,
          "worker.shutdown_timeout": "2s",
          ...settings,
        },
        {},
        keep,
      );
      closing.push(() => worker.stop());
      return worker;
    },
    async restartServer(settings) {
      await server.stop();
      server = await launch(settings, Number(new URL(server.url).port));
    },
  };
}

async function everythingAt(namespace: string): Promise<string> {
  const rows = async (query: string): Promise<readonly Record<string, unknown>[]> => {
    const response = await fetch(`${inject("restateAdminUrl")}/query`, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "application/json" },
      body: JSON.stringify({ query }),
    });
    expect(response.status, await response.clone().text()).toBe(200);
    return ((await response.json()) as { rows: Record<string, unknown>[] }).rows;
  };
  const own = `target_service_name LIKE '${namespace}%'`;
  const tables = await Promise.all([
    rows(`SELECT * FROM sys_invocation WHERE ${own}`),
    rows(`SELECT j.* FROM sys_journal j JOIN sys_invocation i ON j.id = i.id WHERE i.${own}`),
    rows(`SELECT * FROM state WHERE service_name LIKE '${namespace}%'`),
  ]);
  return tables.flat().flatMap(Object.values).map(readable).join("\n");
}

/** As it is, and as the bytes that hex or base64 stand for. */
function readable(value: unknown): string {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  const decoded = /^[0-9a-f]+$/i.test(text)
    ? Buffer.from(text, "hex").toString("latin1")
    : Buffer.from(text, "base64").toString("latin1");
  return `${text}\n${decoded}`;
}

const body = (secret: string) => ({
  name: "acme",
  compute_provider: "process",
  compute_config: {
    command: ["sleep", "100000"],
    env: { DB_PASSWORD: secret, PLAIN_BUT_OWN: `own-${secret}` },
  },
  annotations: { note: `note-${secret}` },
});

async function lifeOf(installation: Installation, secret: string): Promise<string> {
  const { api } = installation;
  const { body: tenant } = await api.call<TenantBody>("POST", "/v1/tenants", body(secret));
  await api.waitFor(tenant.id, "ready", 40_000);
  await api.call("PATCH", `/v1/tenants/${tenant.id}`, {
    compute_config: { env: { MORE: `more-${secret}` } },
  });
  await eventually(
    async () => {
      const now = await api.tenant(tenant.id);
      return now?.status === "ready" && now.observed_generation === 2;
    },
    { what: "the update is done", timeoutMs: 40_000 },
  );
  return tenant.id;
}

test("with a key Restate keeps nothing that can be read, and it is the key that does it", async () => {
  const secret = randomBytes(12).toString("hex");
  const open = await install({});
  await open.startWorker({});
  await lifeOf(open, secret);
  // Else the search below could not find anything at all.
  expect(await open.engine()).toContain(secret);

  const key = newKey();
  const sealed = await install({ "workflow.encryption_key": key });
  await sealed.startWorker({ "workflow.encryption_key": key, "workflow.require_encryption": true });
  const id = await lifeOf(sealed, secret);
  const kept = await sealed.engine();
  expect(kept).toContain(id);
  expect(kept).toContain("$sealed");
  expect(kept).not.toContain(secret);
  expect(kept).not.toContain("sleep");
  const { api } = sealed;
  await api.call("DELETE", `/v1/tenants/${id}`);
  await api.waitGone(id, 40_000);
  expect(await sealed.engine()).not.toContain(secret);

  const told = await Promise.all(
    ["history", "operations"].map((part) => api.call("GET", `/v1/tenants/${id}/${part}`)),
  );
  const audit = await api.call("GET", "/v1/audit?limit=500");
  for (const text of [JSON.stringify(told), JSON.stringify(audit.body), sealed.logs(), open.logs()]) {
    expect(text.length).toBeGreaterThan(100);
    expect(text).not.toContain(secret);
  }
  for (const text of [sealed.logs(), kept]) expect(text).not.toContain(key);
}, 180_000);

test("a worker without the key fails no tenant; keys change without a tenant noticing", async () => {
  const [old, fresh] = [newKey(), newKey()];
  const installation = await install({ "workflow.encryption_key": old });
  const { api } = installation;
  const keyless = await installation.startWorker({});
  const { body: tenant } = await api.call<TenantBody>("POST", "/v1/tenants", body("x"));
  const stuck = await eventually(
    async () => {
      const seen = await api.tenant(tenant.id);
      return seen?.workflow_error_message?.includes("workflow.encryption_key") === true && seen;
    },
    { what: "the tenant says which key is missing", timeoutMs: 40_000 },
  );
  expect(stuck.status).not.toBe("failed");
  await keyless.stop();
  const first = await installation.startWorker({ "workflow.encryption_key": old });
  await api.waitFor(tenant.id, "ready", 60_000);

  const change = async (value: string): Promise<void> => {
    await api.call("PATCH", `/v1/tenants/${tenant.id}`, { compute_config: { env: { STEP: value } } });
    const wanted = (await api.tenant(tenant.id))?.generation;
    await eventually(
      async () => {
        const seen = await api.tenant(tenant.id);
        return seen?.status === "ready" && seen.observed_generation === wanted;
      },
      { what: `ready after ${value}`, timeoutMs: 60_000 },
    );
  };
  await first.stop();
  const second = await installation.startWorker({ "workflow.encryption_keys": [fresh, old] });
  await change("workers know both");
  await installation.restartServer({ "workflow.encryption_keys": [fresh, old] });
  await change("the server uses the new one");
  await second.stop();
  await installation.startWorker({ "workflow.encryption_key": fresh, "workflow.require_encryption": true });
  await change("the old one is gone");
  const history = await api.call<{ transitions: { to_status: string }[] }>(
    "GET",
    `/v1/tenants/${tenant.id}/history`,
  );
  expect(history.body.transitions.map(({ to_status: status }) => status)).not.toContain("failed");
}, 240_000);
