/** Too many requests of one actor, and too many guesses from one address. */
import { afterAll, beforeAll, describe, expect, it, test } from "vitest";
import { createRateLimiter } from "../../src/http/rate-limit.ts";
import { ADMIN_TOKEN, as, bearer, newKey, startAccessSystem } from "../auth/access-system.ts";
import { apiOf } from "../support/api.ts";
import { startTestSystem, type TestSystem } from "../support/system.ts";
import { API_ONLY, expectProblem } from "./kit.ts";

describe("a bucket", () => {
  it("gives its burst at once, then one after another, and never more than it holds", () => {
    let nowMs = 0;
    const limiter = createRateLimiter({ requestsPerSecond: 2, burst: 4 }, () => nowMs);
    const taken = (count: number): boolean[] =>
      Array.from({ length: count }, () => limiter.take("a").allowed);
    expect(taken(5)).toEqual([true, true, true, true, false]);
    expect(limiter.take("b").allowed).toBe(true);
    expect(limiter.take("a")).toEqual({
      allowed: false,
      remaining: 0,
      retryAfterSeconds: 1,
      resetSeconds: 2,
    });
    nowMs = 500;
    expect(taken(2)).toEqual([true, false]);
    nowMs = 3_600_000;
    expect(taken(5)).toEqual([true, true, true, true, false]);
  });

  it("is forgotten when too many others came since", () => {
    const limiter = createRateLimiter({ requestsPerSecond: 0.001, burst: 1 }, () => 0);
    expect(limiter.take("first").allowed).toBe(true);
    expect(limiter.take("first").allowed).toBe(false);
    for (let count = 0; count < 9_999; count++) limiter.take(`other ${count}`);
    expect(limiter.take("first").allowed).toBe(false);
    for (let count = 0; count < 10_000; count++) limiter.take(`more ${count}`);
    expect(limiter.take("first").allowed).toBe(true);
  });
});

describe("with authentication", () => {
  let system: TestSystem;
  beforeAll(async () => {
    system = await startAccessSystem({
      server: { "http.rate_limit.requests_per_second": 1, "http.rate_limit.burst": 5 },
    });
  });
  afterAll(() => system.stop());

  test("each actor has a limit of its own, and is told of it", async () => {
    const [{ secret }, other] = [await newKey(system.url, "viewer"), await newKey(system.url, "viewer")];
    const first = await as(system.url, secret).call("GET", "/v1/identity");
    expect(first.headers.get("ratelimit-policy")).toBe('"actor";q=5;w=5');
    expect(first.headers.get("ratelimit")).toMatch(/^"actor";r=4;t=\d$/);
    const answers = await Promise.all(
      Array.from({ length: 12 }, () => as(system.url, secret).call("GET", "/v1/identity")),
    );
    const refused = answers.filter(({ status }) => status === 429);
    expect(refused.length).toBeGreaterThanOrEqual(6);
    expectProblem(refused[0] as (typeof answers)[number], 429, "rate_limited");
    expect(Number(refused[0]?.headers.get("retry-after"))).toBeGreaterThanOrEqual(1);
    expect((await as(system.url, other.secret).call("GET", "/v1/identity")).status).toBe(200);
    expect((await apiOf(system.url).call("GET", "/health")).status).toBe(200);
  });

  test("a worker is not slowed down", async () => {
    const { secret } = await newKey(system.url, "worker");
    const answers = await Promise.all(
      Array.from({ length: 30 }, () => as(system.url, secret).call("GET", "/v1/identity")),
    );
    expect(answers.every(({ status }) => status === 200)).toBe(true);
  });

  test("guesses from one address are refused; whoever has a key there is not", async () => {
    const address = { "x-forwarded-for": "203.0.113.7" };
    const { secret } = await newKey(system.url, "worker");
    const guess = (): Promise<{ status: number; headers: Headers; body: unknown }> =>
      apiOf(system.url).call("GET", "/v1/identity", undefined, {
        ...address,
        ...bearer("wrong-wrong-wrong"),
      });
    const statuses = [];
    for (let count = 0; count < 40; count++) statuses.push((await guess()).status);
    expect(statuses.slice(0, 20)).toEqual(Array.from({ length: 20 }, () => 401));
    expect(statuses.filter((status) => status === 429).length).toBeGreaterThan(10);
    const refused = await guess();
    expectProblem(refused, 429, "rate_limited");
    expect(refused.headers.get("retry-after")).not.toBeNull();
    // Also one that this server has never seen.
    expect((await as(system.url, secret).call("GET", "/v1/identity", undefined, address)).status).toBe(200);
    expect((await as(system.url, ADMIN_TOKEN).call("GET", "/v1/tokens", undefined, address)).status).toBe(
      200,
    );
    // A flood of them does not reach the database; who is known by now still comes in.
    const flood = await Promise.all(Array.from({ length: 150 }, guess));
    // One more is let through with each second that this takes.
    expect(flood.filter(({ status }) => status !== 429).length).toBeLessThan(15);
    expect((await as(system.url, secret).call("GET", "/v1/identity", undefined, address)).status).toBe(200);
    const [row] = await system.database.query(
      `SELECT count(*)::int AS count FROM audit WHERE outcome = 'denied' AND remote_address = '203.0.113.7'`,
    );
    expect(Number(row?.["count"])).toBeLessThan(40);
    const elsewhere = { "x-forwarded-for": "203.0.113.8", ...bearer("wrong-wrong-wrong") };
    expect((await apiOf(system.url).call("GET", "/v1/identity", undefined, elsewhere)).status).toBe(401);
  });
});

test("on loopback without authentication nobody is slowed down, unless it is asked for", async () => {
  const system = await startTestSystem(API_ONLY);
  try {
    const limited = await system.startServer({ "http.rate_limit.requests_per_second": 1 });
    const statuses = async (url: string): Promise<number[]> =>
      (await Promise.all(Array.from({ length: 40 }, () => apiOf(url).call("GET", "/v1/identity")))).map(
        ({ status }) => status,
      );
    expect((await statuses(system.url)).every((status) => status === 200)).toBe(true);
    expect((await statuses(limited.url)).filter((status) => status === 429).length).toBeGreaterThan(30);
  } finally {
    await system.stop();
  }
});
