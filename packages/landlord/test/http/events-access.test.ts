/** Watching and waiting with a key: within its scope, and for as long as it is good. */
import { afterAll, beforeAll, expect, it } from "vitest";
import type { TenantBody } from "../../src/contract/tenant.ts";
import { ADMIN_TOKEN, as, bearer, newKey, startAccessSystem } from "../auth/access-system.ts";
import type { Api } from "../support/api.ts";
import type { TestSystem } from "../support/system.ts";
import { openEvents } from "./event-reader.ts";
import { create, expectProblem } from "./kit.ts";

let system: TestSystem;
let admin: Api;
beforeAll(async () => {
  system = await startAccessSystem({ server: { "http.event_heartbeat": "200ms" } });
  admin = as(system.url, ADMIN_TOKEN);
});
afterAll(() => system.stop());

it("a scoped key sees no event of what does not exist for it", async () => {
  const { secret } = await newKey(system.url, "viewer", { scope: "team=a" });
  const mine = await openEvents(system.url, {}, bearer(secret));
  const all = await openEvents(system.url, {}, bearer(ADMIN_TOKEN));
  await create(admin, { labels: { team: "b" } });
  const visible = await create(admin, { labels: { team: "a" } });
  await admin.call("PATCH", `/v1/tenants/${visible.id}`, { labels: { team: "b" } });
  const last = await create(admin, { labels: { team: "a" } });
  await all.until(() => all.transitions().length === 4, "all events for all");
  await mine.until(() => mine.transitions().length >= 2, "its own");
  expect(mine.transitions().map(({ tenant_id: id }) => id)).toEqual([visible.id, last.id]);
  const replay = await openEvents(system.url, { after: "oldest" }, bearer(secret));
  await replay.until(() => replay.transitions().length >= 2, "its own, again");
  expect(replay.transitions()).toEqual(mine.transitions());
  for (const reader of [mine, all, replay]) reader.close();
});

it("a scoped key cannot wait for a tenant outside, and stops waiting for one that leaves", async () => {
  const { secret } = await newKey(system.url, "viewer", { scope: "team=a" });
  const key = as(system.url, secret);
  const outside = await create(admin, { labels: { team: "b" } });
  const startedAt = performance.now();
  const path = (id: string): string => `/v1/tenants/${id}?wait=ready&timeout=20s`;
  expectProblem(await key.call("GET", path(outside.id)), 404, "tenant_not_found");
  const inside = await create(admin, { labels: { team: "a" } });
  const waiting = key.call<TenantBody>("GET", path(inside.id));
  await admin.call("PATCH", `/v1/tenants/${inside.id}`, { labels: { team: "b" } });
  expectProblem(await waiting, 404, "tenant_not_found");
  expect(performance.now() - startedAt).toBeLessThan(10_000);
});

it("a stream ends soon after its key was revoked", { timeout: 30_000 }, async () => {
  const { id, secret } = await newKey(system.url, "viewer");
  const stream = await openEvents(system.url, {}, bearer(secret));
  const other = await openEvents(system.url, {}, bearer(ADMIN_TOKEN));
  expect((await admin.call("DELETE", `/v1/tokens/${id}`)).status).toBeLessThan(300);
  await stream.until((reader) => reader.ended, "the end", 15_000);
  expect(stream.received.at(-1)).toMatchObject({ event: "bye", data: `{"reason":"unauthenticated"}` });
  expect(other.ended).toBe(false);
  await expect(openEvents(system.url, { after: stream.lastId() }, bearer(secret))).rejects.toThrow("401");
  other.close();
});
