/** GET /v1/tenants/{id}?wait=…: the answer comes when the tenant is there, and nothing is asked meanwhile. */
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { TenantBody } from "../../src/contract/tenant.ts";
import { apiOf, type Answer, type Api } from "../support/api.ts";
import { eventually } from "../support/eventually.ts";
import { startTestSystem, type TestSystem } from "../support/system.ts";
import { API_ONLY, create, expectProblem, freshName } from "./kit.ts";
import { startStatementCounter, type StatementCounter } from "./statement-counter.ts";

let system: TestSystem;
let api: Api;
beforeAll(async () => {
  system = await startTestSystem({
    ...API_ONLY,
    server: { ...API_ONLY.server, "http.write_timeout": "500ms" },
  });
  api = apiOf(system.url);
});
afterAll(() => system.stop());

const wait = (idOrName: string, query: string): Promise<Answer<TenantBody>> =>
  api.call<TenantBody>("GET", `/v1/tenants/${idOrName}?${query}`);

/** Plays the reconciler: the status and its transition, in one transaction. Null removes the tenant. */
async function become(id: string, status: TenantBody["status"] | null, target = system): Promise<void> {
  const change =
    status === null
      ? "DELETE FROM tenants WHERE id = $1 RETURNING *"
      : "UPDATE tenants SET status = $2, observed_generation = generation, revision = revision + 1 WHERE id = $1 RETURNING *";
  await target.database.query(
    `WITH changed AS (${change})
     INSERT INTO transitions (tenant_id, tenant_name, from_status, to_status, reason, message, generation, actor, labels)
     SELECT id, name, 'requested', $2::text, 'played', '', generation, 'test', labels FROM changed`,
    [id, status],
  );
}

/** True when the answer has not come after a while. */
async function isHeldBack(answer: Promise<unknown>): Promise<boolean> {
  return Promise.race([answer.then(() => false), delay(300, true)]);
}

describe("a wait", () => {
  it.each([
    ["ready", "ready"],
    ["archived", "archived"],
    ["settled", "archived"],
    ["settled", "failed"],
    ["ready", "failed"],
    ["deleted", "failed"],
  ] as const)("for %s ends when the tenant is %s, and not before", async (goal, status) => {
    const { id, name } = await create(api);
    const answers = [wait(id, `wait=${goal}&timeout=20s`), wait(name, `wait=${goal}&timeout=20s`)];
    expect(await isHeldBack(Promise.race(answers))).toBe(true);
    await become(id, "provisioning");
    expect(await isHeldBack(Promise.race(answers))).toBe(true);
    await become(id, status);
    for (const { status: code, body, headers } of await Promise.all(answers)) {
      expect(code).toBe(200);
      expect(body).toMatchObject({ id, status });
      expect(headers.get("etag")).not.toBeNull();
    }
    const again = await wait(id, `wait=${goal}&timeout=20s`);
    expect(again.body.status).toBe(status);
  });

  it("for deleted ends with 404, and a name that is given again is another tenant", async () => {
    const { id, name } = await create(api);
    const byName = wait(name, "wait=deleted&timeout=20s");
    expect(await isHeldBack(byName)).toBe(true);
    await become(id, null);
    // And not only when the time was up.
    const answer = await Promise.race([byName, delay(10_000, null)]);
    if (answer === null) throw new Error("the wait did not hear of the end");
    expectProblem(answer, 404, "tenant_not_found");
    await create(api, { name });
    expectProblem(await wait(id, "wait=deleted"), 404, "tenant_not_found");
    expect((await wait(name, "wait=deleted&timeout=100ms")).status).toBe(200);
  });

  it("goes on when the tenant is given another name", async () => {
    const { id, name } = await create(api);
    const waiting = wait(name, "wait=ready&timeout=20s");
    expect(await isHeldBack(waiting)).toBe(true);
    expect(
      (await api.call("PATCH", `/v1/tenants/${id}`, { name: freshName("renamed") })).status,
    ).toBeLessThan(300);
    await become(id, "ready");
    // And not only when the time was up.
    expect(await Promise.race([waiting, delay(10_000, null)])).toMatchObject({
      body: { id, status: "ready" },
    });
  });

  it("is not over at a ready tenant whose newest generation is not", async () => {
    const { id } = await create(api);
    await become(id, "ready");
    await system.database.query("UPDATE tenants SET generation = generation + 1 WHERE id = $1", [id]);
    const waiting = wait(id, "wait=ready&timeout=20s");
    expect(await isHeldBack(waiting)).toBe(true);
    await become(id, "ready");
    expect((await waiting).body).toMatchObject({ generation: 2, observed_generation: 2 });
  });

  it("answers the tenant as it is when the time is up, longer than write_timeout", async () => {
    const { id } = await create(api);
    const startedAt = performance.now();
    const { status, body } = await wait(id, "wait=ready&timeout=1500ms");
    expect(performance.now() - startedAt).toBeGreaterThan(1_450);
    expect([status, body.status]).toEqual([200, "requested"]);
  });

  it("refuses what makes no sense", async () => {
    const { id } = await create(api);
    expectProblem(await wait(id, "wait=happy"), 400, "invalid_request");
    expectProblem(await wait(id, "wait=ready&timeout=6m"), 400, "invalid_request");
    expectProblem(await wait(id, "wait=ready&timeout=soon"), 400, "invalid_request");
    expectProblem(await wait(id, "timeout=1s"), 400, "invalid_request");
    expectProblem(await wait("nobody", "wait=ready"), 404, "tenant_not_found");
    expect((await wait(id, "unknown=1")).status).toBe(200);
  });
});

