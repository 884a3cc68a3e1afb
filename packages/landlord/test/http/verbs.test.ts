/** Retry, pause, resume, restore, rollback, force delete, against a real worker. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { sharedMockWorld } from "../../src/compute/mock/world.ts";
import type { TenantBody } from "../../src/contract/tenant.ts";
import { apiOf, type Answer, type Api } from "../support/api.ts";
import { eventually } from "../support/eventually.ts";
import { startTestSystem, type TestSystem } from "../support/system.ts";
import { API_ONLY, create, expectProblem, freshName, setStatus } from "./kit.ts";

let system: TestSystem;
let api: Api;
beforeAll(async () => {
  system = await startTestSystem({
    server: { "controller.backoff_initial": "1h", "controller.backoff_max": "1h" },
  });
  api = apiOf(system.url);
});
afterAll(() => system.stop());

const post = (
  name: string,
  verb: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer<TenantBody>> => api.call<TenantBody>("POST", `/v1/tenants/${name}/${verb}`, body, headers);

const put = (name: string, config: unknown): Promise<Answer<TenantBody>> =>
  api.call<TenantBody>("PUT", `/v1/tenants/${name}`, { compute_config: config });

async function ready(config: unknown = {}): Promise<TenantBody> {
  const { name } = await create(api, { compute_config: config });
  return api.waitFor(name, "ready");
}

/** Nobody asked for it, and nobody was told. */
async function loseCompute(id: string): Promise<void> {
  const [instance] = await system.database.query("SELECT id FROM instance");
  sharedMockWorld.touch({ instanceId: String(instance?.["id"]), tenantId: id }).compute = null;
}

async function reasonsOf(name: string): Promise<readonly string[]> {
  const { body } = await api.call<{ transitions: { reason: string }[] }>(
    "GET",
    `/v1/tenants/${name}/history`,
  );
  return body.transitions.map(({ reason }) => reason);
}

describe("retry", () => {
  it("brings a failed tenant out of failed, at the same generation", async () => {
    const { name } = await create(api, { compute_config: { fail: "terminal" } });
    await api.waitFor(name, "failed");
    const answer = await post(name, "retry");
    expect([answer.status, answer.body.status, answer.body.generation]).toEqual([202, "requested", 1]);
    expect(answer.body.version).toBe(2);
    expect(answer.body.workflow_error_message).toBeUndefined();
    // It is tried again, and rejected again.
    await api.waitFor(name, "failed");
    const { body } = await api.call<{ operations: unknown[] }>("GET", `/v1/tenants/${name}/operations`);
    expect(body.operations).toHaveLength(2);
  });

  it("of a ready tenant looks at its compute, and mends what is wrong with it", async () => {
    const { name, id } = await ready();
    await loseCompute(id);
    const answer = await post(name, "retry");
    expect([answer.status, answer.body.status, answer.body.generation]).toEqual([200, "ready", 1]);
    await eventually(async () => (await reasonsOf(name)).length === 6, { what: "it is ready again" });
    const expected = ["ready", "drift_missing", "retry_requested", "ready", "operation_started"];
    expect((await reasonsOf(name)).slice(0, 5)).toEqual(expected);
  });
});

