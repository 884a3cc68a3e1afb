/** PUT, PATCH, archive and DELETE: what they change, what they leave, and what they refuse. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { TenantBody } from "../../src/contract/tenant.ts";
import { apiOf, type Api } from "../support/api.ts";
import { startTestSystem, type TestSystem } from "../support/system.ts";
import { API_ONLY, contents, create, expectProblem, freshName, setStatus } from "./kit.ts";

let system: TestSystem;
let api: Api;
beforeAll(async () => {
  system = await startTestSystem(API_ONLY);
  api = apiOf(system.url);
});
afterAll(() => system.stop());

/** A tenant as it is after its creation succeeded. */
async function ready(body: Record<string, unknown> = {}): Promise<TenantBody> {
  const tenant = await create(api, body);
  await setStatus(system.database, tenant.id, "ready");
  return { ...tenant, status: "ready", observed_generation: 1 };
}
const write = (method: string, id: string, body?: unknown): ReturnType<typeof api.call<TenantBody>> =>
  api.call<TenantBody>(method, `/v1/tenants/${id}`, body);

describe("PUT", () => {
  it("202 and a new generation when the config changes; the status never lies", async () => {
    const { id } = await ready({ compute_config: { a: 1 } });
    const answer = await write("PUT", id, { compute_config: { b: 2 } });
    expect(answer).toMatchObject({
      status: 202,
      body: { status: "updating", generation: 2, observed_generation: 1, version: 2 },
    });
    expect(answer.headers.get("etag")).toBe('"2"');
    expect(answer.body.compute_config).toEqual({ b: 2, compute_provider: "mock" });
    expect(answer.body.conditions.find((condition) => condition.type === "Ready")).toMatchObject({
      status: "False",
    });
  });

  it("the same spec twice changes nothing", async () => {
    const tenant = await ready({ compute_config: { a: { x: 1, y: 2 } }, labels: { l: "1" } });
    const before = await contents(system.database);
    const same = {
      name: tenant.name,
      compute_config: { a: { y: 2, x: 1 } },
      labels: { l: "1" },
      compute_provider: "mock",
    };
    for (let round = 0; round < 2; round++) {
      expect(await write("PUT", tenant.id, same)).toMatchObject({
        status: 200,
        body: { generation: 1, version: 1 },
      });
    }
    expect(await write("PUT", tenant.id, {})).toMatchObject({
      status: 200,
      body: { generation: 1, version: 1 },
    });
    expect(await contents(system.database)).toEqual(before);
  });

  it("leaves labels and annotations that it omits, replaces those that it names", async () => {
    const { id } = await ready({ labels: { a: "1", b: "2" }, annotations: { n: "x" } });
    expect((await write("PUT", id, { compute_config: { z: 1 } })).body).toMatchObject({
      labels: { a: "1", b: "2" },
      annotations: { n: "x" },
    });
    const replaced = await write("PUT", id, { labels: { c: "3" } });
    expect(replaced).toMatchObject({
      status: 200,
      body: { annotations: { n: "x" }, generation: 2, version: 3 },
    });
    expect(replaced.body.labels).toEqual({ c: "3" });
    expect(replaced.body.compute_config).toEqual({ z: 1, compute_provider: "mock" });
  });

  it("renames, and the old name is free", async () => {
    const tenant = await ready();
    const name = freshName("renamed");
    expect(await write("PUT", tenant.name, { name })).toMatchObject({
      status: 200,
      body: { id: tenant.id, name, generation: 1 },
    });
    expectProblem(await write("GET", tenant.name), 404);
    expect((await create(api, { name: tenant.name })).id).not.toBe(tenant.id);
  });

  it("409 when the new name is taken, and nothing else of the request happens", async () => {
    const [tenant, other] = [await ready(), await ready()];
    const before = await contents(system.database);
    expectProblem(
      await write("PUT", tenant.id, { name: other.name, compute_config: { b: 1 } }),
      409,
      "name_taken",
    );
    expect(await contents(system.database)).toEqual(before);
  });

  it.each([
    { compute_provider: "process" },
    { compute_config: { compute_provider: "process", command: ["true"] } },
  ])("refuses another provider: %j", async (body) => {
    const { id } = await ready();
    for (const method of ["PUT", "PATCH"]) {
      const problem = expectProblem(await write(method, id, body), 409, "immutable_field");
      expect(problem.details[0]).toMatch(/^\/compute_provider: is mock/);
    }
  });

  it("mends a failed tenant, also with the config that it has", async () => {
    const { id } = await ready({ compute_config: { a: 1 } });
    await setStatus(system.database, id, "failed");
    await system.database.query(
      `UPDATE tenants SET last_error = '{"code":"bad","message":"no"}', attempts = 3 WHERE id = $1`,
      [id],
    );
    const again = await write("PUT", id, { compute_config: { a: 1 } });
    expect(again).toMatchObject({ status: 202, body: { status: "updating", generation: 2 } });
    expect(again.body).not.toHaveProperty("workflow_error_message");
    await setStatus(system.database, id, "failed", false);
    expect(await write("PUT", id, { compute_config: { a: 2 } })).toMatchObject({
      status: 202,
      body: { generation: 3 },
    });
  });

  it("a failed tenant that was never created is requested again", async () => {
    const { id } = await create(api);
    await setStatus(system.database, id, "failed", false);
    expect(await write("PUT", id, { compute_config: { a: 2 } })).toMatchObject({
      status: 202,
      body: { status: "requested" },
    });
  });

  it("a failed tenant stays so when only its labels change", async () => {
    const { id } = await ready();
    await setStatus(system.database, id, "failed");
    for (const method of ["PUT", "PATCH"]) {
      const answer = await write(method, id, { labels: { by: method } });
      expect(answer).toMatchObject({ status: 200, body: { status: "failed", generation: 1 } });
    }
  });

  it("joins a creation that is under way", async () => {
    const { id } = await create(api);
    expect(await write("PUT", id, { compute_config: { a: 1 } })).toMatchObject({
      status: 202,
      body: { status: "requested", generation: 2 },
    });
  });
});

