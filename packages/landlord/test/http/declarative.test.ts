/** Applying by name, dry runs, and plans that go stale. Plans are asked of a real worker through real Restate. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { PlanBody } from "../../src/contract/plan.ts";
import { sharedMockWorld } from "../../src/compute/mock/world.ts";
import type { TenantBody } from "../../src/contract/tenant.ts";
import { apiOf, type Answer, type Api } from "../support/api.ts";
import { startTestSystem, type TestSystem } from "../support/system.ts";
import { expectProblem, freshName } from "./kit.ts";

let system: TestSystem;
let api: Api;
beforeAll(async () => {
  system = await startTestSystem();
  api = apiOf(system.url);
});
afterAll(() => system.stop());

const spec = (size: number, more: Record<string, unknown> = {}): Record<string, unknown> => ({
  compute_provider: "mock",
  compute_config: { settings: { size } },
  ...more,
});
const apply = (
  name: string,
  body: unknown,
  query = "",
  headers: Record<string, string> = {},
): Promise<Answer<TenantBody>> =>
  api.call<TenantBody>("PUT", `/v1/tenants/by-name/${name}${query}`, body, headers);
const planOf = async (answer: Promise<Answer<unknown>>): Promise<PlanBody> => {
  const { status, body } = await answer;
  expect(status, JSON.stringify(body)).toBe(200);
  return body as PlanBody;
};

describe("PUT /v1/tenants/by-name/{name}", () => {
  it("creates, then changes nothing, then changes, and drops what is left out", async () => {
    const name = freshName();
    const created = await apply(name, spec(1, { labels: { team: "a" }, annotations: { note: "x" } }));
    expect(created.status).toBe(201);
    expect(created.headers.get("location")).toBe(`/v1/tenants/${created.body.id}`);
    expect(created.body).toMatchObject({ generation: 1, labels: { team: "a" } });
    await api.waitFor(name, "ready");
    const again = await apply(name, spec(1, { labels: { team: "a" }, annotations: { note: "x" } }));
    expect([again.status, again.body.generation, again.body.version]).toEqual([200, 1, 1]);
    const described = await apply(name, spec(1));
    expect([described.status, described.body.generation]).toEqual([200, 1]);
    expect([described.body.labels, described.body.annotations]).toEqual([{}, {}]);
    const changed = await apply(name, spec(2));
    expect([changed.status, changed.body.generation]).toEqual([202, 2]);
    await api.waitFor(name, "ready");
  });

  it("does not repeat a failure, and a changed spec mends it", async () => {
    const name = freshName();
    const bad = spec(1, { compute_config: { fail: "terminal" } });
    await apply(name, bad);
    await api.waitFor(name, "failed");
    const again = await apply(name, bad);
    expect([again.status, again.body.status, again.body.generation]).toEqual([200, "failed", 1]);
    expect((await apply(name, spec(1))).status).toBe(202);
    await api.waitFor(name, "ready");
  });

  it("honours If-Match and If-None-Match", async () => {
    const name = freshName();
    expectProblem(await apply(name, spec(1), "", { "if-match": "*" }), 412, "precondition_failed");
    expect((await apply(name, spec(1), "", { "if-none-match": "*" })).status).toBe(201);
    expectProblem(await apply(name, spec(2), "", { "if-none-match": "*" }), 412, "precondition_failed");
    expectProblem(await apply(name, spec(2), "", { "if-match": '"7"' }), 412, "precondition_failed");
    expect((await apply(name, spec(2), "", { "if-match": '"1"' })).status).toBe(202);
  });

  it("is one creation when eight apply at once", async () => {
    const name = freshName();
    const answers = await Promise.all(Array.from({ length: 8 }, () => apply(name, spec(1))));
    expect(answers.map(({ status }) => status).filter((status) => status === 201)).toHaveLength(1);
    expect(answers.every(({ status }) => status < 300)).toBe(true);
    expect(new Set(answers.map(({ body }) => body.id)).size).toBe(1);
    expect((await api.tenant(name))?.generation).toBe(1);
  });

  it("refuses an archived tenant, one that is being deleted, and a name that is none", async () => {
    const name = freshName();
    await apply(name, spec(1));
    await api.waitFor(name, "ready");
    await api.call("POST", `/v1/tenants/${name}/archive`);
    expectProblem(await apply(name, spec(2)), 409, "tenant_archived");
    await api.call("DELETE", `/v1/tenants/${name}`);
    const deleting = await apply(name, spec(2));
    if (deleting.status !== 201) expectProblem(deleting, 409, "tenant_deleting");
    expectProblem(await apply("Not_A_Name", spec(1)), 400, "invalid_request");
  });
});

describe("a plan", () => {
  it("of a creation says create, and stores nothing", async () => {
    const name = freshName();
    const body = { name, ...spec(1) };
    const plan = await planOf(api.call("POST", "/v1/tenants?dry_run=true", body));
    expect(plan).toMatchObject({
      tenant_id: null,
      tenant_name: name,
      action: "create",
      downtime: false,
      generation: 1,
    });
    expect(plan.hash).toMatch(/^[0-9a-f]{64}$/);
    expect(plan.observed).toMatchObject({ presence: "absent" });
    expect(plan.desired_config).toMatchObject({ compute_provider: "mock", settings: { size: 1 } });
    expect(await api.tenant(name)).toBeNull();
    expect(await planOf(apply(name, spec(1), "?dry_run=true"))).toMatchObject({ action: "create" });
    expect(await api.tenant(name)).toBeNull();
  });

  it("of a change names the fields, the resource and the downtime, and hides secrets", async () => {
    const name = freshName();
    await apply(name, spec(1, { compute_config: { settings: { size: 1, api_token: "before" } } }));
    const before = await api.waitFor(name, "ready");
    const wanted = { compute_config: { settings: { size: 2, api_token: "after" } }, labels: { team: "a" } };
    const plan = await planOf(api.call("POST", `/v1/tenants/${name}/plan`, wanted));
    expect(plan).toMatchObject({ action: "replace", downtime: true, generation: 2, tenant_id: before.id });
    expect(plan.changes).toMatchObject([{ action: "replace", resource: "mock", downtime: true }]);
    expect(plan.fields).toEqual([
      {
        pointer: "/compute_config/settings/api_token",
        from: "[redacted]",
        to: "[redacted]",
        action: "replace",
      },
      { pointer: "/compute_config/settings/size", from: 1, to: 2, action: "replace" },
      { pointer: "/labels/team", to: "a", action: null },
    ]);
    expect(JSON.stringify(plan)).not.toMatch(/before|after/);
    const after = await api.tenant(name);
    expect([after?.generation, after?.version]).toEqual([1, 1]);
  });

  it("of nothing says none; of a patch, a delete, an archive, a restore and a rollback what they do", async () => {
    const name = freshName();
    const path = `/v1/tenants/${name}`;
    await apply(name, spec(1));
    await api.waitFor(name, "ready");
    expect(await planOf(api.call("POST", `${path}/plan`, {}))).toMatchObject({ action: "none", fields: [] });
    const patch = api.call("PATCH", `${path}?dry_run=true`, { compute_config: { settings: { size: 5 } } });
    expect(await planOf(patch)).toMatchObject({ action: "replace" });
    for (const planned of [
      api.call("DELETE", `${path}?dry_run=true`),
      api.call("DELETE", `${path}?dry_run=true&force=true`),
      api.call("POST", `${path}/archive?dry_run=true`),
    ]) {
      const plan = await planOf(planned);
      expect(plan).toMatchObject({ action: "destroy", downtime: true });
      expect(plan.fields).toMatchObject([{ pointer: "/intent", from: "present", action: "destroy" }]);
    }
    await apply(name, spec(2));
    await api.waitFor(name, "ready");
    const back = await planOf(api.call("POST", `${path}/rollback?dry_run=true`, {}));
    expect(back).toMatchObject({ action: "replace", generation: 3 });
    expect(back.fields).toMatchObject([{ pointer: "/compute_config/settings/size", from: 2, to: 1 }]);
    await api.call("POST", `${path}/archive`);
    await api.waitFor(name, "archived");
    expect(await planOf(api.call("POST", `${path}/restore?dry_run=true`))).toMatchObject({
      action: "create",
    });
    expect(await api.tenant(name)).toMatchObject({ status: "archived", generation: 3 });
  });

  it("lets the write through as long as it holds, and refuses it once it is stale", async () => {
    const name = freshName();
    await apply(name, spec(1));
    await api.waitFor(name, "ready");
    const wanted = { compute_config: { settings: { size: 2 } } };
    const path = `/v1/tenants/${name}`;
    const stale = await planOf(api.call("POST", `${path}/plan`, wanted));
    // Somebody else writes, and it comes to rest.
    await apply(name, spec(9));
    await api.waitFor(name, "ready");
    const refused = await api.call("PUT", path, wanted, { "if-plan": stale.hash });
    expectProblem(refused, 412, "plan_stale");
    expect((await api.tenant(name))?.generation).toBe(2);
    const fresh = await planOf(api.call("POST", `${path}/plan`, wanted));
    expect(fresh.hash).not.toBe(stale.hash);
    // The plan of one write is no leave for another.
    const other = { compute_config: { settings: { size: 3 } } };
    expectProblem(await api.call("PUT", path, other, { "if-plan": fresh.hash }), 412, "plan_stale");
    const written = await api.call("PUT", path, wanted, { "if-plan": fresh.hash });
    expect(written.status).toBe(202);
    await api.waitFor(name, "ready");
  });

  it("goes stale when the compute has changed by itself", async () => {
    const name = freshName();
    await apply(name, spec(1));
    const { id } = await api.waitFor(name, "ready");
    const wanted = { compute_config: { settings: { size: 2 } } };
    const path = `/v1/tenants/${name}`;
    const plan = await planOf(api.call("POST", `${path}/plan`, wanted));
    const [instance] = await system.database.query("SELECT id FROM instance");
    sharedMockWorld.touch({ instanceId: String(instance?.["id"]), tenantId: id }).compute = null;
    expect(await planOf(api.call("POST", `${path}/plan`, wanted))).toMatchObject({ action: "create" });
    expectProblem(await api.call("PUT", path, wanted, { "if-plan": plan.hash }), 412, "plan_stale");
  });

  it("needs a worker, and says so", async () => {
    const alone = await startTestSystem({ worker: false });
    try {
      const lonely = apiOf(alone.url);
      const answer = await lonely.call("POST", "/v1/tenants?dry_run=true", { name: freshName(), ...spec(1) });
      expectProblem(answer, 503, "no_worker");
      expect(answer.headers.get("retry-after")).not.toBeNull();
    } finally {
      await alone.stop();
    }
  });
});