describe("pause and resume", () => {
  it("holds changes back, says who did it, and goes on", async () => {
    const { name } = await ready();
    const paused = await post(name, "pause");
    expect([paused.status, paused.body.paused, paused.body.status]).toEqual([200, true, "ready"]);
    const condition = paused.body.conditions.find(({ type }) => type === "Paused");
    expect(condition).toMatchObject({ status: "True", reason: "paused_by_user" });
    expect(condition?.message).toContain("anonymous");
    // The same again is no second write.
    expect((await post(name, "pause")).body.version).toBe(paused.body.version);
    expect((await put(name, { settings: 2 })).status).toBe(202);
    const { body } = await api.call<{ reason: string; message: string }>(
      "GET",
      `/v1/tenants/${name}/explain`,
    );
    expect(body).toMatchObject({ reason: "paused", settled: false });
    expect(body.message).toContain("anonymous");
    const { body: ledger } = await api.call<{ operations: unknown[] }>(
      "GET",
      `/v1/tenants/${name}/operations`,
    );
    expect(ledger.operations).toHaveLength(1);
    const resumed = await post(name, "resume");
    expect([resumed.status, resumed.body.paused]).toEqual([200, false]);
    expect(await api.waitFor(name, "ready")).toMatchObject({ generation: 2, paused: false });
  });

  it("mends at its end what went wrong meanwhile", async () => {
    const { name, id } = await ready();
    await post(name, "pause");
    await loseCompute(id);
    await post(name, "resume");
    await eventually(async () => (await reasonsOf(name)).includes("drift_missing"), {
      what: "its compute is looked at, a minute before its time",
    });
    await api.waitFor(name, "ready");
  });

  it("holds a delete back, too, until it is resumed", async () => {
    const { name } = await ready();
    await post(name, "pause");
    await api.call("DELETE", `/v1/tenants/${name}`);
    const { body } = await api.call("GET", `/v1/tenants/${name}/explain`);
    expect(body).toMatchObject({ reason: "paused", status: "deleting" });
    expect((await post(name, "resume")).status).toBe(200);
    await api.waitGone(name);
  });
});

describe("restore", () => {
  it("brings an archived tenant back as it was", async () => {
    const { name } = await ready({ settings: 7 });
    await post(name, "archive");
    await api.waitFor(name, "archived");
    const answer = await post(name, "restore");
    expect([answer.status, answer.body.status, answer.body.generation]).toEqual([202, "requested", 3]);
    expect(await api.waitFor(name, "ready")).toMatchObject({
      compute_config: { settings: 7 },
      generation: 3,
    });
    expectProblem(await post(name, "restore"), 409, "not_archived");
  });

  it("overtakes an archive that has not ended", async () => {
    const { name } = await ready();
    await post(name, "archive");
    expect((await post(name, "restore")).status).toBe(202);
    expect(await api.waitFor(name, "ready")).toMatchObject({ generation: 3 });
  });
});

describe("rollback", () => {
  it("goes back to what was before, or to a generation, and is a new one", async () => {
    const { name } = await ready({ settings: 1 });
    await put(name, { settings: 2 });
    await put(name, { settings: 3 });
    await api.waitFor(name, "ready");
    const back = await post(name, "rollback", {});
    expect([back.status, back.body.generation, back.body.compute_config["settings"]]).toEqual([202, 4, 2]);
    const first = await post(name, "rollback", { generation: 1 });
    expect([first.status, first.body.generation, first.body.compute_config["settings"]]).toEqual([202, 5, 1]);
    const same = await post(name, "rollback", { generation: 1 });
    expect([same.status, same.body.generation]).toEqual([202, 5]);
    expectProblem(await post(name, "rollback", { generation: 77 }), 404, "generation_not_found");
    expectProblem(await post(name, "rollback", { generation: 0 }), 400, "invalid_request");
    await api.waitFor(name, "ready");
    const { body } = await api.call<{ generations: { generation: number; actor: string }[] }>(
      "GET",
      `/v1/tenants/${name}/generations`,
    );
    expect(body.generations.map(({ generation }) => generation)).toEqual([5, 4, 3, 2, 1]);
    expect(body.generations[0]).toMatchObject({ actor: "anonymous", compute_config: { settings: 1 } });
  });

  it("passes over generations of the same configuration", async () => {
    const { name } = await ready({ settings: 1 });
    await put(name, { settings: 2 });
    await api.waitFor(name, "ready");
    await post(name, "archive");
    await post(name, "restore");
    await api.waitFor(name, "ready");
    const back = await post(name, "rollback", {});
    expect([back.status, back.body.generation, back.body.compute_config["settings"]]).toEqual([202, 5, 1]);
    await api.waitFor(name, "ready");
  });

  it("has nowhere to go from the first configuration", async () => {
    const { name } = await ready();
    expectProblem(await post(name, "rollback", {}), 404, "generation_not_found");
  });
});

