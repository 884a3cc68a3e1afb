/** More requests than a server may work on: some are refused at once, and nothing queues up. */
import { EventEmitter } from "node:events";
import type { AddressInfo } from "node:net";
import type { FastifyReply } from "fastify";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createAdmission } from "../../src/http/admission.ts";
import type { App } from "../../src/http/app.ts";
import type { HttpDependencies } from "../../src/http/dependencies.ts";
import type { Api } from "../support/api.ts";
import { startTestApp } from "../support/app.ts";
import { eventually } from "../support/eventually.ts";
import { expectProblem } from "./kit.ts";

const LIMIT = 3;

let app: App;
let api: Api;
/** Reads that the database has not answered yet. */
let pending: (() => void)[];

beforeEach(async () => {
  pending = [];
  const store = {
    getTenant: () => new Promise((resolve) => pending.push(() => resolve(null))),
  } as unknown as HttpDependencies["store"];
  ({ app, api } = await startTestApp({ store }, { maxRequestsInFlight: LIMIT }));
});
afterEach(() => app.close());

test("beyond its limit it answers 503 with Retry-After, still says that it lives, and takes work when it has room", async () => {
  const working = Array.from({ length: LIMIT }, () => api.call("GET", "/v1/tenants/acme"));
  await eventually(() => Promise.resolve(pending.length === LIMIT), { what: "all of them wait" });
  const refused = await api.call("GET", "/v1/tenants/acme");
  expectProblem(refused, 503, "overloaded");
  expect(refused.headers.get("retry-after")).not.toBeNull();
  expect((await api.call("GET", "/health")).status).toBe(200);
  expect(pending).toHaveLength(LIMIT);
  for (const answer of pending.splice(0)) answer();
  for (const { status } of await Promise.all(working)) expect(status).toBe(404);
  const next = api.call("GET", "/v1/tenants/acme");
  await eventually(() => Promise.resolve(pending.length === 1), { what: "the next one is taken" });
  pending.pop()?.();
  expect((await next).status).toBe(404);
});

test("a client that goes away makes room", async () => {
  const clients = Array.from({ length: LIMIT }, () => new AbortController());
  const url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}/v1/tenants/acme`;
  for (const { signal } of clients) fetch(url, { signal }).catch(() => undefined);
  await eventually(() => Promise.resolve(pending.length === LIMIT), { what: "all of them wait" });
  for (const client of clients) client.abort();
  await eventually(
    async () => {
      const before = pending.length;
      const asked = api.call("GET", "/v1/tenants/acme");
      const taken = await eventually(() => Promise.resolve(pending.length > before), {
        what: "it is taken",
        timeoutMs: 200,
      }).catch(() => false);
      if (taken) pending.pop()?.();
      await asked;
      return taken;
    },
    { what: "there is room again" },
  );
  for (const answer of pending.splice(0)) answer();
});

test("whoever leaves makes room once, also when its connection closes before or after", () => {
  const admission = createAdmission(2, "overloaded", "too many");
  const reply = (): Pick<FastifyReply, "raw"> => ({ raw: new EventEmitter() as FastifyReply["raw"] });
  const [closing, leaving, next, last] = [reply(), reply(), reply(), reply()];
  admission.enter(closing);
  admission.enter(leaving);
  closing.raw.emit("close");
  admission.leave(closing);
  admission.enter(next);
  expect(() => admission.enter(last)).toThrow("too many");
  admission.leave(leaving);
  admission.leave(leaving);
  leaving.raw.emit("close");
  admission.enter(last);
  expect(() => admission.enter(reply())).toThrow("too many");
});
