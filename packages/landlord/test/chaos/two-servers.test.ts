/**
 * Two servers over one database, 200 tenants in motion; one server is stopped past its leases and continued, so that
 * it wakes up believing that it still holds them.
 */
import { mkdtemp, rm, chmod } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { apiOf, type Api } from "../support/api.ts";
import { takeCensus, watchForDoubles } from "../support/census.ts";
import { createTestDatabase, type TestDatabase } from "../support/database.ts";
import { eventually } from "../support/eventually.ts";
import { startLandlord, type LandlordProcess } from "../support/landlord-process.ts";
import { randomNamespace } from "../support/system.ts";
import { sleeper } from "../support/workloads.ts";
import type { TenantBody } from "../../src/contract/tenant.ts";

const TENANTS = 200;
const LEASE_SECONDS = 2;

let database: TestDatabase;
let folder: string;
let first: LandlordProcess;
let second: LandlordProcess;
let worker: LandlordProcess;
let api: Api;

beforeAll(async () => {
  database = await createTestDatabase();
  folder = await mkdtemp(join(tmpdir(), "landlord-two-"));
  await chmod(folder, 0o711);
  const common = {
    data_dir: folder,
    "workflow.restate.endpoint": inject("restateIngressUrl"),
    "workflow.restate.admin_endpoint": inject("restateAdminUrl"),
    "workflow.restate.worker_namespace": randomNamespace(),
  };
  const server = {
    ...common,
    "http.port": 0,
    "database.url": database.url,
    "controller.lease_duration": `${LEASE_SECONDS}s`,
    "controller.workflow_trigger_timeout": "600ms",
    "controller.status_poll_interval": "500ms",
    "controller.backoff_initial": "200ms",
    "controller.workers": 32,
    "compute.process": {},
  };
  [first, second] = await Promise.all([startLandlord("serve", server), startLandlord("serve", server)]);
  worker = await startLandlord("worker", {
    ...common,
    "workflow.restate.worker_listen_port": 0,
    "worker.api_url": second.url,
    "worker.absence_settle": "20ms",
    "worker.shutdown_timeout": "2s",
  });
  api = apiOf(second.url);
});

afterAll(async () => {
  first.signal("SIGCONT");
  await Promise.all([first.stop(), second.stop(), worker.stop()]);
  await database.drop();
  await rm(folder, { recursive: true, force: true });
});

test("nothing is doubled and nothing is lost", { timeout: 240_000 }, async () => {
  const viaFirst = apiOf(first.url);
  const ids = await Promise.all(
    Array.from({ length: TENANTS }, async (_, index) => {
      const answer = await (index % 2 === 0 ? api : viaFirst).call<TenantBody>("POST", "/v1/tenants", {
        name: `t-${index}`,
        compute_config: sleeper(100_000 + index),
      });
      expect(answer.status).toBe(201);
      return answer.body.id;
    }),
  );
  const doubles = watchForDoubles(new Set(ids));
  const heldByFirst = async (): Promise<number> => {
    const rows = await database.query(
      "SELECT count(*)::int AS held FROM tenant_work WHERE lease_holder LIKE $1",
      [`%/${first.pid}/%`],
    );
    return Number(rows[0]?.["held"]);
  };

  for (let round = 0; round < 2; round++) {
    await eventually(
      async () => {
        first.signal("SIGSTOP");
        if ((await heldByFirst()) > 0) return true;
        first.signal("SIGCONT");
        return false;
      },
      { what: "the first server is stopped while it holds leases", everyMs: 20 },
    );
    // What clients want meanwhile reaches the other server.
    const from = round * 60;
    await Promise.all(
      ids
        .slice(from, from + 30)
        .map((id, index) =>
          api.call("PUT", `/v1/tenants/${id}`, { compute_config: sleeper(200_000 + from + index) }),
        ),
    );
    await Promise.all(ids.slice(from + 30, from + 60).map((id) => api.call("DELETE", `/v1/tenants/${id}`)));
    // Past its leases: the other server has taken over everything that it held.
    await eventually(async () => (await heldByFirst()) === 0, {
      what: "its leases were taken over",
      timeoutMs: 60_000,
    });
    first.signal("SIGCONT");
  }

  const deleted = new Set([...ids.slice(30, 60), ...ids.slice(90, 120)]);
  const updated = new Set([...ids.slice(0, 30), ...ids.slice(60, 90)]);
  const alive = ids.filter((id) => !deleted.has(id));
  await eventually(
    async () => {
      const rows = await database.query(
        "SELECT count(*)::int AS n FROM tenants WHERE status <> 'ready' OR observed_generation <> generation",
      );
      const left = await database.query("SELECT count(*)::int AS n FROM tenants");
      return Number(rows[0]?.["n"]) === 0 && Number(left[0]?.["n"]) === alive.length;
    },
    { what: "everything settled", timeoutMs: 150_000, everyMs: 200 },
  );

  expect(doubles.stop()).toEqual([]);
  const { leaders } = takeCensus(new Set(ids));
  expect(new Set(leaders.keys())).toEqual(new Set(alive));
  for (const id of alive) {
    expect(leaders.get(id)).toHaveLength(1);
    const tenant = await api.tenant(id);
    expect(tenant?.generation).toBe(updated.has(id) ? 2 : 1);
    expect(leaders.get(id)).toEqual([Number(tenant?.observed_resource_ids["pid"])]);
  }
  // The ledger: at most one unfinished at a time, and no execution id twice.
  const unfinished = await database.query(
    "SELECT count(*)::int AS n FROM operations WHERE finished_at IS NULL",
  );
  expect(unfinished[0]?.["n"]).toBe(0);
  // The history: each tenant became ready exactly once for each generation that it reached.
  const twice = await database.query(
    "SELECT tenant_id FROM transitions WHERE to_status = 'ready' GROUP BY tenant_id, generation HAVING count(*) > 1",
  );
  expect(twice).toEqual([]);

  await Promise.all(alive.map((id) => api.call("DELETE", `/v1/tenants/${id}`)));
  await eventually(async () => (await database.query("SELECT 1 FROM tenants LIMIT 1")).length === 0, {
    what: "all are gone",
    timeoutMs: 120_000,
    everyMs: 200,
  });
  expect(takeCensus(new Set(ids)).leaders.size).toBe(0);
});
