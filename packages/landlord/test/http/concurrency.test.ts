/** Many writers at once: Idempotency-Key, ETag and If-Match, and the compare-and-set below them. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { TenantBody } from "../../src/contract/tenant.ts";
import { apiOf, type Api } from "../support/api.ts";
import { startTestSystem, type TestSystem } from "../support/system.ts";
import { API_ONLY, contents, create, expectProblem, freshName, raw } from "./kit.ts";

let system: TestSystem;
let api: Api;
beforeAll(async () => {
  system = await startTestSystem(API_ONLY);
  api = apiOf(system.url);
});
afterAll(() => system.stop());

const times = <T>(count: number, make: (index: number) => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: count }, (_, index) => make(index)));

describe("Idempotency-Key", () => {
  const post = (key: string, body: unknown): ReturnType<typeof api.call<TenantBody>> =>
    api.call<TenantBody>("POST", "/v1/tenants", body, { "idempotency-key": key });
  const bodyOf = (name: string): Record<string, unknown> => ({
    name,
    compute_provider: "mock",
    compute_config: { z: 1, a: { nested: [1] } },
    labels: { b: "2", a: "1" },
  });

  it("answers the first answer again, byte for byte, whatever became of the tenant", async () => {
    const send = async (key: string, name: string): Promise<string> => {
      const response = await fetch(`${system.url}/v1/tenants`, {
        method: "POST",
        headers: { "content-type": "application/json", "idempotency-key": key },
        body: JSON.stringify(bodyOf(name)),
      });
      expect(response.status).toBe(201);
      return `${response.headers.get("etag")} ${response.headers.get("location")} ${await response.text()}`;
    };
    // Several: the fraction of a second must survive its way through the database for all of them.
    const names = Array.from({ length: 40 }, () => freshName());
    const first = await Promise.all(names.map((name) => send(`key-${name}`, name)));
    expect(await Promise.all(names.map((name) => send(`key-${name}`, name)))).toEqual(first);

    const [name = ""] = names;
    await api.call("PUT", `/v1/tenants/${name}`, { compute_config: { changed: true } });
    expect(await send(`key-${name}`, name)).toBe(first[0]);
    await system.database.query(`DELETE FROM tenants WHERE name = $1`, [name]);
    expect(await send(`key-${name}`, name)).toBe(first[0]);
  });

  it("says that it is a repetition, and stores nothing", async () => {
    const body = bodyOf(freshName());
    const key = freshName("key");
    expect((await post(key, body)).headers.get("idempotent-replayed")).toBeNull();
    const before = await contents(system.database);
    const replay = await post(key, { ...body, labels: { a: "1", b: "2" } });
    expect(replay.status).toBe(201);
    expect(replay.headers.get("idempotent-replayed")).toBe("true");
    expect(await contents(system.database)).toEqual(before);
  });

  it("422 with another body, and nothing is created", async () => {
    const key = freshName("key");
    await post(key, bodyOf(freshName()));
    const before = await contents(system.database);
    expectProblem(await post(key, bodyOf(freshName())), 422, "idempotency_key_reused");
    expect(await contents(system.database)).toEqual(before);
  });

  it("20 at once create one tenant and get one answer", async () => {
    const name = freshName();
    const answers = await times(20, () => post(`key-${name}`, bodyOf(name)));
    expect(answers.map((answer) => answer.status)).toEqual(Array.from({ length: 20 }, () => 201));
    expect(new Set(answers.map((answer) => JSON.stringify(answer.body))).size).toBe(1);
    expect(answers.filter((answer) => answer.headers.get("idempotent-replayed") === null)).toHaveLength(1);
    const rows = await system.database.query(`SELECT id FROM transitions WHERE tenant_name = $1`, [name]);
    expect(rows).toHaveLength(1);
  });

  it("20 bodies at once under one key: one is created, the others are told", async () => {
    const key = freshName("key");
    const answers = await times(20, () => post(key, bodyOf(freshName("other"))));
    expect(answers.filter((answer) => answer.status === 201)).toHaveLength(1);
    for (const answer of answers.filter((each) => each.status !== 201))
      expectProblem(answer, 422, "idempotency_key_reused");
    const rows = await system.database.query(`SELECT id FROM tenants WHERE name LIKE 'other-%'`);
    expect(rows).toHaveLength(1);
  });

  it("expires", async () => {
    const key = freshName("key");
    const first = await post(key, bodyOf(freshName()));
    await system.database.query(
      `UPDATE idempotency_keys SET expires_at = now() - interval '1 second' WHERE key = $1`,
      [key],
    );
    const second = await post(key, bodyOf(freshName()));
    expect(second.status).toBe(201);
    expect(second.body.id).not.toBe(first.body.id);
    expect((await post(key, bodyOf(second.body.name))).body.id).toBe(second.body.id);
  });

  it("a refused request does not use up its key", async () => {
    const key = freshName("key");
    const { name } = await create(api);
    expectProblem(await post(key, bodyOf(name)), 409, "name_taken");
    expect((await post(key, bodyOf(freshName()))).status).toBe(201);
  });

  it("without one, 20 at once create one tenant and 19 conflicts", async () => {
    const body = bodyOf(freshName());
    const answers = await times(20, () => api.call("POST", "/v1/tenants", body));
    expect(answers.map((answer) => answer.status).sort()).toEqual([
      201,
      ...Array.from({ length: 19 }, () => 409),
    ]);
  });
});

describe("If-Match", () => {
  const writes = [
    ["PUT", "", { compute_config: { a: 2 } }],
    ["PATCH", "", { labels: { a: "2" } }],
    ["POST", "/archive", undefined],
    ["DELETE", "", undefined],
  ] as const;

  it.each(writes)("%s%s: 412 for another version, and nothing happens", async (method, path, body) => {
    const { id } = await create(api);
    await api.call("PUT", `/v1/tenants/${id}`, { labels: { a: "1" } });
    const before = await contents(system.database);
    for (const tag of ['"1"', '"3"', 'W/"2"', '"2x"']) {
      expectProblem(
        await api.call(method, `/v1/tenants/${id}${path}`, body, { "if-match": tag }),
        412,
        "precondition_failed",
      );
    }
    expect(await contents(system.database)).toEqual(before);
    const accepted = await api.call(method, `/v1/tenants/${id}${path}`, body, { "if-match": '"7", "2"' });
    expect(accepted.status).toBeLessThan(300);
    expect(accepted.headers.get("etag")).toBe('"3"');
  });

  it("* matches every version", async () => {
    const { id } = await create(api);
    const answer = await api.call("PUT", `/v1/tenants/${id}`, { labels: { a: "1" } }, { "if-match": "*" });
    expect(answer.status).toBe(200);
  });

  it("the version counts clients' writes, not status changes", async () => {
    const { id } = await create(api);
    await system.database.query(
      `UPDATE tenants SET status = 'ready', revision = revision + 5 WHERE id = $1`,
      [id],
    );
    const read = await api.call("GET", `/v1/tenants/${id}`);
    expect(read.headers.get("etag")).toBe('"1"');
    const answer = await api.call("PUT", `/v1/tenants/${id}`, { labels: { a: "1" } }, { "if-match": '"1"' });
    expect(answer.status).toBe(200);
  });

  it("of 20 concurrent writers exactly one wins each version", async () => {
    const { id } = await create(api);
    for (let version = 1; version <= 3; version++) {
      const answers = await times(20, (index) =>
        api.call(
          "PUT",
          `/v1/tenants/${id}`,
          { compute_config: { version, index } },
          { "if-match": `"${version}"` },
        ),
      );
      expect(answers.filter((answer) => answer.status === 202)).toHaveLength(1);
      expect(answers.filter((answer) => answer.status === 412)).toHaveLength(19);
    }
    expect(await api.tenant(id)).toMatchObject({ version: 4, generation: 4 });
  });
});

it("50 concurrent PUTs: none is lost, none is counted twice", async () => {
  const { id } = await create(api);
  const answers = await times(50, (index) =>
    api.call<TenantBody>("PUT", `/v1/tenants/${id}`, { compute_config: { index } }),
  );
  const accepted = answers.filter((answer) => answer.status === 202);
  for (const answer of answers.filter((each) => each.status !== 202))
    expectProblem(answer, 409, "write_contention");
  expect(accepted.length).toBeGreaterThan(0);

  const generations = accepted.map((answer) => answer.body.generation).sort((a, b) => a - b);
  expect(generations).toEqual(Array.from({ length: accepted.length }, (_, index) => index + 2));
  const tenant = await api.tenant(id);
  expect(tenant).toMatchObject({ generation: accepted.length + 1, version: accepted.length + 1 });
  const last = accepted.find((answer) => answer.body.generation === tenant?.generation);
  expect(tenant?.compute_config).toEqual(last?.body.compute_config);

  const history = await system.database.query(
    `SELECT generation FROM transitions WHERE tenant_id = $1 ORDER BY id`,
    [id],
  );
  expect(history.map((row) => Number(row["generation"]))).toEqual([1, ...generations]);
  const kept = await system.database.query(
    `SELECT generation, desired_config -> 'index' AS index FROM generations WHERE tenant_id = $1 ORDER BY generation`,
    [id],
  );
  expect(kept.slice(1).map((row) => row["index"])).toEqual(
    generations.map(
      (each) => accepted.find((answer) => answer.body.generation === each)?.body.compute_config["index"],
    ),
  );
});

it("a PUT that races with a DELETE is either before it or refused", async () => {
  for (let round = 0; round < 5; round++) {
    const { id } = await create(api);
    const [put, deleted] = await Promise.all([
      api.call("PUT", `/v1/tenants/${id}`, { compute_config: { round } }),
      api.call("DELETE", `/v1/tenants/${id}`),
    ]);
    expect(deleted.status).toBe(202);
    expect([202, 409]).toContain(put.status);
    expect(await api.tenant(id)).toMatchObject({
      status: "deleting",
      generation: put.status === 202 ? 3 : 2,
    });
  }
});

it("a key sent twice over raw HTTP is one key, not a list", async () => {
  const body = JSON.stringify({ name: freshName(), compute_provider: "mock", compute_config: {} });
  const answer = await raw(system.url, "POST", "/v1/tenants", body, {
    "content-type": "application/json",
    "idempotency-key": "a, b",
  });
  expect(answer.status).toBe(201);
});
