/** A write at one server wakes the reconciler of another: no poll comes in time to do it. */
import { afterEach, expect, test } from "vitest";
import { apiOf } from "../support/api.ts";
import { eventually } from "../support/eventually.ts";
import { startTestSystem, type TestSystem } from "../support/system.ts";
import type { TenantBody } from "../../src/contract/tenant.ts";

let system: TestSystem;
afterEach(() => system.stop());

test("a server that only serves the API wakes the one that reconciles", async () => {
  // The first server never reconciles; the second one would look by itself only after minutes.
  system = await startTestSystem({ server: { "controller.enabled": "false" } });
  await system.startServer({ "controller.enabled": "true", "controller.reconciliation_interval": "10m" });
  await eventually(
    async () => {
      const rows = await system.database.query(
        "SELECT count(*)::int AS n FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'landlord-listen' AND query LIKE 'LISTEN%'",
      );
      return rows[0]?.["n"] === 2;
    },
    { what: "both servers listen" },
  );
  const api = apiOf(system.url);
  const { body } = await api.call<TenantBody>("POST", "/v1/tenants", {
    name: "woken",
    compute_provider: "mock",
    compute_config: {},
  });
  await api.waitFor(body.id, "ready", 15_000);
  expect((await api.call("DELETE", `/v1/tenants/${body.id}`)).status).toBe(202);
  await api.waitGone(body.id, 15_000);
});