describe("many waits", () => {
  let counter: StatementCounter;
  let own: TestSystem;
  let counted: Api;
  beforeAll(async () => {
    own = await startTestSystem(API_ONLY);
    counter = await startStatementCounter(own.database.url);
    const server = await own.startServer({
      "database.url": counter.url,
      "database.listen_url": own.database.url,
      "http.max_requests_in_flight": 400,
      "http.max_watchers": 1_000,
    });
    counted = apiOf(server.url);
  });
  afterAll(async () => {
    await own.stop();
    await counter.close();
  });

  it(
    "ask the database nothing while nothing happens, are bounded, and all end",
    { timeout: 120_000 },
    async () => {
      const { id } = await create(counted);
      const other = await create(counted);
      await eventually(
        async () => {
          const [row] = await own.database.query("SELECT count(*) - count(position) AS n FROM transitions");
          return Number(row?.["n"]) === 0;
        },
        { what: "nothing is left to be done" },
      );
      const idle = await statementsIn(3_000);
      const waits: Promise<Answer<TenantBody>>[] = [];
      // No more at a time than the server takes as requests.
      while (waits.length < 1_000) {
        for (let count = 0; count < 200; count += 1) {
          const last = counted.call<TenantBody>("GET", `/v1/tenants/${id}?wait=ready&timeout=100s`);
          waits.push(last);
        }
        expect(await isHeldBack(Promise.race(waits.slice(-200)))).toBe(true);
      }
      await eventually(
        async () => {
          const refused = await counted.call("GET", `/v1/tenants/${id}?wait=ready&timeout=100ms`);
          return refused.status === 503 && (refused.body as { code?: string }).code === "too_many_watchers";
        },
        { what: "there is room for no more" },
      );
      expect((await counted.call("GET", `/v1/tenants/${id}`)).status).toBe(200);
      const busy = await statementsIn(3_000);
      // The server's own looks, about two a second; on a busy machine some more fit into the time. If waits asked, it would
      // be thousands.
      expect(busy - idle).toBeLessThanOrEqual(20);
      // Another's events are none of theirs; their own is one read for all of them.
      const before = counter.count();
      await become(other.id, "ready", own);
      await become(id, "ready", own);
      const answers = await Promise.all(waits);
      expect(answers.every(({ status, body }) => status === 200 && body.status === "ready")).toBe(true);
      expect(counter.count() - before).toBeLessThan(100);
    },
  );

  async function statementsIn(durationMs: number): Promise<number> {
    const before = counter.count();
    await delay(durationMs);
    return counter.count() - before;
  }

  it("end with the tenant as it is when the server stops", async () => {
    const server = await own.startServer();
    const { id } = await create(counted);
    const waiting = apiOf(server.url).call<TenantBody>("GET", `/v1/tenants/${id}?wait=ready&timeout=60s`);
    expect(await isHeldBack(waiting)).toBe(true);
    const startedAt = performance.now();
    await server.stop();
    expect((await waiting).body.status).toBe("requested");
    expect(performance.now() - startedAt).toBeLessThan(5_000);
  });
});