describe("PATCH", () => {
  it("merges, and null removes (RFC 7396)", async () => {
    const { id } = await ready({
      compute_config: { keep: 1, drop: 2, deep: { x: 1, y: [1, 2] } },
      labels: { a: "1", b: "2" },
    });
    const answer = await write("PATCH", id, {
      compute_config: { drop: null, deep: { y: [3], z: {} } },
      labels: { a: null, c: "3" },
    });
    expect(answer.status).toBe(202);
    expect(answer.body.compute_config).toEqual({
      keep: 1,
      deep: { x: 1, y: [3], z: {} },
      compute_provider: "mock",
    });
    expect(answer.body.labels).toEqual({ b: "2", c: "3" });
    expect((await write("PATCH", id, { labels: null })).body.labels).toEqual({});
  });

  it("is understood as application/merge-patch+json", async () => {
    const { id } = await ready({ labels: { a: "1" } });
    const headers = { "content-type": "application/merge-patch+json" };
    const answer = await api.call<TenantBody>("PATCH", `/v1/tenants/${id}`, { labels: { b: "2" } }, headers);
    expect(answer).toMatchObject({ status: 200, body: { labels: { a: "1", b: "2" } } });
  });

  it("200 when nothing changes", async () => {
    const { id } = await ready({ compute_config: { a: 1 } });
    const before = await contents(system.database);
    for (const body of [
      {},
      { compute_config: {} },
      { compute_config: { a: 1, gone: null } },
      { labels: {} },
    ]) {
      expect(await write("PATCH", id, body)).toMatchObject({
        status: 200,
        body: { generation: 1, version: 1 },
      });
    }
    expect(await contents(system.database)).toEqual(before);
  });

  it("is held to the limits of the merged tenant", async () => {
    const full = Object.fromEntries(Array.from({ length: 64 }, (_, index) => [`k${index}`, "v"]));
    const { id } = await ready({ labels: full });
    const problem = expectProblem(
      await write("PATCH", id, { labels: { extra: "1" } }),
      400,
      "invalid_request",
    );
    expect(problem.details[0]).toMatch(/^\/labels: /);
    expect(await write("PATCH", id, { labels: { extra: "1", k0: null } })).toMatchObject({ status: 200 });
  });
});

describe("a tenant that is archived", () => {
  it("keeps its config, and may be described, archived again and deleted", async () => {
    const { id } = await ready({ compute_config: { a: 1 } });
    await api.call("POST", `/v1/tenants/${id}/archive`);
    await setStatus(system.database, id, "archived");
    for (const method of ["PUT", "PATCH"]) {
      expectProblem(await write(method, id, { compute_config: { a: 2 } }), 409, "tenant_archived");
    }
    expect(await write("PUT", id, { labels: { x: "1" } })).toMatchObject({
      status: 200,
      body: { status: "archived" },
    });
    const before = await contents(system.database);
    expect((await api.call("POST", `/v1/tenants/${id}/archive`)).status).toBe(200);
    expect(await contents(system.database)).toEqual(before);
    expect(await write("DELETE", id)).toMatchObject({
      status: 202,
      body: { status: "deleting", generation: 3 },
    });
  });
});