describe("a forced delete", () => {
  it("frees the name at once, tells what may be left, and the sweep removes that", async () => {
    const before = await ready();
    const { name } = before;
    const answer = await api.call<TenantBody & { may_remain: unknown }>(
      "DELETE",
      `/v1/tenants/${name}?force=true`,
    );
    expect(answer.status).toBe(202);
    expect(answer.body.may_remain).toMatchObject({
      scopes: [expect.any(String)],
      resource_ids: before.observed_resource_ids,
      execution_id: null,
    });
    expect(await api.tenant(name)).toBeNull();
    const [last] = (
      await api.call<{ transitions: { reason: string; message: string; to_status: null }[] }>(
        "GET",
        `/v1/tenants/${before.id}/history`,
      )
    ).body.transitions;
    expect(last).toMatchObject({ reason: "force_deleted", to_status: null });
    expect(last?.message).toContain("May be left");
    expectProblem(await api.call("DELETE", `/v1/tenants/${name}?force=true`), 404, "tenant_not_found");
    const again = await create(api, { name });
    expect(again.id).not.toBe(before.id);
    await api.waitFor(name, "ready");
    // A young tombstone is left alone: what was listed may be older.
    await system.database.query("UPDATE tombstones SET created_at = created_at - interval '1 minute'");
    await api.call("POST", "/v1/sweep", {});
    await eventually(async () => (await reasonsOf(before.id))[0] === "deleted", {
      what: "the sweep adopted what was left, and removed it",
    });
    expect(await reasonsOf(before.id)).toContain("tombstone_adopted");
    expect((await api.tenant(name))?.status).toBe("ready");
  });

  it("closes an operation that is in flight", async () => {
    const alone = await startTestSystem({ worker: false });
    try {
      const lonely = apiOf(alone.url);
      const { id, name } = await create(lonely);
      await eventually(
        async () =>
          (await lonely.call<{ operations: unknown[] }>("GET", `/v1/tenants/${name}/operations`)).body
            .operations.length === 1,
        { what: "its creation is in the ledger" },
      );
      const answer = await lonely.call<{ may_remain: { execution_id: string } }>(
        "DELETE",
        `/v1/tenants/${name}?force=true`,
      );
      expect(answer.body.may_remain.execution_id).toMatch(/^[0-9a-f-]{36}$/);
      const { body } = await lonely.call<{ operations: unknown[] }>("GET", `/v1/tenants/${id}/operations`);
      expect(body.operations).toMatchObject([{ outcome: "abandoned" }]);
    } finally {
      await alone.stop();
    }
  });
});

describe("every verb", () => {
  const VERBS = ["retry", "pause", "resume", "restore", "rollback", "archive"] as const;
  it("honours If-Match, and knows no tenant that is not there", async () => {
    const apart = await startTestSystem(API_ONLY);
    try {
      const own = apiOf(apart.url);
      const { id, name } = await create(own);
      await setStatus(apart.database, id, "ready");
      for (const verb of VERBS) {
        const body = verb === "rollback" ? {} : undefined;
        const refused = await own.call("POST", `/v1/tenants/${name}/${verb}`, body, { "if-match": '"99"' });
        expectProblem(refused, 412, "precondition_failed");
        expectProblem(
          await own.call("POST", `/v1/tenants/${freshName()}/${verb}`, body),
          404,
          "tenant_not_found",
        );
      }
      const forced = await own.call("DELETE", `/v1/tenants/${name}?force=true`, undefined, {
        "if-match": '"99"',
      });
      expectProblem(forced, 412, "precondition_failed");
      await own.call("DELETE", `/v1/tenants/${name}`);
      for (const verb of ["restore", "rollback", "archive"]) {
        const body = verb === "rollback" ? {} : undefined;
        expectProblem(await own.call("POST", `/v1/tenants/${name}/${verb}`, body), 409, "tenant_deleting");
      }
      for (const verb of ["retry", "pause", "resume"])
        expect((await own.call("POST", `/v1/tenants/${name}/${verb}`)).status).toBeLessThan(300);
    } finally {
      await apart.stop();
    }
  });
});
