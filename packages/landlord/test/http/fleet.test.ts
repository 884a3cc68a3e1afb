/** What the API says and stages for the whole fleet: sweeps, priorities, outages. */
import { afterAll, beforeAll, expect, test } from "vitest";
import type { z } from "zod";
import { SWEEP_CHORE, type sweepSchema } from "../../src/contract/system.ts";
import type { TenantBody } from "../../src/contract/tenant.ts";
import { apiOf, type Api } from "../support/api.ts";
import { eventually } from "../support/eventually.ts";
import { startTestSystem, type TestSystem } from "../support/system.ts";
import { API_ONLY, create, expectProblem, freshName } from "./kit.ts";

type Sweep = z.infer<typeof sweepSchema>;

let system: TestSystem;
let api: Api;

beforeAll(async () => {
  system = await startTestSystem(API_ONLY);
  api = apiOf(system.url);
});
afterAll(() => system.stop());

async function laneOf(id: string): Promise<unknown> {
  const [row] = await system.database.query(`SELECT lane FROM tenant_work WHERE tenant_id = $1`, [id]);
  return row?.["lane"];
}

test("a sweep is staged, with its option, and nothing is removed by the request itself", async () => {
  expect((await api.call<Sweep>("GET", "/v1/sweep")).body).toEqual({
    requested_at: null,
    finished_at: null,
    report: null,
    orphans: [],
  });
  const asked = await api.call<Sweep>("POST", "/v1/sweep", { remove_orphans: true });
  expect(asked.status).toBe(202);
  expect(asked.body.requested_at).not.toBeNull();
  expect(asked.body.finished_at).toBeNull();
  const [chore] = await system.database.query(`SELECT options FROM chores WHERE name = $1`, [SWEEP_CHORE]);
  expect(chore?.["options"]).toEqual({ remove_orphans: true });
  expect((await api.call("POST", "/v1/sweep", {})).status).toBe(202);
  expectProblem(await api.call("POST", "/v1/sweep", { remove: true }), 400, "invalid_request");
});

test("orphans are shown with since when they were seen", async () => {
  await system.database.query(
    `INSERT INTO orphans (compute_provider, scope, tenant_id, generation, resource_ids)
     VALUES ('process', 'host', '22222222-2222-4222-8222-222222222222', 3, '{"pid": "7"}')`,
  );
  const { body } = await api.call<Sweep>("GET", "/v1/sweep");
  expect(body.orphans).toMatchObject([
    { compute_provider: "process", scope: "host", generation: 3, resource_ids: { pid: "7" } },
  ]);
});

test("Landlord-Priority says where a write queues up; without it, somebody waits", async () => {
  const tenant = await create(api);
  expect(await laneOf(tenant.id)).toBe(0);
  const bulk = { "landlord-priority": "bulk" };
  const created = await api.call<TenantBody>(
    "POST",
    "/v1/tenants",
    { name: freshName(), compute_provider: "mock", compute_config: {} },
    bulk,
  );
  expect(await laneOf(created.body.id)).toBe(2);
  const config = { compute_config: { size: 2 } };
  expect((await api.call("PUT", `/v1/tenants/${tenant.id}`, config, bulk)).status).toBe(202);
  expect(await laneOf(tenant.id)).toBe(2);
  expect((await api.call("POST", `/v1/tenants/${tenant.id}/archive`)).status).toBe(202);
  expect(await laneOf(tenant.id)).toBe(0);
  const wrong = await api.call("DELETE", `/v1/tenants/${tenant.id}`, undefined, {
    "landlord-priority": "urgent",
  });
  expectProblem(wrong, 400, "invalid_request");
  expect(await laneOf(tenant.id)).toBe(0);
});

test("an outage of compute is laid over the tenants of that provider, and no others", async () => {
  const [mock, other] = [
    await create(api),
    await create(api, { compute_provider: "process", compute_config: { command: ["true"] } }),
  ];
  await system.database.query(
    `INSERT INTO breakers (key, state, opened_at, next_probe_at, last_error)
     VALUES ('compute:mock', 'open', now(), now(), 'The daemon does not answer.')`,
  );
  const conditionOf = async ({ id }: TenantBody): Promise<unknown> => {
    const { body } = await api.call<TenantBody>("GET", `/v1/tenants/${id}`);
    return body.conditions.find(({ type }) => type === "ComputeReachable");
  };
  await eventually(async () => ((await conditionOf(mock)) as { status: string }).status === "False", {
    what: "the outage is shown",
  });
  expect(await conditionOf(mock)).toMatchObject({
    reason: "compute_unreachable",
    message: "The daemon does not answer.",
  });
  expect(await conditionOf(other)).toMatchObject({ status: "True" });
});