describe("a tenant that is being deleted", () => {
  it("refuses every write, also a POST of its name, until it is gone", async () => {
    const { id, name } = await ready();
    expect((await write("DELETE", id)).status).toBe(202);
    const before = await contents(system.database);
    expectProblem(await write("PUT", id, { labels: { a: "1" } }), 409, "tenant_deleting");
    expectProblem(await write("PUT", id, { compute_config: { a: 1 } }), 409, "tenant_deleting");
    expectProblem(await write("PATCH", id, {}), 409, "tenant_deleting");
    expectProblem(await api.call("POST", `/v1/tenants/${id}/archive`), 409, "tenant_deleting");
    const again = { name, compute_provider: "mock", compute_config: {} };
    expectProblem(await api.call("POST", "/v1/tenants", again), 409, "tenant_deleting");
    expect(await write("DELETE", id)).toMatchObject({
      status: 202,
      body: { status: "deleting", generation: 2, version: 2 },
    });
    expect(await contents(system.database)).toEqual(before);

    await system.database.query(`DELETE FROM tenants WHERE id = $1`, [id]);
    await system.database.query(`DELETE FROM tenant_work WHERE tenant_id = $1`, [id]);
    expectProblem(await write("DELETE", id), 404, "tenant_not_found");
    expect((await create(api, { name })).id).not.toBe(id);
  });

  it.each(["requested", "provisioning", "ready", "updating", "archiving", "archived", "failed"] as const)(
    "was %s",
    async (status) => {
      const { id } = await create(api);
      await setStatus(system.database, id, status, status !== "requested");
      expect(await write("DELETE", id)).toMatchObject({ status: 202, body: { status: "deleting" } });
    },
  );
});

describe("secrets", () => {
  const secrets = { password: "s3cret", env: { API_KEY: "k", PLAIN: "p" }, url: "https://u:pw@host/x" };

  it("are never shown, and survive a round trip through what was shown", async () => {
    const { id } = await create(api, { compute_config: secrets });
    const shown = await write("GET", id);
    expect(JSON.stringify(shown.body)).not.toMatch(/s3cret|"k"|u:pw@/);
    expect(shown.body.compute_config).toMatchObject({
      password: "[redacted]",
      env: { API_KEY: "[redacted]", PLAIN: "p" },
    });
    await setStatus(system.database, id, "ready");

    const { compute_config } = shown.body;
    expect(await write("PUT", id, { compute_config })).toMatchObject({
      status: 200,
      body: { generation: 1 },
    });
    await write("PUT", id, { compute_config: { ...compute_config, size: 2 } });
    await write("PATCH", id, { compute_config: { password: "[redacted]" } });
    const [row] = await system.database.query(`SELECT desired_config FROM tenants WHERE id = $1`, [id]);
    expect(row?.["desired_config"]).toEqual({ ...secrets, size: 2, compute_provider: "mock" });
  });

  it("a marker where nothing is stored is refused", async () => {
    const { id } = await ready({ compute_config: { password: "x" } });
    for (const method of ["PUT", "PATCH"]) {
      const problem = expectProblem(
        await write(method, id, { compute_config: { token: "[redacted]" } }),
        400,
        "invalid_compute_config",
      );
      expect(problem.details[0]).toMatch(/^\/compute_config\/token: /);
    }
  });
});

it("history and operations answer by id and by name, newest first, also after the deletion", async () => {
  const { id, name } = await ready();
  await write("PUT", id, { compute_config: { a: 1 } });
  await write("PUT", id, { labels: { a: "1" } });
  await write("DELETE", id);
  await system.database.query(`DELETE FROM tenants WHERE id = $1`, [id]);
  for (const key of [id, name]) {
    const history = await api.call<{ transitions: Record<string, unknown>[] }>(
      "GET",
      `/v1/tenants/${key}/history`,
    );
    expect(
      history.body.transitions.map((each) => [
        each["from_status"],
        each["to_status"],
        each["reason"],
        each["generation"],
      ]),
    ).toEqual([
      ["updating", "deleting", "delete_requested", 3],
      ["updating", "updating", "described", 2],
      ["ready", "updating", "changed", 2],
      [null, "requested", "created", 1],
    ]);
    const page = await api.call<{ transitions: Record<string, unknown>[] }>(
      "GET",
      `/v1/tenants/${key}/history?limit=1&offset=1`,
    );
    expect(page.body.transitions).toEqual([history.body.transitions[1]]);
    expect(await api.call("GET", `/v1/tenants/${key}/operations`)).toMatchObject({
      status: 200,
      body: { operations: [] },
    });
  }
});
